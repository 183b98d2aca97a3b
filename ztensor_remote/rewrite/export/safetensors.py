"""Write safetensors: https://github.com/huggingface/safetensors#format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import LimitError, UnsupportedError
from ...interop.safetensors import DTYPES, METADATA, MOST
from ...manifest.dtypes import BY_LOGICAL, BY_STORAGE
from .item import LEAVE_OUT, Item, refuse
from .plan import HeadFirst, offsets_of

_ALIGNMENT = 8
_NAMES = {
    (BY_STORAGE[storage] if logical is None else BY_LOGICAL[logical]).name: name
    for name, (storage, logical) in DTYPES.items()
    if logical is None or logical in BY_LOGICAL
}


def plan(items: Sequence[Item], attributes: Mapping[str, Any]) -> HeadFirst:
    """Return the file, its tensors in the order of their widths: there are no gaps to align them.

    Raises
    ------
    UnsupportedError, LimitError
    """
    ordered = sorted(items, key=lambda item: -item.element.bits)
    header: dict[str, Any] = {}
    if attributes:
        header[METADATA] = _texts(attributes)
    for item, begin in zip(ordered, offsets_of(ordered), strict=False):
        header[item.name] = {
            "dtype": _dtype(item),
            "shape": item.shape,
            "data_offsets": (begin, begin + item.nbytes),
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    if len(text) > MOST:
        raise LimitError(f"a header of {len(text)} bytes is over safetensors's limit of {MOST}")
    return HeadFirst(len(text).to_bytes(8, "little") + text, ordered)


def _dtype(item: Item) -> str:
    if item.name == METADATA:
        raise refuse(item, f"safetensors keeps the name {METADATA!r} for itself")
    if item.layout != "dense":
        raise refuse(item, f"safetensors has no quantized tensors, and this one is {item.layout}")
    name = _NAMES.get(item.element.name)
    if name is None:
        raise refuse(item, f"safetensors has no {item.element.name}")
    if item.element.is_packed and item.chosen.tensor.size * item.element.bits % 8:
        raise refuse(item, f"safetensors wants {item.element.name} to fill whole bytes")
    return name


def _texts(attributes: Mapping[str, Any]) -> Mapping[str, str]:
    for key, value in attributes.items():
        if not isinstance(value, str):
            raise UnsupportedError(
                f"safetensors has attributes that are text alone, and {key!r} is "
                f"{type(value).__name__}; {LEAVE_OUT}"
            )
    return attributes
