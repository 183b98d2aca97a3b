"""What the files of a log are called (SPEC.md §14). Pure."""

from __future__ import annotations

import operator
import re
import secrets
from collections.abc import Iterable
from typing import Any

from ..errors import InvalidInputError

_ROOT = re.compile(r"step-(\d{12})\.zt")
_DATA = re.compile(r"step-(\d{12})-([0-9a-f]{16})\.zt")
_MOST = 10**12


def check_step(step: Any) -> int:
    """Return the number of a step.

    Raises
    ------
    InvalidInputError
    """
    try:
        number = operator.index(step)
    except TypeError:
        raise InvalidInputError(f"a step is an integer, not {step!r}") from None
    if not 0 <= number < _MOST:
        raise InvalidInputError(f"steps are numbered from 0 to {_MOST - 1}, not {number}")
    return number


def new_shard() -> str:
    """Return a name for the blobs of one attempt to write a step."""
    return secrets.token_hex(8)


def root_name(step: int) -> str:
    """Return the file whose presence is the step's."""
    return f"step-{step:012}.zt"


def data_name(step: int, shard: str) -> str:
    """Return the file that holds blobs written for a step."""
    return f"step-{step:012}-{shard}.zt"


def steps_among(names: Iterable[str]) -> list[int]:
    """Return the steps whose roots are among some files, ascending."""
    return sorted(int(found[1]) for name in names if (found := _ROOT.fullmatch(name)))


def step_of_data(name: str) -> int | None:
    """Return the step that a file of blobs was written for; None for any other file."""
    found = _DATA.fullmatch(name)
    return int(found[1]) if found else None
