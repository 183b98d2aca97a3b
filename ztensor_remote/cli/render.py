"""Everything that the command line prints, and nothing else prints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from .describe import FileInfo
from .table import COLUMNS, RIGHT_ALIGNED, Page, Row, page_of

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

_GAP = "  "
_WIDEST = 64
_UNFOLDED = 24
_LONGEST_LINE = 500
# rich takes about a millisecond for each: a longer list is plain in a terminal too.
_MOST_ROWS = 2000
_STYLES = {"tensor": "", "detail": "dim", "total": "bold"}


class OutputClosedError(Exception):
    """Whoever read our output has stopped reading, as ``head`` does."""


class OutputFailedError(Exception):
    """The output can't be written; the disk is full, say."""


def print_info(info: FileInfo) -> None:
    """Print a described file: as a table in a terminal, as plain columns elsewhere."""
    page = page_of(info)
    if _is_terminal(sys.stdout) and len(page.rows) <= _MOST_ROWS:
        _write(sys.stdout, _rich(page))
    else:
        _write(sys.stdout, _plain(page))


def print_json(value: Any) -> None:
    """Print a value as JSON, in ASCII: what a file says can't reach the terminal unescaped."""
    _write(sys.stdout, json.dumps(value, indent=2, allow_nan=False) + "\n")


def print_line(text: str) -> None:
    """Print a line."""
    _write(sys.stdout, f"{text}\n")


def print_rows(rows: list[list[str]], right: Sequence[int] = ()) -> None:
    """Print rows as aligned columns, of which those at `right` are flush right."""
    sides = [column in right for column in range(len(rows[0]) if rows else 0)]
    _write(sys.stdout, "".join(f"{line}\n" for line in _aligned(rows, sides)) if rows else "")


def print_error(message: str) -> None:
    """Print one line that says what went wrong."""
    line = " ".join(message.split())
    safe = "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)
    _write(sys.stderr, f"ztensor: error: {safe}\n")


def flush() -> None:
    """Send what other code has printed."""
    _write(sys.stdout, "")


def discard_the_rest() -> None:
    """Let what is still buffered go nowhere, so that the interpreter's own flush can't fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


# --- writing ------------------------------------------------------------------------------------


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # closed before we started
        return
    try:
        stream.write(_encodable(stream, text))
        stream.flush()
    except OSError as error:
        raise output_failure(error) from None


def output_failure(error: OSError) -> OutputClosedError | OutputFailedError:
    """Return what a failure of printing means."""
    if isinstance(error, BrokenPipeError):
        return OutputClosedError()
    return OutputFailedError(f"can't write the output: {error.strerror or error}")


def _encodable(stream: TextIO, text: str) -> str:
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


# --- plain text ---------------------------------------------------------------------------------


def _plain(page: Page) -> str:
    lines = _aligned([[f"{label}:", line] for label, line in _labelled(page.facts)])
    if page.rows:
        right = [column in RIGHT_ALIGNED for column in page.columns]
        lines += ["", *_aligned(_with_header(page), right)]
    if page.attributes:
        attributes = [[name, line] for name, line in _labelled(page.attributes)]
        lines += ["", "Attributes of tensors", *_aligned(attributes)]
    return "".join(f"{line}\n" for line in lines)


def _labelled(groups: list[tuple[str, list[str]]]) -> Iterator[tuple[str, str]]:
    """Yield each line with its label."""
    for label, lines in groups:
        for line in lines:
            yield label, line


def _aligned(rows: list[list[str]], right: list[bool] | None = None) -> list[str]:
    """Return the rows with each column as wide as its widest cell, up to a limit."""
    from rich.cells import cell_len

    widths = [min(_WIDEST, width) for width in _widths(rows)]
    sides = right or [False] * len(widths)

    def padded(cell: str, width: int, is_right: bool) -> str:
        padding = " " * (width - cell_len(cell))
        return padding + cell if is_right else cell + padding

    return [_GAP.join(map(padded, row, widths, sides)).rstrip() for row in rows]


def _widths(rows: list[list[str]]) -> list[int]:
    from rich.cells import cell_len

    return [max(map(cell_len, column)) for column in zip(*rows, strict=True)]


def _width(page: Page) -> int:
    """Return how wide the table is where nothing in it has to wrap."""
    widths = _widths(_with_header(page))
    return sum(widths) + len(_GAP) * len(widths)


def _with_header(page: Page) -> list[list[str]]:
    header = [COLUMNS[column] for column in page.columns]
    return [header, *(_cells(row, page.columns) for row in page.rows)]


def _cells(row: Row, columns: list[str]) -> list[str]:
    indent = _GAP * row.indent
    return [(indent if key == "name" else "") + row.cells.get(key, "") for key in columns]


# --- terminals ----------------------------------------------------------------------------------


def _rich(page: Page) -> str:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    with console.capture() as capture:
        for part in _parts(page, console):
            console.print(part)
    return capture.get()


def _parts(page: Page, console: Console) -> Iterator[RenderableType]:
    if page.rows and _width(page) > console.width:
        page = page.narrowed()
    yield _grid(page.facts)
    if page.rows:
        yield _text("")
        yield _table(page)
    if page.attributes:
        yield _text("\nAttributes of tensors", "bold")
        yield _grid(page.attributes)


def _grid(groups: list[tuple[str, list[str]]]) -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold cyan", overflow="fold")
    grid.add_column(overflow="fold")
    for label, lines in groups:
        for index, line in enumerate(lines):
            grid.add_row(_text(label if index == 0 else ""), _text(_shortened(line)))
    return grid


def _shortened(line: str) -> str:
    if len(line) <= _LONGEST_LINE:
        return line
    return f"{line[:_LONGEST_LINE]}… ({len(line):,} characters, all of them with --json)"


def _table(page: Page) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in page.columns:
        widest = max(len(row.cells.get(column, "")) for row in page.rows)
        table.add_column(
            COLUMNS[column],
            justify="right" if column in RIGHT_ALIGNED else "left",
            overflow="fold",
            no_wrap=column != "name" and widest <= _UNFOLDED,
        )
    for row in page.rows:
        if row.kind == "total":
            table.add_section()
        table.add_row(*map(_text, _cells(row, page.columns)), style=_STYLES[row.kind])
    return table


def _text(text: str, style: str = "") -> Text:
    """Return text that is shown as it is: nothing in it is markup."""
    from rich.text import Text

    return Text(text, style=style, overflow="fold")
