"""What kind of file it is: by its name as long as nothing is known of it, then by its bytes."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from importlib import import_module
from typing import Literal, TypeAlias, get_args

from ..container import MAGIC_0_1, MAGIC_1, MAGIC_2
from ..errors import InvalidInputError
from ..manifest import Manifest
from ..stores import End
from . import archive, gguf, npy, npz, safetensors
from .peek import Peek
from .pickled import is_archive, is_pickle

Format: TypeAlias = Literal[
    "auto", "ztensor", "safetensors", "gguf", "npy", "npz", "torch", "pickle", "onnx", "hdf5"
]
FORMATS: tuple[Format, ...] = get_args(Format)

Parser: TypeAlias = Callable[[Peek], Manifest]
"""Turns what a file says of itself into a manifest, whose offsets count from the file's start.

It reads nothing else, and raises FormatError, UnsupportedError or LimitError for what it can't use.
"""

_SUFFIXES: dict[str, Format] = {
    ".safetensors": "safetensors",
    ".gguf": "gguf",
    ".npy": "npy",
    ".npz": "npz",
    ".pt": "torch",
    ".pth": "torch",
    ".bin": "torch",
    ".ckpt": "torch",
    ".pkl": "pickle",
    ".pickle": "pickle",
    ".onnx": "onnx",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
}
_HEAD_FIRST = frozenset(("safetensors", "gguf", "npy", "pickle", "onnx", "hdf5"))
_HDF5 = b"\x89HDF\r\n\x1a\n"
_NATIVE = frozenset((MAGIC_0_1, MAGIC_1, MAGIC_2))


def first_end(name: str, format: Format) -> End:
    """Return which end of a file to read first.

    Parameters
    ----------
    name : str
        Its path or URL.
    format : Format

    Raises
    ------
    InvalidInputError
        There is no such format.
    """
    if format not in FORMATS:
        raise InvalidInputError(f"format {format!r} is unknown; use one of {', '.join(FORMATS)}")
    return "head" if (_named(name) if format == "auto" else format) in _HEAD_FIRST else "tail"


def find_parser(peek: Peek, name: str, format: Format) -> Parser | None:
    """Return what can parse a file; None if it is a zTensor file, or like none that is known."""
    found = format if format != "auto" else _of_content(peek) or _named(name)
    if found is None or found == "ztensor":
        return None
    parser: Parser = import_module(f".{found}", __package__).parse
    return parser


def format_named(name: str) -> Format | None:
    """Return the format that a file's name tells."""
    return "ztensor" if path_of(name).lower().endswith(".zt") else _named(name)


def path_of(name: str) -> str:
    """Return a path or URL without the query."""
    return name.partition("?")[0] if "://" in name else name


def _named(name: str) -> Format | None:
    return _SUFFIXES.get(posixpath.splitext(path_of(name))[1].lower())


def _of_content(peek: Peek) -> Format | None:
    """Return the format that the bytes tell, without a request where the end is zTensor's."""
    if peek.size < 8:
        return None
    is_native = peek.seen(peek.size - 8, 8) in (MAGIC_1, MAGIC_2)
    if is_native and peek.seen(0, 8) is None:
        return "ztensor"
    if archive.is_at_end(peek):
        return _of_members(peek)
    head = bytes(peek.read(0, 8))
    if head in _NATIVE:
        return "ztensor"
    if head.startswith(gguf.MAGIC):
        return "gguf"
    if head == _HDF5:
        return "hdf5"
    if head.startswith(npy.MAGIC):
        return "npy"
    if head.startswith(archive.MAGIC):
        return _of_members(peek)
    length = int.from_bytes(head, "little")
    if length <= min(safetensors.MOST, peek.size - 8) and bytes(peek.read(8, 1)) == b"{":
        return "safetensors"
    if is_pickle(head):
        return "pickle"
    return "ztensor" if is_native else None


def _of_members(peek: Peek) -> Format | None:
    """Return what kind of zip file it is."""
    names = archive.members_of(peek)
    if is_archive(names):
        return "torch"
    return "npz" if any(name.endswith(npz.ENDING) for name in names) else None
