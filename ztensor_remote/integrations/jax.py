"""Stored tensors as JAX arrays, each device's part of them read for it alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import InvalidInputError, located
from ..reader import LazyTensor, Reader
from ..reader.arrays import Array, check_jax_dtype, import_jax
from ..reader.reading import Reading, reading_all, reading_some
from ..types import Framework
from .chunking import groups_of
from .opening import opened

if TYPE_CHECKING:
    from jax import Array as JaxArray
    from jax.sharding import Sharding

Region: TypeAlias = "tuple[tuple[int, int], ...]"
"""Where a part of a tensor begins and ends on each axis."""

_GROUP = 1 << 30
"""Bytes that are in the host's memory at a time, where tensors are no larger."""


def load(
    source: Any,
    names: Iterable[str] | None = None,
    *,
    prefix: str = "",
    sharding: Sharding | Mapping[str, Sharding] | None = None,
    **options: Any,
) -> dict[str, JaxArray]:
    """Return tensors as JAX arrays that lie on devices as shardings say.

    Each process reads what its own devices need, once, however many of them need it: the whole
    of a tensor that all of it is needed of, otherwise just the parts.

    Parameters
    ----------
    source : Reader, or a location as `Reader` takes it
    names : iterable of str, optional
        All by default.
    prefix : str
        Only names that begin with it.
    sharding : jax.sharding.Sharding or mapping of str to Sharding, optional
        Of all tensors, or of some; others go to JAX's default device. Sparse tensors that have
        one come with their zeros.
    **options
        Keyword arguments of `Reader`.

    Raises
    ------
    InvalidInputError
        A sharding does not fit the shape of its tensor.
    UnsupportedError
        JAX has no such dtype, or is not allowed its 64 bits. Both before anything is read.
    TensorNotFoundError, DigestError, FormatError, StoreError, MissingDependencyError
    """
    import_jax()
    with opened(source, options) as reader:
        chosen = [name for name in (reader if names is None else names) if name.startswith(prefix)]
        shardings = sharding if isinstance(sharding, Mapping) else dict.fromkeys(chosen, sharding)
        for name in shardings:
            reader[name]  # one that is not there is a mistake
        placed = {name: _placed(reader[name], shardings.get(name)) for name in chosen}
        arrays: dict[str, JaxArray] = {}
        for group in groups_of({name: each.nbytes for name, each in placed.items()}, _GROUP):
            arrays |= _loaded(reader, {name: placed[name] for name in group})
        return arrays


@dataclass(frozen=True)
class _Placed:
    """A tensor, and what this process needs of it.

    Attributes
    ----------
    tensor : LazyTensor
    sharding : Sharding or None
        None for the default device.
    regions : list of Region
        Parts that are read, or the whole.
    """

    tensor: LazyTensor
    sharding: Sharding | None
    regions: list[Region]

    @property
    def nbytes(self) -> int:
        """Bytes that are read."""
        return sum(map(_size, self.regions)) * self.tensor.dtype.itemsize

    def readings(self) -> Iterator[Reading]:
        """Yield how to read the regions."""
        whole = _whole(self.tensor.shape)
        for region in self.regions:
            if self.sharding is None:
                yield reading_all(self.tensor)
            else:
                yield reading_some(self.tensor, ... if region == whole else _slices(region))


def _placed(tensor: LazyTensor, sharding: Sharding | None) -> _Placed:
    with tensor._located():
        check_jax_dtype(tensor.dtype)
        whole = _whole(tensor.shape)
        if sharding is None:
            return _Placed(tensor, None, [whole])
        try:
            indices = sharding.addressable_devices_indices_map(tensor.shape)
        except (IndexError, ValueError) as error:
            raise InvalidInputError(
                f"{sharding} does not fit the shape {tensor.shape}: {error}"
            ) from None
        regions = {_region(index, tensor.shape) for index in indices.values()}
        # All of it in one piece can be compared with its digest, and is decoded once.
        needs_all = sum(map(_size, regions)) == _size(whole)
        return _Placed(tensor, sharding, [whole] if needs_all else sorted(regions))


def _loaded(reader: Reader, placed: Mapping[str, _Placed]) -> dict[str, JaxArray]:
    """Read all regions of some tensors in one plan, and hand them to the devices."""
    readings: dict[str, list[Reading]] = {}
    for name, each in placed.items():
        with each.tensor._located():
            readings[name] = list(each.readings())
    wants = [want for group in readings.values() for one in group for want in one.wants]
    with located(url=reader.url):
        loaded = iter(reader._blobs.load(wants))
    arrays = {}
    for name, each in placed.items():
        to: Framework = "jax" if each.sharding is None else "numpy"
        with each.tensor._located():
            parts = [one.finish([next(loaded) for _ in one.wants], to) for one in readings[name]]
        arrays[name] = _given(each, parts)
    return arrays


def _given(placed: _Placed, parts: list[Any]) -> JaxArray:
    """Return the array whose parts were read."""
    if placed.sharding is None:
        [array] = parts
        return array
    shape, at = placed.tensor.shape, dict(zip(placed.regions, parts, strict=True))
    make = import_jax().make_array_from_callback
    # Only where no device is this process's, the parts don't tell the dtype.
    options = {} if parts else {"dtype": placed.tensor.dtype}
    return make(shape, placed.sharding, partial(_part, at, shape), **options)


def _part(at: Mapping[Region, Array], shape: tuple[int, ...], index: tuple[slice, ...]) -> Array:
    """Return what was read for an index, or cut it out of the whole."""
    part = at.get(_region(index, shape))
    return at[_whole(shape)][index] if part is None else part


def _region(index: tuple[slice, ...], shape: tuple[int, ...]) -> Region:
    return tuple(part.indices(size)[:2] for part, size in zip(index, shape, strict=True))


def _whole(shape: tuple[int, ...]) -> Region:
    return tuple((0, size) for size in shape)


def _slices(region: Region) -> tuple[slice, ...]:
    return tuple(slice(*span) for span in region)


def _size(region: Region) -> int:
    return math.prod(stop - start for start, stop in region)
