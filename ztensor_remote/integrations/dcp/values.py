"""Plain Python values to attributes and back: what checkpoints hold beside tensors."""

from __future__ import annotations

from typing import Any

from ...errors import FormatError, UnsupportedError


def to_attribute(value: Any) -> Any:
    """Return a value as attributes can have it; lists stay what they are, others are marked.

    Raises
    ------
    UnsupportedError
        Only pickle could store it, and nothing is ever unpickled.
    """
    kind = type(value)
    if value is None or kind in (bool, int, float, str, bytes):
        return value
    if kind is list:
        return [to_attribute(item) for item in value]
    if kind is tuple:
        return {"tuple": [to_attribute(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[to_attribute(key), to_attribute(item)] for key, item in value.items()]}
    raise UnsupportedError(
        f"a {kind.__name__} can't be stored without pickle; make it a tensor, or of None, bool, "
        "int, float, str, bytes, list, tuple and dict"
    )


def from_attribute(value: Any) -> Any:
    """Return the value that `to_attribute` was given.

    Raises
    ------
    FormatError
    """
    if isinstance(value, list):
        return [from_attribute(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"tuple": list(items), **rest} if not rest:
            return tuple(from_attribute(item) for item in items)
        case {"dict": list(pairs), **rest} if not rest:
            return dict(_pair(pair) for pair in pairs)
    raise FormatError("a value of the checkpoint is of no known kind")


def _pair(pair: Any) -> tuple[Any, Any]:
    match pair:
        case [key, item]:
            key = from_attribute(key)
            if not isinstance(key, list | dict):
                return key, from_attribute(item)
    raise FormatError("a dict of the checkpoint is damaged")
