"""Files as xarray datasets: each tensor a variable that is read where it is indexed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from xarray import Variable
from xarray.backends import AbstractDataStore, BackendArray, BackendEntrypoint
from xarray.backends.store import StoreBackendEntrypoint
from xarray.core import indexing

from ..errors import FormatError, UnsupportedError, ZTensorError, located
from ..reader import LazyTensor, Reader
from ..reader.blocks import chunk_of
from ..types import StorageOptions
from .opening import opened
from .xarray_writing import DIMS, ENCODING

if TYPE_CHECKING:
    from xarray import Dataset

    from ..reader.arrays import Array


class Backend(BackendEntrypoint):  # type: ignore[misc]
    """What ``xarray.open_dataset(url, engine="ztensor")`` finds."""

    description = "Open tensor files (.zt, .safetensors, .gguf) on any filesystem, lazily"

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        mask_and_scale: Any = True,
        decode_times: Any = True,
        concat_characters: Any = True,
        decode_coords: Any = True,
        drop_variables: str | Iterable[str] | None = None,
        use_cftime: bool | None = None,
        decode_timedelta: Any = None,
        storage_options: StorageOptions | None = None,
    ) -> Dataset:
        """Open a file as a dataset; only what it says of itself is read.

        Parameters
        ----------
        filename_or_obj : str, PathLike, bytes or Reader
            A reader stays open when the dataset is closed.
        mask_and_scale, decode_times, concat_characters, decode_coords, use_cftime, decode_timedelta
            As for ``xarray.open_dataset``.
        drop_variables : str or iterable of str, optional
            Tensors to leave out.
        storage_options : mapping, optional
            As for `Reader`.

        Raises
        ------
        FormatError
            Two tensors have a dimension of one name and different sizes, or attributes are not
            what the CF conventions have under these names.
        UnsupportedError
            A tensor that can't be had as an array.
        StoreError
        """
        options: dict[str, Any] = {}
        if storage_options is not None:
            options["storage_options"] = storage_options
        dropped = {drop_variables} if isinstance(drop_variables, str) else {*(drop_variables or ())}
        with ExitStack() as files:
            reader = files.enter_context(opened(filename_or_obj, options))
            with _decoding(reader.url):
                dataset: Dataset = StoreBackendEntrypoint().open_dataset(
                    _Store(reader, dropped, has_text=concat_characters is not False),
                    mask_and_scale=mask_and_scale,
                    decode_times=decode_times,
                    concat_characters=concat_characters,
                    decode_coords=decode_coords,
                    use_cftime=use_cftime,
                    decode_timedelta=decode_timedelta,
                )
            dataset.set_close(_Close(files.pop_all()))
        return dataset

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether it is a reader, or the name of a zTensor file."""
        if not isinstance(filename_or_obj, str | PathLike):
            return isinstance(filename_or_obj, Reader)
        return str(filename_or_obj).partition("?")[0].endswith(".zt")


@contextmanager
def _decoding(url: str) -> Iterator[None]:
    """Tell what xarray can't make of attributes as what it is."""
    try:
        yield
    except ZTensorError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        raise FormatError(
            f"attributes mean something else than in the CF conventions ({error}); open it with "
            "decode_cf=False",
            url=url,
        ) from error


class _Close:
    """What closes a dataset: where it was opened, and not where it has travelled to."""

    def __init__(self, files: ExitStack) -> None:
        self._files = files

    def __call__(self) -> None:
        self._files.close()

    def __reduce__(self) -> Any:
        return _Close, (ExitStack(),)


class _Store(AbstractDataStore):  # type: ignore[misc]
    """The tensors of a file as xarray wants to see them, before it decodes dates and the like."""

    def __init__(self, reader: Reader, dropped: set[str], *, has_text: bool) -> None:
        self._reader = reader
        self._dropped = dropped
        self._has_text = has_text

    def get_variables(self) -> Mapping[str, Variable]:
        variables = {
            name: _variable(tensor, self._has_text)
            for name, tensor in self._reader.items()
            if name not in self._dropped
        }
        sizes: dict[Any, int] = {}
        for name, variable in variables.items():
            for dim, size in variable.sizes.items():
                if sizes.setdefault(dim, size) != size:
                    raise FormatError(
                        f"its dimension {dim!r} has {size} elements, that of another tensor "
                        f"{sizes[dim]}; leave one out with drop_variables=",
                        url=self._reader.url,
                        tensor=name,
                    )
        return variables

    def get_attrs(self) -> Mapping[str, Any]:
        return self._reader.attributes

    def get_encoding(self) -> Mapping[str, Any]:
        return {"source": self._reader.url}


