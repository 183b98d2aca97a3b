"""Datasets of xarray to files: a tensor a variable, which `xarray.open_dataset` gives back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInputError, located
from ..types import StorageOptions
from ..writer import Writer
from ..writer.assembly import DEFAULT
from ..writer.rules import Checksum
from .extras import import_extra
from .pieces import keys_of

if TYPE_CHECKING:
    from xarray import Dataset, Variable

DIMS = "dims"
"""The attribute of a tensor that names its dimensions."""

ENCODING = "_Encoding"
"""The attribute that makes text of a tensor of bytes, as xarray has it for netCDF files."""

_PIECE = 64 << 20
"""Bytes of a variable that are computed at a time, where its chunks are not larger."""

import_xarray = partial(import_extra, library="xarray")


def to_zt(
    dataset: Dataset,
    url: Any,
    *,
    storage_options: StorageOptions | None = None,
    fs: Any = None,
    compress: bool | int = False,
    checksum: Checksum | str | None = DEFAULT,
) -> None:
    """Write a dataset to a file, which appears whole or not at all.

    Values are stored as they are; dates as numbers of a unit, and text as UTF-8, both as the CF
    conventions have it. What is not in memory is computed, or read, piece by piece.

    Parameters
    ----------
    dataset : xarray.Dataset
        A ``DataArray`` has `to_dataset`.
    url : str, PathLike or UPath
    storage_options, fs, compress, checksum
        As for `Writer`.

    Raises
    ------
    InvalidInputError
        A name, a dtype or an attribute that can't be stored. Nothing appeared.
    StoreError, MissingDependencyError
    """
    conventions = import_xarray("xarray.conventions")
    variables, attributes = conventions.encode_dataset_coordinates(dataset)
    encoded = {name: _encoded(name, variable) for name, variable in variables.items()}
    with Writer(
        url, storage_options=storage_options, fs=fs, compress=compress, checksum=checksum
    ) as writer:
        writer.attributes.update(_plain(attributes))
        for name, variable in encoded.items():
            _add(writer, name, variable)


def _encoded(name: Any, variable: Variable) -> Variable:
    """Return a variable as it is stored: of numbers."""
    if not isinstance(name, str):
        raise InvalidInputError(f"names must be text, {name!r} is not")
    with located(tensor=name):
        if DIMS in variable.attrs:
            raise InvalidInputError(
                f"its attribute {DIMS!r} can't be stored: the names of its dimensions are under "
                "that name; rename it"
            )
        kind = variable.dtype.kind
        if kind in "TU" or (kind == "O" and _is_text(variable)):
            return _as_bytes(name, variable)
        if kind in "MOm":
            return _as_numbers(name, variable)
        return variable


def _is_text(variable: Variable) -> bool:
    return all(isinstance(item, str) for item in variable.values.flat)


def _as_bytes(name: str, variable: Variable) -> Variable:
    """Encode text, with an axis more for the bytes of each item, filled up with zeros."""
    items = [text.encode() for text in variable.values.flat]
    longest = max(1, *map(len, items)) if items else 1
    octets = np.array(items, f"S{longest}").view(np.uint8).reshape(*variable.shape, longest)
    attributes = {**variable.attrs, ENCODING: "utf-8"}
    make = import_xarray("xarray").Variable
    made: Variable = make((*variable.dims, f"{name}_bytes"), octets, attributes)
    return made


def _as_numbers(name: str, variable: Variable) -> Variable:
    """Encode dates and durations, or say that there are none."""
    encode = import_xarray("xarray.conventions").encode_cf_variable
    try:
        made: Variable = encode(variable, name=name)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise InvalidInputError(f"it can't be stored: {error}") from None
    return made


def _add(writer: Writer, name: str, variable: Variable) -> None:
    attributes = {**_plain(variable.attrs), DIMS: list(variable.dims)}
    if variable._in_memory:
        writer.add_tensor(name, variable.values, attributes=attributes)
        return
    shape, dtype = variable.shape, variable.dtype
    with writer.stream_tensor(name, shape, dtype, attributes=attributes) as part:
        for key in _keys(variable):
            part.write(variable[key].values)


def _keys(variable: Variable) -> Iterable[Any]:
    """Cut a variable into runs of rows: those of its chunks, several where they are small."""
    if not variable.chunks or not variable.shape:
        yield from keys_of(variable.shape, variable.nbytes, _PIECE)
        return
    row = variable.nbytes // max(1, variable.shape[0])
    start = stop = 0
    for size in variable.chunks[0]:
        if stop > start and (stop + size - start) * row > _PIECE:
            yield (slice(start, stop),)
            start = stop
        stop += size
    yield (slice(start, stop),)


def _plain(attributes: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return attributes with what NumPy has put among them as Python's own."""
    return {
        key: value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        for key, value in attributes.items()
    }
