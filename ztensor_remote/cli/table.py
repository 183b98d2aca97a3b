"""A described file as the texts of a page: facts above, a table of tensors, attributes below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .describe import ComponentInfo, FileInfo, TensorInfo
from .text import attribute_lines, attribute_text, bytes_text, counted, printable

Kind = Literal["tensor", "detail", "total"]

COLUMNS = {
    "name": "Name",
    "dtype": "Dtype",
    "shape": "Shape",
    "layout": "Layout",
    "encoding": "Encoding",
    "stored": "Stored",
    "ratio": "Ratio",
    "checksum": "Checksum",
    "shard": "Shard",
}
RIGHT_ALIGNED = frozenset(("stored", "ratio"))

_NOTED = ("layout", "encoding", "checksum")
_OPTIONAL = frozenset(("ratio", "shard"))
_UNKNOWN = "unknown"
_ROLES_OF_DENSE = ["data"]


@dataclass(frozen=True)
class Row:
    """One line: the text of each column that has one, the name indented by so many steps."""

    kind: Kind
    cells: dict[str, str]
    indent: int = 0


@dataclass(frozen=True)
class Page:
    """All that is shown of a file.

    Attributes
    ----------
    facts : list of (str, list of str)
        Label and lines.
    columns : list of str
        Keys of `COLUMNS`.
    rows : list of Row
    attributes : list of (str, list of str)
        Name of each tensor that has attributes, and a line for each of them.
    """

    facts: list[tuple[str, list[str]]]
    columns: list[str]
    rows: list[Row]
    attributes: list[tuple[str, list[str]]]

    def narrowed(self) -> Page:
        """Return the same page in fewer columns: what is not as usual is told below its row."""
        usual = {column: self._most_common(column) for column in _NOTED}
        return Page(
            [
                *self.facts,
                ("Unless noted", [", ".join(_noted(text) for text in usual.values() if text)]),
            ],
            [column for column in self.columns if column not in (*_NOTED, *_OPTIONAL)],
            [line for row in self.rows for line in _with_note(row, usual)],
            self.attributes,
        )

    def _most_common(self, column: str) -> str:
        texts = Counter(row.cells[column] for row in self.rows if column in row.cells)
        return texts.most_common(1)[0][0]


def _with_note(row: Row, usual: dict[str, str]) -> list[Row]:
    cells = row.cells
    told = [_noted(cells[key]) for key in usual if cells.get(key) not in (None, "", usual[key])]
    told += [f"{key} {cells[key]}" for key in ("ratio", "shard") if cells.get(key)]
    if not told:
        return [row]
    return [row, Row("detail", {"name": ", ".join(told)}, row.indent + 1)]


def _noted(text: str) -> str:
    """Say what the heading of the column would have said."""
    return {"-": "no checksum", _UNKNOWN: "unknown checksum"}.get(text, text)


def page_of(info: FileInfo) -> Page:
    """Lay out a described file."""
    rows = [row for tensor in info["tensors"] for row in _rows_of(tensor)]
    if rows:
        rows.append(_total(info))
    return Page(
        _facts(info),
        [column for column in COLUMNS if _is_needed(column, rows)] if rows else [],
        rows,
        [
            (printable(tensor["name"]), attribute_lines(tensor["attributes"]))
            for tensor in info["tensors"]
            if tensor["attributes"]
        ],
    )


def _is_needed(column: str, rows: Iterable[Row]) -> bool:
    return column not in _OPTIONAL or any(row.cells.get(column) for row in rows)


# --- facts --------------------------------------------------------------------------------------


def _facts(info: FileInfo) -> list[tuple[str, list[str]]]:
    facts = [
        ("URL", [printable(info["url"])]),
        ("Format", [_format_text(info)]),
        ("Size", [bytes_text(info["size"])]),
    ]
    if not info["is_data_shard"]:
        facts += [
            ("Tensors", [f"{len(info['tensors']):,}"]),
            ("Parameters", [f"{info['parameters']:,}"]),
            ("Stored", [bytes_text(info["stored_bytes"])]),
        ]
    facts.append(("Opening", [_opening_text(info)]))
    if info["files"]:
        facts.append(("Files", _file_lines(info)))
    if info["shards"]:
        facts.append(("Shards", _shard_lines(info)))
    if info["attributes"]:
        facts.append(("Attributes", attribute_lines(info["attributes"])))
    return facts


def _format_text(info: FileInfo) -> str:
    from ..reader.show import version_text

    text = version_text(info["version"])
    if info["is_data_shard"]:
        return f"{text} data shard: bytes of another file's tensors, no manifest of its own"
    if info["generator"] is not None:
        text += f", written by {attribute_text(info['generator'])}"
    return text


def _opening_text(info: FileInfo) -> str:
    opening = info["opening"]
    if not opening["requests"]:
        return "nothing fetched, the file is mapped"
    return f"{counted(opening['requests'], 'request')}, {counted(opening['bytes'], 'byte')}"


def _file_lines(info: FileInfo) -> list[str]:
    from ..reader.show import version_text

    return [
        f"{printable(name)}: {version_text(file['version'])}, {bytes_text(file['size'])}, "
        f"{counted(file['tensors'], 'tensor')}"
        for name, file in info["files"].items()
    ]


def _shard_lines(info: FileInfo) -> list[str]:
    return [
        f"{printable(name)}: {bytes_text(shard['size'])}, {printable(shard['digest'])}"
        for name, shard in info["shards"].items()
    ]


# --- rows ---------------------------------------------------------------------------------------


def _rows_of(tensor: TensorInfo) -> list[Row]:
    parts = tensor["components"]
    first = _row("tensor", printable(tensor["name"]), list(parts.values()))
    first.cells.update(
        dtype=printable(tensor["dtype"]),
        shape=str(tensor["shape"]),
        layout=printable(tensor["layout"]),
        stored=_size(tensor["stored_bytes"]),
        ratio=_ratio_text(tensor["ratio"]),
    )
    if list(parts) == _ROLES_OF_DENSE and tensor["layout"] == "dense":
        return [first]
    return [first, *(_component_row(role, part) for role, part in parts.items())]


def _component_row(role: str, part: ComponentInfo) -> Row:
    row = _row("detail", printable(role), [part], indent=1)
    row.cells.update(
        dtype=_dtype_text(part),
        shape="" if part["elements"] is None else f"[{part['elements']}]",
        stored=_size(part["stored_bytes"]),
        ratio=_component_ratio(part),
    )
    return row


def _row(kind: Kind, name: str, parts: list[ComponentInfo], indent: int = 0) -> Row:
    return Row(
        kind,
        {
            "name": name,
            "encoding": _common(_encoding_text(part) for part in parts),
            "checksum": _common(_algorithm(part["digest"]) for part in parts),
            "shard": _common(part["shard"] or "" for part in parts),
        },
        indent,
    )


def _total(info: FileInfo) -> Row:
    return Row(
        "total",
        {
            "name": f"Total: {counted(len(info['tensors']), 'tensor')}",
            "stored": _size(info["stored_bytes"]),
            "ratio": _ratio_text(info["ratio"]),
        },
    )


def _dtype_text(part: ComponentInfo) -> str:
    from ..manifest.dtypes import BY_LOGICAL

    logical = part["logical_type"]
    if logical is None:
        return part["dtype"]
    known = BY_LOGICAL.get(logical)
    return known.name if known else printable(logical)


def _encoding_text(part: ComponentInfo) -> str:
    return printable(part["encoding"]) + (" big-endian" if part["big_endian"] else "")


def _common(texts: Iterable[str]) -> str:
    different = set(texts)
    return "mixed" if len(different) > 1 else "".join(different)


def _algorithm(digest: str | None) -> str:
    if digest is None:
        return "-"
    algorithm, separator, _ = digest.partition(":")
    return printable(algorithm) if separator and len(algorithm) <= 16 else _UNKNOWN


def _component_ratio(part: ComponentInfo) -> str:
    decoded, stored = part["decoded_bytes"], part["stored_bytes"]
    if part["encoding"] == "raw" or decoded is None or not stored:
        return ""
    return _ratio_text(decoded / stored)


def _ratio_text(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:,.2f}x" if ratio < 1000 else f"{ratio:,.0f}x"


def _size(count: int) -> str:
    from ..reader.show import size_text

    return size_text(count)
