"""Tensors as columns: those that have as many rows."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InvalidInputError
from ..reader import Reader


def row_count(reader: Reader, names: Sequence[str]) -> int:
    """Return how many rows each of the tensors has.

    Raises
    ------
    InvalidInputError
        They are not dense, or have different numbers of rows.
    TensorNotFoundError
    """
    lengths = {name: _rows_of(reader, name) for name in names}
    if len(set(lengths.values())) != 1:
        stated = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise InvalidInputError(
            f"the tensors must have the same number of rows, these have {stated or 'none'}",
            url=reader.url,
        )
    return lengths[names[0]]


def _rows_of(reader: Reader, name: str) -> int:
    tensor = reader[name]
    if tensor.layout != "dense" or not tensor.shape:
        raise InvalidInputError("it has no rows", tensor=name, url=reader.url)
    return tensor.shape[0]
