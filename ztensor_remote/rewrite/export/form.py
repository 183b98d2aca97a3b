"""Which format a file is written in."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

from ...errors import InvalidInputError
from . import gguf, npz, safetensors
from .item import Item
from .plan import Plan

Target: TypeAlias = Literal["auto", "ztensor", "safetensors", "npz", "gguf"]
TARGETS: tuple[Target, ...] = get_args(Target)

Planner: TypeAlias = Callable[[Sequence[Item], Mapping[str, Any]], Plan]

PLANNERS: Mapping[str, Planner] = {
    "safetensors": safetensors.plan,
    "npz": npz.plan,
    "gguf": gguf.plan,
}


def form_of(to: str, path: str) -> str | None:
    """Return the other format that a file is to have; None for zTensor's own.

    Parameters
    ----------
    to : str
        A name, or "auto" for what the name of the file ends with.
    path : str
        Path or URL.

    Raises
    ------
    InvalidInputError
    """
    if to not in TARGETS:
        raise InvalidInputError(f"format {to!r} can't be written; use one of {', '.join(TARGETS)}")
    name = path.partition("?")[0] if "://" in path else path
    ending = posixpath.splitext(name)[1].lower().removeprefix(".")
    form = ending if to == "auto" else to
    return form if form in PLANNERS else None
