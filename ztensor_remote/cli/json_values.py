"""Values of attributes as JSON that says exactly what they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_MARK = "__"


def jsonable(value: Any) -> Any:
    """Return `value` in JSON's own types.

    What JSON has no form for becomes an object with one marked key:

    ==============================  ===========================================================
    ``{"__bytes__": hex}``          bytes
    ``{"__float__": text}``         ``"nan"``, ``"inf"``, ``"-inf"``
    ``{"__int__": hex}``            an integer outside -2^64 … 2^64-1
    ``{"__map__": [[k, v], …]}``    a map with a key that is no text, or that begins with ``__``
    ``{"__tag__": n, "value": v}``  a CBOR tag, not interpreted
    ``{"__simple__": n}``           a CBOR simple value; 23 is *undefined*
    ``{"__repr__": text}``          anything else
    ==============================  ===========================================================
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        # CBOR's own integers; bignums can be too long for Python itself to turn into decimals.
        return value if -(1 << 64) <= value < 1 << 64 else {"__int__": hex(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"__float__": str(value)}
    if isinstance(value, bytes | bytearray):
        return {"__bytes__": value.hex()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, Mapping):
        return _json_object(value)
    return _json_cbor(value)


def _json_object(value: Mapping[Any, Any]) -> dict[str, Any]:
    if all(isinstance(key, str) and not key.startswith(_MARK) for key in value):
        return {key: jsonable(item) for key, item in value.items()}
    return {"__map__": [[jsonable(key), jsonable(item)] for key, item in value.items()]}


def _json_cbor(value: Any) -> dict[str, Any]:
    import cbor2

    if isinstance(value, cbor2.CBORTag):
        return {"__tag__": value.tag, "value": jsonable(value.value)}
    if isinstance(value, cbor2.CBORSimpleValue):
        return {"__simple__": value.value}
    if value is cbor2.undefined:
        return {"__simple__": 23}
    return {"__repr__": repr(value)}
