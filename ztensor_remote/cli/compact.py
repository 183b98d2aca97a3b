"""``ztensor compact``: write a file anew without what nothing in it refers to."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import StorageOption, StorageOptionsFile, storage_options


def compact(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="A path, or a URL of any fsspec filesystem.")
    ],
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
) -> None:
    """Drop the manifests and tensors that appends have left behind.

    The new file takes the place of the old one at once. A file that another one refers to as its
    shard must stay as it is.
    """
    from ..writer import compact
    from .render import print_line

    done = compact(url, storage_options=storage_options(storage_option, storage_options_file))
    if done.after == done.before:
        print_line("nothing to drop; the file was not changed")
    else:
        print_line(f"{done.before:,} bytes -> {done.after:,} bytes")
