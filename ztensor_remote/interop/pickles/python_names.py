"""Names of Python itself that plain values are pickled by."""

from __future__ import annotations

from typing import Any

from .stream import reject
from .values import SHORT, Bytes, Dict, Named, Set, Text, as_text, refuse


def _dict(arguments: tuple[Any, ...]) -> Dict:
    match arguments:
        case ():
            return Dict()
        case (Dict() as source,):
            return Dict(list(source.pairs))
        case (list() as pairs,) if all(
            isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
        ):
            return Dict([tuple(pair) for pair in pairs])
    reject("a dict is made of something else than its items")


def _set(arguments: tuple[Any, ...]) -> Set:
    match arguments:
        case ():
            return Set()
        case (list() | tuple() as items,):
            return Set(list(items))
    reject("a set is made of something else than its items")


def _complex(arguments: tuple[Any, ...]) -> complex:
    match arguments:
        case (int() | float() as real, int() | float() as imaginary):
            try:
                return complex(real, imaginary)
            except OverflowError:
                pass
    reject("a complex number is made of something else than two numbers")


def _bytes(arguments: tuple[Any, ...]) -> Bytes:
    match arguments:
        case ():
            return Bytes(0, 0, 0, b"")
        case (Bytes() as data,):
            return data
        case (Text(), _):
            return _encoded(arguments)
    reject("bytes are made of something else than bytes")


def _encoded(arguments: tuple[Any, ...]) -> Bytes:
    """How protocols before 3 have bytes: as a text of the characters with the same numbers."""
    match arguments:
        case (Text() as text, encoding) if as_text(encoding) in ("latin1", "latin-1"):
            try:
                data = text.encode("latin-1")
            except UnicodeEncodeError:
                reject("a text that stands for bytes has other characters")
            how = "latin-1" if text.encoding == "utf-8" else "escaped"
            if text.length == len(data):
                how = "raw"
            kept = data if len(data) <= SHORT else None
            return Bytes(text.offset, text.length, len(data), kept, how)
    refuse("_codecs.encode of anything but bytes")


PYTHON_NAMES = {
    named.name: named
    for named in (
        Named("collections.OrderedDict", _dict),
        Named("collections.Counter", _dict),
        Named("_codecs.encode", _encoded),
        *(
            Named(f"{module}.{name}", call)
            for module in ("builtins", "__builtin__")
            for name, call in {
                "dict": _dict,
                "set": _set,
                "frozenset": _set,
                "complex": _complex,
                "bytes": _bytes,
                "bytearray": _bytes,
            }.items()
        ),
    )
}
