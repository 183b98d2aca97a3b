"""``ztensor info``: what a file holds."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import StorageOption, StorageOptionsFile, storage_options


def info(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="A path, or a URL of any fsspec filesystem.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON (schema ztensor-info/1) and nothing else.")
    ] = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
) -> None:
    """Show what a file holds; only its manifest is fetched."""
    from ..reader import open
    from .describe import describe
    from .render import print_info, print_json

    options = storage_options(storage_option, storage_options_file)
    with open(url, storage_options=options) as reader:
        described = describe(reader)
    if as_json:
        print_json(described)
    else:
        print_info(described)
