"""HDF5: the datasets of a file, as h5py tells where they lie.

https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..errors import FormatError, LimitError, MissingDependencyError, ZTensorError
from ..manifest import CHUNKS, ChunkGrid, Component, Manifest, Tensor
from ..manifest.dtypes import dtype_of
from ..manifest.fields import element_count, shown
from .hdf5_ahead import read_ahead
from .hdf5_chunks import ChunkIndex, nothing_stored, unknown_filter
from .hdf5_view import View
from .npy import STORAGE
from .peek import Peek

MAGIC = b"\x89HDF\r\n\x1a\n"

_MOST_OBJECTS = 100_000
_LONGEST_LIST = 1000
_OLDEST_LIBRARY = (1, 14, 4)
"""Those before told the places of chunks wrongly, behind a user block."""


def parse(peek: Peek) -> Manifest:
    """Return what an HDF5 file says of its datasets, named by their paths.

    Links to other files are not followed.

    Raises
    ------
    MissingDependencyError
        h5py is not installed.
    FormatError, LimitError, StoreError
    """
    h5py = _import_h5py()
    view = View(peek)
    try:
        return _parsed(h5py, view, peek.size)
    except Exception as error:
        failure = view.failure or _failure(error)
    # Without the frames of h5py: what they hold of libhdf5 must not outlive the interpreter.
    raise failure.with_traceback(None)


def _parsed(h5py: Any, view: View, size: int) -> Manifest:
    with h5py.File(view, "r") as file:
        found = _datasets(h5py, file, view)
        index = ChunkIndex(size)
        tensors = {name: _tensor(h5py, name, each, size, index) for name, each in found.items()}
        made = Manifest("hdf5", tensors, _attributes(file))
    if view.failure is not None:
        raise view.failure
    return made


def _failure(error: Exception) -> ZTensorError:
    """Return the error for what h5py found wrong."""
    if isinstance(error, ZTensorError):
        return error
    text = f"not a valid HDF5 file: {type(error).__name__}: {str(error)[:300]}"
    return FormatError(text, rule="HDF5")


def _import_h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise MissingDependencyError(
            "HDF5 files need h5py: pip install 'ztensor-remote[hdf5]'"
        ) from None
    return h5py


class _Link(NamedTuple):
    """A name of an object in a group, and where all of its path stands in the order of paths."""

    order: tuple[int, ...]
    path: str
    group: Any
    name: bytes
    address: int


def _datasets(h5py: Any, file: Any, view: View) -> dict[str, Any]:
    """Return the datasets of a file, each under the shortest of its names.

    It goes from level to level, so that what is on one is fetched side by side.
    """
    found: list[tuple[tuple[int, ...], str, Any]] = []
    seen: set[tuple[int, int]] = set()
    level: list[tuple[tuple[int, ...], str, Any]] = [((), "", file)]
    while level:
        links: list[_Link] = []
        for order, path, thing in level:
            address = h5py.h5g.get_objinfo(thing.id).objno  # h5o.get_info looks at all chunks
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > _MOST_OBJECTS:
                raise LimitError(f"the file has more than {_MOST_OBJECTS} objects")
            if isinstance(thing, h5py.Dataset):
                found.append((order, path, thing))
            elif isinstance(thing, h5py.Group):
                links += _links(h5py, thing, order, path)
        read_ahead(view, [link.address for link in links], base=file.userblock_size)
        level = [(link.order, link.path, link.group[link.name]) for link in links]
    return {path: thing for _, path, thing in sorted(found, key=itemgetter(0))}


def _links(h5py: Any, group: Any, order: tuple[int, ...], path: str) -> Iterator[_Link]:
    """Yield what is in a group, but for links that lead elsewhere or could do so."""
    prefix = f"{path}/" if path else ""
    for number, name in enumerate(group.id):
        link = group.id.links.get_info(name)
        if link.type == h5py.h5l.TYPE_HARD:
            text = name.decode("utf-8", "surrogateescape")  # which is refused later
            yield _Link((*order, number), prefix + text, group, name, link.u)


def _tensor(h5py: Any, name: str, dataset: Any, size: int, index: ChunkIndex) -> Tensor:
    try:
        name.encode()
        shape = dataset.shape
        attributes = _attributes(dataset) or None
        if shape is None:
            return Tensor(name, (), "hdf5.empty", {}, attributes)
        element_count(shape)
        part = _part(h5py, dataset, index)
        if isinstance(part, str):
            return Tensor(name, shape, f"hdf5.{part}", {}, attributes)
        if part.is_raw and part.length and part.offset + part.length > size:
            reject(f"it has {part.length} bytes at {part.offset}, the file ends at {size}")
    except UnicodeEncodeError:
        reject(f"{shown(name.encode('utf-8', 'replace').decode())} is no name")
    except ZTensorError as error:
        raise error.at(tensor=name) from None
    return Tensor(name, shape, "dense", {"data": part}, attributes)


def _part(h5py: Any, dataset: Any, index: ChunkIndex) -> Component | str:
    """Return the elements as a component, or why there is none."""
    dtype, shape = _dtype(h5py, dataset), dataset.shape
    if dtype is None:
        return "type"
    storage, logical = STORAGE[dtype.str[1:]]
    nbytes = dtype_of(storage, logical).nbytes(element_count(shape))
    swapped = dtype.str.startswith(">")

    def raw(offset: int, length: int) -> Component:
        return Component(storage, offset, length, logical, big_endian=swapped)

    def chunked(grid: ChunkGrid) -> Component:
        return Component(
            *(storage, grid.start, grid.length, logical),
            encoding=CHUNKS,
            decoded_length=nbytes,
            big_endian=swapped,
            grid=grid,
        )

    if not nbytes:
        return raw(0, 0)
    properties = dataset.id.get_create_plist()
    layout = properties.get_layout()
    if properties.get_external_count():
        return "external"
    if layout == h5py.h5d.CONTIGUOUS:
        offset = dataset.id.get_offset()
        if offset is None:
            return chunked(nothing_stored(shape, dataset, dtype))
        if dataset.id.get_storage_size() != nbytes:
            reject(f"{shape} takes {nbytes} bytes, not {dataset.id.get_storage_size()}")
        return raw(offset, nbytes)
    if layout != h5py.h5d.CHUNKED:
        return "virtual" if layout == h5py.h5d.VIRTUAL else "compact"
    unknown = unknown_filter(properties)
    if unknown is not None:
        return f"filter.{unknown}"
    if h5py.version.hdf5_version_tuple < _OLDEST_LIBRARY:
        return "library"
    grid = index.grid_of(dataset, dtype)
    if grid.chunk == shape and grid.length == nbytes and not grid.filters:
        return raw(grid.start, nbytes)
    return chunked(grid)


def _dtype(h5py: Any, dataset: Any) -> np.dtype[Any] | None:
    """Return the dtype of the elements; None where they are stored in no way that NumPy has."""
    try:
        dtype: np.dtype[Any] = dataset.dtype
        is_plain = dtype.str[1:] in STORAGE
        stored = dataset.id.get_type()
        if not is_plain or not (
            stored.equal(h5py.h5t.py_create(dtype)) or isinstance(stored, h5py.h5t.TypeEnumID)
        ):
            return None
    except (TypeError, ValueError):
        return None
    return dtype


def _attributes(thing: Any) -> dict[str, Any]:
    """Return the attributes that are text, numbers, or short lists of them."""
    found: dict[str, Any] = {}
    for name in thing.attrs:
        try:
            value = thing.attrs[name]
        except (TypeError, ValueError, OSError, RuntimeError, KeyError):
            continue  # of a type that NumPy doesn't have
        plain = _plain(value)
        if plain is not None:
            found[name] = plain
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        if value.size > _LONGEST_LIST or value.dtype.kind not in "biufSU":
            return None
        value = value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list):
        items = [_plain(item) for item in value]
        return None if None in items else items
    return value if isinstance(value, str | bool | int | float) else None


def reject(message: str) -> NoReturn:
    """Raise FormatError."""
    raise FormatError(f"not a valid HDF5 file: {message}", rule="HDF5")
