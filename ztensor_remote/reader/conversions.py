"""What a lazy tensor can be turned into: arrays and tensors of other libraries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UnsupportedError
from ..types import Framework
from .arrays import Array, check_framework, is_foreign, to_jax
from .sparse import COO, CSR

if TYPE_CHECKING:
    from jax import Array as JaxArray
    from torch import Tensor as TorchTensor

_CPU = (1, 0)
"""DLPack's type of device, and its number."""


class Conversions(ABC):
    """The conversions of a tensor, each of which reads all of it."""

    name: str
    layout: str

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102
    @property
    @abstractmethod
    def _is_view(self) -> bool:
        """Whether the stored bytes themselves are what `numpy` returns."""

    @abstractmethod
    def _numpy(self) -> Array: ...
    @abstractmethod
    def _private(self) -> Array:
        """Return all elements in memory that may be written to, without a copy if possible."""

    @abstractmethod
    def _to_torch(self) -> TorchTensor: ...
    @abstractmethod
    def _sparse(self) -> CSR | COO: ...
    @abstractmethod
    def _located(self) -> AbstractContextManager[None]: ...

    @property
    def _is_sparse(self) -> bool:
        return self.layout in ("sparse_csr", "sparse_coo")

    def numpy(self) -> Array:
        """Return all elements.

        Returns
        -------
        numpy.ndarray, of `shape` and `dtype`
            For raw data in a local file a read-only view of its mapping, valid after the reader
            is closed; otherwise new memory. Sparse tensors come back with their zeros.

        Raises
        ------
        UnsupportedError
            A layout, encoding or logical type that can't be turned into one array.
        DigestError, FormatError, StoreError
        """
        with self._located():
            return self._numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return all elements for ``np.asarray``."""
        if copy is False:
            self._check_needs_no_copy(dtype)
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def _check_needs_no_copy(self, dtype: Any) -> None:
        if dtype is not None and self.dtype != dtype:
            raise ValueError(f"{self.name!r} is {self.dtype}, {dtype} needs a copy")
        if not self._is_view:
            raise ValueError(f"{self.name!r} can't be had without reading it into new memory")

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Read all elements for ``from_dlpack`` of any library; those of a local file are mapped.

        Raises
        ------
        UnsupportedError
            A dtype that NumPy can't hand over: bfloat16 and narrower floats.
        BufferError
            Another device than the CPU, or ``copy=False`` of what has to be read.
        """
        if dl_device not in (None, _CPU):
            raise BufferError(f"{self.name!r} is read into the memory of the CPU")
        if copy is False and not self._is_view:
            raise BufferError(f"{self.name!r} can't be had without reading it into new memory")
        with self._located():
            if is_foreign(self.dtype):
                raise UnsupportedError(
                    f"NumPy can't hand over {self.dtype.name} by DLPack; use .torch() or .jax()"
                )
            array = self._private()
        return (array.copy() if copy else array).__dlpack__(stream=stream)

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CPU

    def torch(self, device: Any = None) -> TorchTensor:
        """Return all elements as a torch tensor; sparse tensors as torch's sparse ones.

        Parameters
        ----------
        device : torch.device or str, optional
            Where to put it; the CPU by default.

        Raises
        ------
        UnsupportedError
            torch has no such dtype.
        MissingDependencyError
            torch is not installed.
        """
        with self._located():
            made = self._sparse().torch() if self._is_sparse else self._to_torch()
        return made if device is None else made.to(device=device)

    def jax(self, device: Any = None) -> JaxArray:
        """Return all elements as a JAX array; sparse tensors as ``BCSR`` or ``BCOO``.

        Parameters
        ----------
        device : jax.Device, optional
            Where to put it; JAX's default device otherwise. On the CPU it is the mapped file, or
            the memory that was read into, without a copy. For shardings use
            `ztensor_remote.jax.load`, which reads no more than each device needs.

        Raises
        ------
        UnsupportedError
            JAX has no such dtype, or is not allowed its 64 bits.
        MissingDependencyError
            JAX is not installed.
        """
        with self._located():
            return self._sparse().jax(device) if self._is_sparse else to_jax(self._numpy(), device)

    def scipy(self) -> Any:
        """Return a sparse tensor as ``scipy.sparse.csr_array`` or ``coo_array``.

        Raises
        ------
        UnsupportedError
            The tensor is not sparse, or SciPy has no sparse type of its dtype.
        MissingDependencyError
            SciPy is not installed.
        """
        with self._located():
            return self._sparse().scipy("array")

    def _read(self, to: Framework) -> Any:
        """Return all elements as what a library calls its own."""
        check_framework(to)
        if to == "torch":
            return self.torch()
        if to == "jax":
            return self.jax()
        if not self._is_sparse:
            return self.numpy()
        with self._located():  # the published 1.0 package has matrices where it says numpy
            return self._sparse().scipy("array" if to == "scipy" else "matrix")
