"""The ways to read many tensors of a model in one go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import located
from ..stores import run_all
from ..types import Framework
from .arrays import Array, check_framework
from .blobs import Blobs
from .read_plan import ReadPlan
from .reading import Reading, reading_all, reading_some
from .tensor import LazyTensor
from .verify import Verification, verify_tensors
from .want import Want

if TYPE_CHECKING:
    from fsspec.callbacks import Callback


class Loads(Mapping[str, LazyTensor]):
    """What a mapping of names to lazy tensors does with many of them."""

    _blobs: Blobs

    def read_tensor(self, name: str, to: Framework = "numpy") -> Any:
        """Return all of one tensor, as the published 1.0 package does.

        Parameters
        ----------
        name : str
        to : {"numpy", "torch", "jax", "scipy"}
            For sparse tensors ``"numpy"`` means SciPy's ``csr_matrix`` or ``coo_matrix``, and
            ``"scipy"`` its ``csr_array`` or ``coo_array``; others are NumPy arrays with both.

        Raises
        ------
        TensorNotFoundError, InvalidInputError, UnsupportedError, DigestError, StoreError
        """
        return self[name]._read(to)

    def load(
        self,
        names: Iterable[str] | None = None,
        *,
        prefix: str = "",
        slices: Mapping[str, Any] | None = None,
        to: Framework = "numpy",
        callback: Callback | None = None,
    ) -> dict[str, Any]:
        """Return many tensors, or some elements of each, planned together and read side by side.

        Parameters
        ----------
        names : iterable of str, optional
            Those of `slices` where given, all otherwise.
        prefix : str
            Only names that begin with it.
        slices : mapping of str to index expression, optional
            What to read of these tensors, as one would index them: ``{"w": np.s_[:, :128]}``. The
            others are read whole.
        to : {"numpy", "torch", "jax", "scipy"}
        callback : fsspec.callbacks.Callback, optional
            Told the stored bytes to read (`set_size`) and those read (`relative_update`).

        Returns
        -------
        dict
            Name to what `read_tensor` returns; selections of sparse tensors are dense.

        Raises
        ------
        TensorNotFoundError, IndexError, InvalidInputError
            Before anything is read.
        UnsupportedError, LimitError, FormatError, DigestError, StoreError
        """
        check_framework(to)
        readings = self._readings(names, prefix, slices)
        wants = [want for reading in readings.values() for want in reading.wants]
        with located(url=self._blobs.source.url):
            if callback is None:
                loaded = iter(self._blobs.load(wants))
            else:
                announce, progress = callback.set_size, callback.relative_update
                loaded = iter(self._blobs.load(wants, announce=announce, progress=progress))
        tasks = {
            name: partial(self._finished, name, reading, [next(loaded) for _ in reading.wants], to)
            for name, reading in readings.items()
        }
        heavy = [name for name, reading in readings.items() if not reading.is_light]
        done = dict(zip(heavy, run_all(tasks[name] for name in heavy), strict=True))
        return {name: done[name] if name in done else tasks[name]() for name in tasks}

    def plan(
        self,
        names: Iterable[str] | None = None,
        *,
        prefix: str = "",
        slices: Mapping[str, Any] | None = None,
    ) -> ReadPlan:
        """Return the requests that `load` would make of the same tensors, without making any.

        They follow from what is known of the way to the store, and may be others once more is. Of a
        compressed tensor whose seek table was not read yet, a slice counts as the whole.

        Parameters
        ----------
        names, prefix, slices
            As for `load`.

        Returns
        -------
        ReadPlan

        Raises
        ------
        TensorNotFoundError, IndexError, InvalidInputError, UnsupportedError, LimitError
        """
        readings = self._readings(names, prefix, slices)
        with located(url=self._blobs.source.url):
            return self._blobs.plan([want for each in readings.values() for want in each.wants])

    def _readings(
        self,
        names: Iterable[str] | None,
        prefix: str,
        slices: Mapping[str, Any] | None,
    ) -> dict[str, Reading]:
        self._blobs.check_open()
        slices = {} if slices is None else slices
        chosen = (slices or self) if names is None else names
        readings = {}
        for name in chosen:
            if name.startswith(prefix):
                lazy = self[name]
                with lazy._located():
                    some = name in slices
                    readings[name] = reading_some(lazy, slices[name]) if some else reading_all(lazy)
        return readings

    def _finished(
        self, name: str, reading: Reading, loaded: Sequence[memoryview], to: Framework
    ) -> Any:
        with self[name]._located():
            return reading.finish(loaded, to)

    def read_into(self, arrays: Mapping[str, Array]) -> None:
        """Read tensors into memory that the caller owns, side by side.

        Parameters
        ----------
        arrays : mapping of str to numpy.ndarray
            Each of its tensor's shape and dtype, C-contiguous and writable.

        Raises
        ------
        InvalidInputError
            An array does not fit; nothing is read then into that one.
        """
        self._blobs.check_open()
        wants: dict[str, Want | None] = {}
        for name, array in arrays.items():
            with self[name]._located():
                wants[name] = self[name]._want_into(array)
        with located(url=self._blobs.source.url):
            self._blobs.load([want for want in wants.values() if want is not None])
        for name, array in arrays.items():
            with self[name]._located():
                self[name]._finish_into(array, wants[name])

    def verify(self, names: Iterable[str] | None = None, *, deep: bool = False) -> Verification:
        """Read tensors and check everything that can be: digests, sizes, the rules of the data.

        Parameters
        ----------
        names : iterable of str, optional
            All by default.
        deep : bool
            Also compare whole shard files with the digests in the manifest.

        Returns
        -------
        Verification
            How many components were compared with a digest, and how many have none.

        Raises
        ------
        DigestError, FormatError
            The first thing that is wrong.
        """
        self._blobs.check_open()
        tensors = [self[name] for name in (self if names is None else names)]
        return verify_tensors(tensors, self._blobs, deep=deep)
