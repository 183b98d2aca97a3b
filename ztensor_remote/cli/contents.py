"""``ztensor ls``, ``id``, ``verify``, ``diff`` and ``plan``: whole files, looked at."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import AsJson, StorageOption, StorageOptionsFile, Url, storage_options

if TYPE_CHECKING:
    from ..examine import Difference
    from ..reader import Reader


def ls(
    url: Url,
    pattern: Annotated[
        str, typer.Argument(metavar="[PATTERN]", help="Only names like it, as in 'layers.0.*'.")
    ] = "*",
    as_json: AsJson = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
) -> None:
    """List the tensors of a file, one a line: dtype, shape, stored bytes, name."""
    from fnmatch import fnmatchcase

    from ..reader import open
    from .describe import describe
    from .render import print_json, print_rows
    from .text import printable

    options = storage_options(storage_option, storage_options_file)
    with open(url, storage_options=options) as reader:
        tensors = [
            tensor for tensor in describe(reader)["tensors"] if fnmatchcase(tensor["name"], pattern)
        ]
    if as_json:
        print_json({"schema": "ztensor-ls/1", "tensors": tensors})
        return
    print_rows(
        [
            [
                each["dtype"],
                str(each["shape"]),
                f"{each['stored_bytes']:,}",
                printable(each["name"]),
            ]
            for each in tensors
        ],
        right=[2],
    )


def content_id(
    url: Url,
    as_json: AsJson = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
) -> None:
    """Print the content digest: equal where all tensors are, however they are stored.

    Version-2 files state the digests that it is made of; of others every byte is read.
    """
    from ..examine import content_id
    from .render import print_json, print_line

    found = content_id(url, storage_options=storage_options(storage_option, storage_options_file))
    if as_json:
        print_json({"schema": "ztensor-id/1", "id": found})
    else:
        print_line(found)


def verify(
    url: Url,
    deep: Annotated[
        bool, typer.Option("--deep", help="Compare whole shard files with their digests too.")
    ] = False,
    as_json: AsJson = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
) -> None:
    """Read every tensor and check all that can be checked: digests, sizes, the rules of its data.

    Exit code 1 where anything is wrong; all that is damaged is told.
    """
    from ..reader import open
    from .render import print_error, print_json, print_line
    from .text import counted

    options = storage_options(storage_option, storage_options_file)
    with open(url, storage_options=options) as reader:
        checked, undigested, damaged = _verified(reader, deep)
    if as_json:
        print_json(
            {
                "schema": "ztensor-verify/1",
                "checked": checked,
                "undigested": undigested,
                "damaged": damaged,
            }
        )
    else:
        for each in damaged:
            print_error(f"{each['error']}")
        print_line(
            f"{counted(checked, 'component')} as digested, {undigested:,} without a digest, "
            f"{counted(len(damaged), 'tensor')} damaged"
        )
    if damaged:
        raise typer.Exit(1)


def _verified(reader: Reader, deep: bool) -> tuple[int, int, list[dict[str, Any]]]:
    from ..errors import FormatError, LimitError

    if deep:
        reader.verify([], deep=True)
    checked = undigested = 0
    damaged: list[dict[str, Any]] = []
    for name in reader:
        try:
            found = reader.verify([name])
        except (FormatError, LimitError) as error:
            damaged.append({"tensor": name, "component": error.component, "error": str(error)})
        else:
            checked, undigested = checked + found.checked, undigested + found.undigested
    return checked, undigested, damaged


def diff(
    first: Annotated[str, typer.Argument(metavar="FIRST", help="A path or a URL.")],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="A path or a URL.")],
    rtol: Annotated[
        float, typer.Option(min=0, help="Values may differ by this part of the second's.")
    ] = 0.0,
    atol: Annotated[float, typer.Option(min=0, help="Values may differ by so much.")] = 0.0,
    as_json: AsJson = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
) -> None:
    """Compare names, shapes, dtypes, attributes and values of two files.

    How they are stored does not matter. Exit code 1 where anything is different.
    """
    from ..examine import diff
    from .json_values import jsonable
    from .render import print_json, print_line

    options = storage_options(storage_option, storage_options_file)
    found = diff(first, second, rtol=rtol, atol=atol, storage_options=options)
    if as_json:
        listed = [jsonable(asdict(each)) for each in found]
        print_json({"schema": "ztensor-diff/1", "differences": listed})
    else:
        for each in found:
            print_line(_sentence(each))
    if found:
        raise typer.Exit(1)


def _sentence(each: Difference) -> str:
    from .json_values import jsonable
    from .text import attribute_text, counted, printable

    what = "file" if each.tensor is None else printable(each.tensor)
    if each.kind == "missing":
        where, text = ("second", each.first) if each.second is None else ("first", each.second)
        return f"{what}: missing in the {where} ({text})"
    if each.kind == "values":
        return f"{what}: {counted(each.first, 'value')} differ, by {each.second:.7g} at most"
    first, second = (attribute_text(jsonable(value)) for value in (each.first, each.second))
    return f"{what}: {each.kind} {first} -> {second}"


def plan(
    url: Url,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Tensors, or parts: weight[0:10]. All by default."),
    ] = None,
    as_json: AsJson = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
) -> None:
    """Show what a read would cost: the requests that it would make. None is made."""
    from ..reader import open
    from .render import print_json, print_line
    from .selection import parse_selection
    from .text import bytes_text, counted

    options = storage_options(storage_option, storage_options_file)
    with open(url, storage_options=options) as reader:
        keys = dict(parse_selection(reader, name) for name in names) if names else {}
        found = reader.plan(
            list(keys) or None, slices={name: key for name, key in keys.items() if key is not ...}
        )
    if as_json:
        ranges = [asdict(each) for each in found.ranges]
        print_json({"schema": "ztensor-plan/1", "wanted": found.wanted, "ranges": ranges})
        return
    for each in found.ranges:
        print_line(f"{each.length:>14,} bytes at {each.offset:,} of {each.url}")
    print_line(
        f"{counted(found.requests, 'request')}, {bytes_text(found.bytes)}, "
        f"{found.over_read:.2f} times what is needed"
    )
