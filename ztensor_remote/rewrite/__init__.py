"""Whole files anew: streamed from URL to URL, bytes that stay the same as they are stored."""

from .convert import Rewritten, compress, convert, copy, decompress, merge
from .joining import append_from
from .names import remove, rename
from .split import split

__all__ = [
    "Rewritten",
    "append_from",
    "compress",
    "convert",
    "copy",
    "decompress",
    "merge",
    "remove",
    "rename",
    "split",
]
