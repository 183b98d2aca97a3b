"""``ztensor cp``, ``remove``, ``rename`` and ``split``: some tensors of a file."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from .convert import tell
from .options import (
    Overwrite,
    StorageOption,
    StorageOptionsFile,
    ToStorageOption,
    Url,
    storage_options,
    to_storage_options,
)

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

_NewFile = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="URL", help="Write a new file; leave URL as it is."),
]


def cp(
    url: Url,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The file to write.")],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="All tensors by default.")
    ] = None,
    overwrite: Overwrite = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
    to_storage_option: ToStorageOption = None,
) -> None:
    """Write some tensors, or all, to a new file, as they are stored."""
    from ..rewrite import copy
    from .progress import progress

    with progress("copying") as callback:
        written = copy(
            url,
            target,
            names or None,
            overwrite=overwrite,
            storage_options=storage_options(storage_option, storage_options_file),
            to_storage_options=to_storage_options(to_storage_option),
            callback=callback,
        )
    tell(written)


def remove(
    url: Url,
    names: Annotated[list[str], typer.Argument(metavar="NAME")],
    output: _NewFile = None,
    overwrite: Overwrite = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
    to_storage_option: ToStorageOption = None,
) -> None:
    """Leave tensors out of a file.

    Their bytes stay in it until `ztensor compact`, unless a new file is written.
    """
    from ..rewrite import remove

    remove(
        url,
        names,
        output,
        overwrite=overwrite,
        storage_options=storage_options(storage_option, storage_options_file),
        to_storage_options=to_storage_options(to_storage_option),
    )


def rename(
    url: Url,
    names: Annotated[list[str], typer.Argument(metavar="OLD=NEW")],
    output: _NewFile = None,
    overwrite: Overwrite = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
    to_storage_option: ToStorageOption = None,
) -> None:
    """Give tensors other names, all at once: two can change places."""
    from ..rewrite import rename

    rename(
        url,
        dict(_pair(text) for text in names),
        output,
        overwrite=overwrite,
        storage_options=storage_options(storage_option, storage_options_file),
        to_storage_options=to_storage_options(to_storage_option),
    )


def _pair(text: str) -> tuple[str, str]:
    old, separator, new = text.partition("=")
    if not separator:
        raise typer.BadParameter("give it as OLD=NEW", param_hint="'OLD=NEW'")
    return old, new


def split(
    url: Url,
    pattern: Annotated[
        str,
        typer.Argument(metavar="PATTERN", help="As in model-{index:05}-of-{count:05}.zt."),
    ],
    max_size: Annotated[
        str, typer.Option("--max-size", metavar="SIZE", help="Bytes, or with K, M, G, T: 5G.")
    ],
    overwrite: Overwrite = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
    to_storage_option: ToStorageOption = None,
) -> None:
    """Write the tensors of a file to several, none larger than wanted."""
    from ..rewrite import split
    from .progress import progress

    size = _size(max_size)
    with progress("splitting") as callback:
        parts = split(
            url,
            pattern,
            size,
            overwrite=overwrite,
            storage_options=storage_options(storage_option, storage_options_file),
            to_storage_options=to_storage_options(to_storage_option),
            callback=callback,
        )
    for part in parts:
        tell(part)


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text)
    if found is None or not float(found[1]):
        raise typer.BadParameter("give bytes, or as in 5G", param_hint="'--max-size'")
    return max(1, int(float(found[1]) * _UNITS[found[2]]))
