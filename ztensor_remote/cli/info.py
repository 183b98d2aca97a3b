"""``ztensor info``: what a file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from .options import InputFormat, StorageOption, StorageOptionsFile, Url, storage_options

if TYPE_CHECKING:
    from ..interop import Format


def info(
    url: Url,
    format: InputFormat = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON (schema ztensor-info/1) and nothing else.")
    ] = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
) -> None:
    """Show what a file holds, or several as one; only manifests are fetched."""
    from ..reader import open
    from .describe import describe
    from .render import print_info, print_json

    options = storage_options(storage_option, storage_options_file)
    with open(url, storage_options=options, format=cast("Format", format)) as reader:
        described = describe(reader)
    if as_json:
        print_json(described)
    else:
        print_info(described)