def _variable(tensor: LazyTensor, has_text: bool) -> Variable:
    with located(url=tensor._reader.url, tensor=tensor.name):
        if tensor.layout not in ("dense", "sparse_csr", "sparse_coo"):
            raise UnsupportedError(
                f"layout {tensor.format!r} is no array of numbers; leave it out with "
                "drop_variables="
            )
        attributes = dict(tensor.attributes)
        array = StoredArray(tensor, is_text=has_text and _is_text(tensor))
        dims = _dims(tensor)
        if dims == attributes.get(DIMS):
            del attributes[DIMS]
        data = indexing.LazilyIndexedArray(array)
        return Variable(dims, data, attributes, _encoding(tensor, dims))


def _encoding(tensor: LazyTensor, dims: list[str]) -> dict[str, Any]:
    """Return how xarray is to cut a tensor that is stored in chunks, where it may choose."""
    if not tensor._tensor.is_in_chunks:
        return {}
    sizes = map(min, tensor.shape, chunk_of(tensor))
    return {"preferred_chunks": dict(zip(dims, sizes, strict=True))}


def _is_text(tensor: LazyTensor) -> bool:
    encoding = tensor.attributes.get(ENCODING)
    if encoding is not None and (encoding != "utf-8" or tensor.dtype != np.uint8):
        raise FormatError(
            f"attribute {ENCODING!r} tells of text, which is uint8 in 'utf-8'; open it with "
            "decode_cf=False"
        )
    return encoding is not None


def _dims(tensor: LazyTensor) -> list[str]:
    """Return the names that the file gives the dimensions, or made-up ones."""
    named = tensor.attributes.get(DIMS)
    if isinstance(named, list) and _are_names(named, tensor.ndim):
        return named
    return [f"{tensor.name}_dim_{axis}" for axis in range(tensor.ndim)]


def _are_names(named: list[Any], count: int) -> bool:
    are_text = all(isinstance(name, str) for name in named)
    return are_text and len(named) == len(set(named)) == count


class StoredArray(BackendArray):  # type: ignore[misc]
    """A tensor that is read where xarray indexes it.

    Parameters
    ----------
    tensor : LazyTensor
    is_text : bool
        Whether its bytes are to be seen as characters, which xarray puts together.
    """

    def __init__(self, tensor: LazyTensor, *, is_text: bool) -> None:
        self._tensor = tensor
        self.shape = tensor.shape
        self.dtype = np.dtype("S1") if is_text else tensor.dtype

    def __getitem__(self, key: Any) -> Array:
        """Return what an explicit indexer of xarray selects."""
        outer = indexing.IndexingSupport.OUTER
        selected: Array = indexing.explicit_indexing_adapter(key, self.shape, outer, self._read)
        return selected

    async def async_getitem(self, key: Any) -> Array:
        """Return the same while others are read: for ``load_async``."""
        return await asyncio.to_thread(self.__getitem__, key)

    def _read(self, key: tuple[Any, ...]) -> Array:
        """Return the elements at each combination of the positions on the axes."""
        around, within = zip(*map(_split, key, range(len(key))), strict=True) if key else ((), ())
        array = np.asarray(self._tensor[around]).view(self.dtype)
        for axis in reversed(range(len(key))):  # the last first: an integer takes its axis away
            array = array[(slice(None),) * axis + (within[axis],)]
        # Whoever loads a dataset may change what was loaded; mapped bytes don't allow that.
        return array if array.flags.writeable else array.copy()


def _split(item: Any, axis: int) -> tuple[Any, Any]:
    """Return what to read of an axis, and what to take of that."""
    if isinstance(item, slice):
        return item, slice(None)
    positions = np.asarray(item)
    if axis == 0 and positions.ndim:
        return positions, slice(None)
    if not positions.size:
        return slice(0, 0), positions
    first = int(positions.min())
    return slice(first, int(positions.max()) + 1), positions - first
