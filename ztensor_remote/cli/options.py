"""Options that several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeAlias

import typer

STORAGE_OPTION = "--storage-option"
STORAGE_OPTIONS = "--storage-options"
TO_STORAGE_OPTION = "--to-storage-option"
FROM_STORAGE_OPTION = "--from-storage-option"

StorageOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        STORAGE_OPTION,
        metavar="KEY=VALUE",
        help="An option of the filesystem, as fsspec takes it; may be repeated. A VALUE that is "
        "JSON counts as such (anon=true, client_kwargs={...}), any other is text.",
    ),
]
StorageOptionsFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        STORAGE_OPTIONS,
        metavar="FILE",
        help="Options of the filesystem from a JSON object in a file, where secrets are out of "
        f"sight of other users. {STORAGE_OPTION} goes before it.",
    ),
]
ToStorageOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        TO_STORAGE_OPTION,
        metavar="KEY=VALUE",
        help="An option of the output's filesystem; by default those of the input, if it is of the "
        "same kind.",
    ),
]
FromStorageOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        FROM_STORAGE_OPTION,
        metavar="KEY=VALUE",
        help="An option of the filesystem of what is added; by default those of the file, if it is "
        "of the same kind.",
    ),
]
Url: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="A path, or a URL of any fsspec filesystem. One with a * in it (in quotes), an "
        "….index.json or a folder stands for several files.",
    ),
]
InputFormat: TypeAlias = Annotated[
    str, typer.Option("--format", "-f", help="What the input is: auto, safetensors, ….")
]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON with the name of its schema, and nothing else.")
]
Urls: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="URL",
        help="Paths, or URLs of any fsspec filesystem; also patterns, ….index.json and folders.",
    ),
]
Output: TypeAlias = Annotated[
    str, typer.Option("--output", "-o", metavar="URL", help="The file to write.")
]
Overwrite: TypeAlias = Annotated[
    bool, typer.Option("--overwrite", help="Take the place of a file that is there.")
]
DeleteOriginal: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--delete-original",
        help="Delete what was read, once the output was read back and found whole.",
    ),
]
Level: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--level", "-l", min=1, max=22, help="Of zstd: 1 is fast, 22 small; 3 if not given."
    ),
]


def storage_options(pairs: list[str] | None, file: Path | None) -> dict[str, Any]:
    """Return the options of the filesystem that a command line gives.

    Raises
    ------
    typer.BadParameter
        What it says never includes a value: that may be a secret.
    """
    return (_from_file(file) if file else {}) | dict(_from_pair(pair) for pair in pairs or [])


def other_storage_options(pairs: list[str] | None, option: str) -> dict[str, Any] | None:
    """Return the options of another filesystem; None leaves them to those of the first.

    Raises
    ------
    typer.BadParameter
    """
    return dict(_from_pair(pair, option) for pair in pairs) if pairs else None


def to_storage_options(pairs: list[str] | None) -> dict[str, Any] | None:
    """Return the options of the output's filesystem."""
    return other_storage_options(pairs, TO_STORAGE_OPTION)


def from_storage_options(pairs: list[str] | None) -> dict[str, Any] | None:
    """Return the options of the filesystem of what is added."""
    return other_storage_options(pairs, FROM_STORAGE_OPTION)


def _from_file(file: Path) -> dict[str, Any]:
    try:
        options = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise _bad(f"can't read {str(file)!r}: {error.strerror}", STORAGE_OPTIONS) from None
    except (ValueError, RecursionError):
        raise _bad(f"{str(file)!r} is not valid JSON", STORAGE_OPTIONS) from None
    if not isinstance(options, dict):
        raise _bad(f"{str(file)!r} must hold a JSON object", STORAGE_OPTIONS)
    return options


def _from_pair(pair: str, option: str = STORAGE_OPTION) -> tuple[str, Any]:
    key, separator, value = pair.partition("=")
    if not key or not separator:
        raise _bad("give it as KEY=VALUE", option)
    try:
        return key, json.loads(value, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return key, value


def _no_constant(text: str) -> NoReturn:
    """Refuse NaN and Infinity, which json takes although they are no JSON."""
    raise ValueError(text)


def _bad(message: str, option: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint=f"'{option}'")
