"""What a pickle holds: tensors by dotted names, and plain values as attributes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ...errors import LimitError, UnsupportedError
from ...manifest.fields import shown
from .arrays import Array
from .stream import reject
from .tensors import Sparse, Storage, Strided
from .values import Bytes, Dict, Named, Set, as_text, kind

ALONE = "data"
"""The name of a tensor that is all there is."""

LEFT_OUT = "pickle.left_out"
"""The attribute that lists values which attributes can't hold."""

_DEEPEST = 24
_MOST = 20_000_000
"""Characters of all names and attributes; what is shared counts each time."""

_ITEM = 16
"""Characters that an item counts as, besides its own."""

_TENSORS = (Strided, Sparse, Array, Storage)
_LONG = 1 << 64


@dataclass(slots=True)
class Contents:
    """What was found.

    Attributes
    ----------
    tensors : dict of str to Strided, Sparse, Array or Storage
    attributes : dict
    """

    tensors: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)


def contents_of(value: Any) -> Contents:
    """Sort what a pickle holds into tensors and attributes.

    Raises
    ------
    FormatError
        Two things have the same name.
    UnsupportedError
        It holds nothing that has a name, or a tensor under a key that makes none.
    LimitError
    """
    sorting = _Sorting()
    if isinstance(value, _TENSORS):
        sorting.found.tensors[ALONE] = value
        return sorting.found
    if not isinstance(value, Dict) and not sorting.has_tensors(value, 0):
        raise UnsupportedError(f"the pickle holds a {kind(value)}, and no tensors")
    sorting.descend(value, "", 0)
    if sorting.left_out:
        sorting.found.attributes[LEFT_OUT] = sorting.left_out
    return sorting.found


class _Sorting:
    def __init__(self) -> None:
        self.found = Contents()
        self.left_out: list[str] = []
        self._left = _MOST
        self._known: dict[int, bool] = {}

    def _charge(self, cost: int) -> None:
        self._left -= cost
        if self._left < 0:
            raise LimitError("the names and values in the pickle are too many, or too long")

    def has_tensors(self, value: Any, depth: int) -> bool:
        """Whether there is a tensor somewhere in a value."""
        if isinstance(value, _TENSORS):
            return True
        if not isinstance(value, list | tuple | Dict | Set):
            return False
        if depth > _DEEPEST:
            raise LimitError(f"the pickle is nested deeper than {_DEEPEST} levels")
        key = id(value)
        if key not in self._known:
            self._known[key] = False  # as long as it may be within itself
            self._charge(1)
            self._known[key] = any(self.has_tensors(item, depth + 1) for item in _values(value))
        return self._known[key]

    def descend(self, value: Any, path: str, depth: int) -> None:
        """Name what is in a container."""
        if depth > _DEEPEST:
            raise LimitError(f"the pickle is nested deeper than {_DEEPEST} levels")
        if isinstance(value, Set):
            raise UnsupportedError(f"{shown(path)} is a set of tensors, which have no names in it")
        for key, item in _items(value):
            holds = self.has_tensors(item, depth + 1)
            part = _name_part(key)
            if part is None:
                if holds:
                    raise UnsupportedError(
                        f"a tensor in {shown(path)} has a {kind(key)} as its key, which makes no "
                        "name; use text or numbers"
                    )
                self.left_out.append(f"{path}.({kind(key)})" if path else f"({kind(key)})")
                continue
            name = f"{path}.{part}" if path else part
            self._charge(_ITEM + len(name))
            if isinstance(item, _TENSORS):
                self._keep(self.found.tensors, name, item)
            elif holds:
                self.descend(item, name, depth + 1)
            else:
                self._attribute(name, item)

    def _keep(self, where: dict[str, Any], name: str, value: Any) -> None:
        if name in where:
            reject(f"two things in it are named {shown(name)}, once the names are dotted")
        where[name] = value

    def _attribute(self, name: str, value: Any) -> None:
        try:
            self._keep(self.found.attributes, name, self._plain(value, name, 0))
        except _CantHoldError:
            self.left_out.append(name)

    def _plain(self, value: Any, path: str, depth: int) -> Any:
        """Return a value as an attribute has it; what it can't hold is left out of containers."""
        self._charge(_ITEM)
        if depth > _DEEPEST:
            raise LimitError(f"the pickle is nested deeper than {_DEEPEST} levels")
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            if not -_LONG <= value < _LONG:
                raise _CantHoldError
            return value
        if isinstance(value, Named):
            return value.name
        if isinstance(value, list | tuple | Set | Dict):
            return self._plain_container(value, path, depth)
        held: str | bytes | None = as_text(value)
        if held is None and isinstance(value, Bytes):
            held = value.data
        if held is None or (isinstance(held, str) and not _is_unicode(held)):
            raise _CantHoldError
        self._charge(len(held))
        return held

    def _plain_container(self, value: Any, path: str, depth: int) -> Any:
        pairs: dict[str, Any] = {}
        for key, item in _items(value):
            part = _name_part(key)
            name = f"{path}.{part or f'({kind(key)})'}"
            self._charge(len(name))
            if part is not None and part in pairs:
                reject(f"two things in it are named {shown(name)}, once the names are dotted")
            try:
                if part is None:
                    raise _CantHoldError
                pairs[part] = self._plain(item, name, depth + 1)
            except _CantHoldError:
                self.left_out.append(name)
        return pairs if isinstance(value, Dict) else list(pairs.values())


class _CantHoldError(Exception):
    """A value that attributes have no form for."""


def _values(value: Any) -> Iterator[Any]:
    return (item for _, item in _items(value))


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Dict):
        return iter(value.pairs)
    return iter(enumerate(value.items if isinstance(value, Set) else value))


def _name_part(key: Any) -> str | None:
    """Return what a key adds to a name; None if it can't."""
    if type(key) is int:
        return str(key) if -_LONG <= key < _LONG else None
    text = as_text(key)
    return text if text is not None and _is_unicode(text) else None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
