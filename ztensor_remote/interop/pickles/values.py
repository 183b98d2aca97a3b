"""What a pickle may be made of: plain values of Python, and these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ...errors import UnsupportedError
from ...manifest.fields import shown

Call = Callable[[tuple[Any, ...]], Any]


class Text(str):
    """A text, and where in the pickle it is.

    Attributes
    ----------
    offset, length : int
        Of its bytes there.
    encoding : {"utf-8", "raw-unicode-escape"}
    """

    __slots__ = ("encoding", "length", "offset")
    offset: int
    length: int
    encoding: str


SHORT = 4096
"""Bytes up to which a payload is read as it is passed."""


@dataclass(frozen=True, slots=True, eq=False)
class Bytes:
    """A run of bytes in the pickle.

    Attributes
    ----------
    offset, stored : int
        Where they begin, and how many bytes they take there.
    length : int
        How many they are.
    data : bytes or None
        None where they are too many to be of interest by themselves.
    encoding : str
        ``"raw"``, ``"latin-1"`` for a text in UTF-8 of the characters with the same numbers, or
        ``"escaped"``.
    is_text : bool
        Python 2 wrote it as a text, which may or may not be one.
    """

    offset: int
    stored: int
    length: int
    data: bytes | None
    encoding: str = "raw"
    is_text: bool = False


@dataclass(slots=True, eq=False)
class Dict:
    """A map of any kind. Keys may be anything: nothing is hashed before it is known to be text."""

    pairs: list[Any] = field(default_factory=list)

    def build(self, state: Any) -> None:
        """Pass over the attributes that a subclass of dict has, as a state_dict's versions."""


@dataclass(slots=True, eq=False)
class Set:
    """A set, as the list of its items."""

    items: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """A name that is known, and what calling it means.

    Attributes
    ----------
    name : str
        With the module.
    call : callable or None
        Gets the arguments as a tuple.
    value : object
        What it stands for by itself.
    """

    name: str
    call: Call | None = None
    value: Any = None


def refuse(name: str) -> NoReturn:
    """Refuse something by its name.

    Raises
    ------
    UnsupportedError
    """
    raise UnsupportedError(
        f"{shown(name)} is no tensor and no plain value; nothing was executed. Save tensors and "
        "plain values only, as torch.save(model.state_dict(), …) does"
    )


def kind(value: Any) -> str:
    """Return what a value is, for messages."""
    if isinstance(value, Named):
        return value.name
    names = {"Text": "str", "Bytes": "bytes", "Dict": "dict", "Set": "set"}
    return names.get(type(value).__name__, type(value).__name__)


def as_text(value: Any) -> str | None:
    """Return a value if it is a text, also one of Python 2's."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Bytes) and value.is_text and value.data is not None:
        try:
            return value.data.decode()
        except UnicodeDecodeError:
            return None
    return None
