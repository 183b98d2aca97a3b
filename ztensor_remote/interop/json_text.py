"""JSON as other formats have it, taken at its word: nothing twice, nothing that is no JSON."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn

from ..manifest.fields import shown


def parse_json(data: bytes) -> Any:
    """Return what a JSON text says.

    Raises
    ------
    ValueError
        It is none; the message goes on after "the text …".
    """
    try:
        return json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except _RepeatedError:
        raise
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from None


class _RepeatedError(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise _RepeatedError(f"repeats the key {shown(twice)}")
    return fields


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def is_text(value: Any) -> bool:
    """Whether a value is text without half of a surrogate pair, which JSON lets pass."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
