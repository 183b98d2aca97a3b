"""Bounds for what reading takes: memory, connections, time."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from ..errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds for what reading takes.

    Attributes
    ----------
    max_decoded : int
        Bytes that one compressed or sparse tensor may become. What is stored raw is bounded by
        the file's size anyway.
    connections : int
        Requests under way at the same time.
    in_flight : int
        Bytes held besides the results: compressed data, and what is fetched to be picked from.
    timeout : float
        Seconds without a byte after which a request fails, and is sent again.
    deadline : float or None
        Seconds that one call may take in all.
    hedge_after : float or None
        Seconds after which a request that is not done gets a second one beside it, and the
        faster of the two counts. Off by default: it costs requests and bytes.

    Raises
    ------
    InvalidInputError
        A bound is no number, or not positive.
    """

    max_decoded: int = 64 << 30
    connections: int = 64
    in_flight: int = 48 << 20
    timeout: float = 30.0
    deadline: float | None = None
    hedge_after: float | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is None and each.default is None:
                continue
            wanted, meant = _WHOLE if isinstance(each.default, int) else _SECONDS
            is_number = isinstance(value, wanted)
            if not is_number or not 0 < value < math.inf:
                raise InvalidInputError(f"limits: {each.name}={value!r}; give {meant}")


_WHOLE = (Integral, "a whole number above 0")
_SECONDS = (Real, "a number of seconds above 0")


def limits_of(argument: Any) -> Limits:
    """Return the limits that an argument means; those by default for None.

    Raises
    ------
    InvalidInputError
        It is something else.
    """
    if argument is None:
        return Limits()
    if not isinstance(argument, Limits):
        kind = type(argument).__name__
        raise InvalidInputError(f"limits= is a {kind}; give a Limits, Limits(connections=16)")
    return argument
