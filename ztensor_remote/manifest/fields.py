"""Typed access to decoded CBOR: every value from a file passes one of these checks."""

from __future__ import annotations

from typing import Any, NoReturn

from ..errors import FormatError

MAX_RANK = 64
MAX_U64 = (1 << 64) - 1


class RepeatedKeys(dict[Any, Any]):
    """A map that names a key more than once; the last value is in it."""


def reject(message: str, *, rule: str = "Schema") -> NoReturn:
    """Raise FormatError."""
    raise FormatError(message, rule=rule)


def untagged(value: Any) -> Any:
    """Return what follows the tags before a value: readers of 0.1 and 1.x pass over them."""
    from cbor2 import CBORTag

    while isinstance(value, CBORTag):
        value = value.value
    return value


def get_fields(value: Any, what: str) -> dict[Any, Any]:
    """Return `value` if it is a map of fields, each there at most once."""
    fields = get_map(value, what)
    if isinstance(fields, RepeatedKeys):
        reject(f"{what} repeats a key", rule="CborDuplicateKey")
    return fields


def get_map(value: Any, what: str) -> dict[Any, Any]:
    """Return `value` if it is a map."""
    fields = value if isinstance(value, dict) else untagged(value)
    if not isinstance(fields, dict):
        reject(f"{what} must be a map, not {_kind(fields)}")
    return fields


def get_list(value: Any, what: str) -> list[Any]:
    """Return `value` if it is an array."""
    items = value if isinstance(value, list) else untagged(value)
    if not isinstance(items, list):
        reject(f"{what} must be an array, not {_kind(items)}")
    return items


def get_text(value: Any, what: str) -> str:
    """Return `value` if it is a text string."""
    text = value if isinstance(value, str) else untagged(value)
    if not isinstance(text, str):
        reject(f"{what} must be text, not {_kind(text)}")
    return text


def get_optional_text(fields: dict[Any, Any], key: str) -> str | None:
    """Return the text under `key`; None where it is absent or null."""
    value = fields.get(key)
    return None if value is None else get_text(value, f"{key!r}")


def get_uint(value: Any, what: str) -> int:
    """Return `value` if it is an unsigned 64-bit integer."""
    number = value if type(value) is int else untagged(value)
    if type(number) is not int or not 0 <= number <= MAX_U64:
        reject(f"{what} must be an unsigned 64-bit integer, not {_kind(number)}")
    return number


def require(fields: dict[Any, Any], key: str, what: str) -> Any:
    """Return the value under `key`, which must be there."""
    if key not in fields:
        reject(f"{what} lacks {key!r}")
    return fields[key]


def get_shape(value: Any) -> tuple[int, ...]:
    """Return a shape whose rank and element count the format allows."""
    dims = get_list(value, "'shape'")
    if len(dims) > MAX_RANK:
        reject(f"the shape has rank {len(dims)}; the most is {MAX_RANK}", rule="Shape")
    shape = tuple([get_uint(dim, "a dimension") for dim in dims])
    element_count(shape)
    return shape


def element_count(shape: tuple[int, ...]) -> int:
    """Return the product of `shape`, checked against 64 bits step by step."""
    count = 1
    for dim in shape:
        count *= dim
        if count > MAX_U64:
            reject(f"the element count of {shape} overflows 64 bits", rule="Shape")
    return count


def c_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of an array in C order, in elements."""
    strides = []
    by = 1
    for size in reversed(shape):
        strides.append(by)
        by *= size
    return tuple(reversed(strides))


def normal_strides(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return strides as `Tensor` has them: None where the elements are in C order."""
    in_order = zip(shape, strides, c_strides(shape), strict=True)
    if 0 in shape or all(size == 1 or by == expected for size, by, expected in in_order):
        return None
    return strides


def shown(text: str) -> str:
    """Return a text from a file as a message can have it: quoted, and not endless."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _kind(value: Any) -> str:
    """Return the type of a value from a file, and the value where that is short."""
    kind = type(value).__name__
    if isinstance(value, str):
        return f"text {shown(value)}"
    if isinstance(value, int):  # more than 64 bits can be too long for Python to print
        return f"{kind} {value}" if value.bit_length() <= 128 else f"{kind} of many digits"
    return f"{kind} {value}" if isinstance(value, float) else kind
