"""``NAME[slice]``, as a command line names a part of a tensor."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..reader import Reader

_NUMBER = r"-?\d+"
_SLICE = re.compile(rf"({_NUMBER})?:({_NUMBER})?(?::({_NUMBER})?)?")


def parse_selection(reader: Reader, text: str) -> tuple[str, Any]:
    """Return a tensor's name and the key of its part; the key ``...`` is all of it.

    Raises
    ------
    typer.BadParameter
    """
    found = None if text in reader else re.fullmatch(r"(.*)\[([^\[\]]*)\]", text, re.DOTALL)
    if found is None:
        return text, ...
    return found[1], tuple(_index(part.strip()) for part in found[2].split(","))


def _index(text: str) -> Any:
    if text == "...":
        return ...
    if re.fullmatch(_NUMBER, text):
        return int(text)
    found = _SLICE.fullmatch(text)
    if found is None:
        raise typer.BadParameter(
            f"{text!r} is no index; give numbers and slices, as in weight[0:10,:,-1]",
            param_hint="'NAME'",
        )
    return slice(*(None if part is None else int(part) for part in found.groups()))
