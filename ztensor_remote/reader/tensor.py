"""One tensor, not yet read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import TensorNotFoundError, UnsupportedError, located
from ..manifest import Tensor
from ..manifest.dtypes import DType
from ..manifest.validate import check_layout
from .arrays import Array, as_array, as_strided, to_torch
from .assembly import assemble
from .blobs import Blobs
from .component import LazyComponent
from .conversions import Conversions
from .quantized import dequantized, no_array
from .reading import reading_some
from .sparse import COO, CSR, dense
from .want import Want

if TYPE_CHECKING:
    from torch import Tensor as TorchTensor

    from .file import Reader
    from .handle import Handle

_APART = 2
"""How many times as much as its elements a tensor has to span, for the gaps to be left out."""

_VALUE_ROLES = ("data", "values", "packed_weight")


class LazyTensor(Conversions):
    """A tensor in a file: shape, dtype and attributes now, elements when they are asked for.

    Indexing fetches only the bytes it needs. `numpy` and ``np.asarray`` fetch all.

    Attributes
    ----------
    name : str
    shape : tuple of int
    format : str
        The layout id as the file spells it.
    layout : str
        The layout under one name for all versions: ``"dense"``, ``"sparse_csr"``,
        ``"sparse_coo"``, ``"quantized_group"``, or the id itself; after ``"other:"`` where that
        is one of another version's, and means nothing here.
    """

    def __init__(self, reader: Reader, blobs: Blobs, tensor: Tensor) -> None:
        self._reader = reader
        self._blobs = blobs
        self._tensor = tensor
        self.name = tensor.name
        self.shape = tensor.shape
        self.format = tensor.format
        self.layout = tensor.layout
        self._is_checked = False

    # --- what the manifest says ------------------------------------------------------------

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements, zeros of a sparse tensor included."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the elements; of the stored words, for quantized and unknown layouts.

        Raises
        ------
        UnsupportedError
            The file gives them a logical type that we don't know.
        """
        with self._located():
            dtype: np.dtype[Any] = self._value_part.element.numpy()
            return dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the elements in memory; for other layouts than dense, of all components."""
        if self.layout == "dense":
            return self.size * self.dtype.itemsize
        parts = [(part.decoded_length, part.length) for part in self.components.values()]
        return sum(stored if decoded is None else decoded for decoded, stored in parts)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The tensor's own attributes."""
        return MappingProxyType(dict(self._tensor.attributes or {}))

    @cached_property
    def components(self) -> Mapping[str, LazyComponent]:
        """Each role with its component."""
        return MappingProxyType(
            {
                role: LazyComponent(self._blobs, self._tensor, role)
                for role in self._tensor.components
            }
        )

    @property
    def _value_part(self) -> Any:
        parts = self._tensor.components
        for role in _VALUE_ROLES:
            if role in parts:
                return parts[role]
        if not parts:
            raise TensorNotFoundError("the tensor has no components")
        return next(iter(parts.values()))

    # --- elements ---------------------------------------------------------------------------

    def _numpy(self) -> Array:
        self._reader._check_open()
        if self.layout == "dense":
            return self._dense()
        if self.layout in ("sparse_csr", "sparse_coo"):
            return dense(self._sparse(), limit=self._blobs.limits.max_decoded)
        raise no_array(self._tensor)

    def _private(self) -> Array:
        self._reader._check_open()
        mapped = self._mapped_privately() if self._is_view else None
        array = self._numpy() if mapped is None else mapped
        return array if array.flags.writeable else array.copy()

    def _to_torch(self) -> TorchTensor:
        return to_torch(self._private(), self._value_part.element)

    def _mapped_privately(self) -> Array | None:
        self._check_layout()
        part = self._tensor.components["data"]
        view = self._blobs.view(part, private=True)
        if view is None:
            return None
        return self._array(view, part.element, self.shape, self._tensor.strides)

    def _wants(self) -> list[Want]:
        """Return what has to be loaded for `numpy`, or `sparse`."""
        if self.layout == "dense":
            self._check_layout()
            part = self._tensor.components["data"]
            return [Want(part, self._stored_bytes(part.element), self.name, "data")]
        if self.layout in ("sparse_csr", "sparse_coo"):
            return [part._want() for part in self.components.values()]
        return []

    def _with(self, blobs: Blobs) -> LazyTensor:
        """Return the same tensor over blobs that are at hand."""
        return LazyTensor(self._reader, blobs, self._tensor)

    def _dense(self) -> Array:
        self._check_layout()
        part = self._tensor.components["data"]
        element = part.element
        if self._has_gaps and not self._blobs.is_holding:
            return np.asarray(self._select(...))
        decoded = self._blobs.decoded(part, self._stored_bytes(element))
        return self._array(decoded, element, self.shape, self._tensor.strides)

    @property
    def _has_gaps(self) -> bool:
        """Whether a dense tensor is best read without what lies between its elements."""
        tensor, part = self._tensor, self._tensor.components.get("data")
        if self.layout != "dense" or tensor.strides is None or part is None:
            return False
        return part.digest is None and tensor.stored_count >= _APART * self.size

    def _stored_bytes(self, element: DType) -> int:
        return element.nbytes(self._tensor.stored_count)

    def _array(
        self,
        data: memoryview,
        element: DType,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None,
    ) -> Array:
        exact = self._blobs.is_exact(self._tensor)
        if strides is None:
            return as_array(data, element, shape, exact=exact)
        limit = self._blobs.limits.max_decoded
        return as_strided(data, element, shape, strides, exact=exact, limit=limit)

    def _check_layout(self) -> None:
        if not self._is_checked:
            check_layout(self._tensor, exact=self._blobs.is_exact(self._tensor))
            self._is_checked = True

    def __getitem__(self, key: Any) -> Any:
        """Return the selected elements, fetching only the bytes they need.

        Parameters
        ----------
        key : index expression
            Integers, slices with any step, ``...``, ``None``; on the first axis also an integer
            array or a boolean mask. The result is what NumPy gives for the same key.

        Raises
        ------
        IndexError
        UnsupportedError, FormatError, StoreError
        """
        with self._located():
            return self._select(key)

    def _select(self, key: Any) -> Any:
        reading = reading_some(self, key)
        return reading.finish(self._blobs.load(reading.wants), "numpy")

    @property
    def _is_view(self) -> bool:
        """Whether `numpy` returns the stored bytes themselves."""
        part = self._value_part
        return (
            self.layout == "dense"
            and part.element.is_as_stored
            and self._blobs.view(part, whole=False) is not None
        )

    def read_into(self, out: Array) -> None:
        """Read all elements into memory that the caller owns.

        Parameters
        ----------
        out : numpy.ndarray
            Of this `shape` and `dtype`, C-contiguous and writable.

        Raises
        ------
        InvalidInputError
            The array does not fit.
        """
        with self._located():
            self._read_into(out)

    def _read_into(self, out: Array) -> None:
        want = self._want_into(out)
        if want is not None:
            self._blobs.load([want])
        self._finish_into(out, want)

    def _want_into(self, out: Array) -> Want | None:
        """Return what has to be loaded into an array; None if it can't go there directly."""
        from .into import bytes_of

        self._reader._check_open()
        destination = bytes_of(out, shape=self.shape, dtype=self.dtype)
        is_as_stored = self.layout == "dense" and self._tensor.strides is None
        if not is_as_stored or not self._value_part.element.is_as_stored:
            return None
        return replace(self._wants()[0], destination=destination)

    def _finish_into(self, out: Array, want: Want | None) -> None:
        """Do what is left to do once the want is loaded."""
        if want is None:
            np.copyto(out, self._numpy())
        elif want.part.element.name == "bool":
            assert want.destination is not None
            np.copyto(out, self._array(want.destination, want.part.element, self.shape, None))

    def sparse(self) -> CSR | COO:
        """Return a sparse tensor as its arrays, the indices checked.

        Raises
        ------
        UnsupportedError
            The tensor is not sparse.
        FormatError
            An index lies outside the shape, or the arrays don't fit together.
        """
        with self._located():
            return self._sparse()

    def _sparse(self) -> CSR | COO:
        self._reader._check_open()
        if self.layout not in ("sparse_csr", "sparse_coo"):
            raise UnsupportedError(f"layout {self.format!r} is not sparse; use .numpy()")
        self._check_layout()
        return assemble(self, self._blobs)

    def dequantize(self) -> Array:
        """Return the elements that the blocks of a GGUF file stand for.

        Returns
        -------
        numpy.ndarray of float32, of `shape`

        Raises
        ------
        UnsupportedError
            It is not of blocks, or of a type that is only stored.
        LimitError
            It would take more than ``Limits.max_decoded``.
        """
        with self._located():
            self._reader._check_open()
            return dequantized(self)

    # --- the object itself ------------------------------------------------------------------

    @property
    def _handle(self) -> Handle:
        return self._reader._handle_of(self._blobs)

    def _located(self) -> located:
        return located(url=self._blobs.url_of(self._tensor), tensor=self.name)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a scalar tensor")
        return self.shape[0]

    def __iter__(self) -> Any:
        """Refuse: a loop would send a request a row without anybody noticing."""
        raise TypeError(
            "a LazyTensor is not iterable, each step would be a request of its own; read it first "
            "(.numpy()) or slice it in blocks"
        )

    def __reduce__(self) -> Any:
        return _rebuild, (self._handle, self.name)

    def __repr__(self) -> str:
        from .show import dtype_text, size_text

        return (
            f"<LazyTensor {self.name!r} {dtype_text(self._tensor)} {self.shape} "
            f"{self.format}, {size_text(sum(c.length for c in self.components.values()))}>"
        )


def _rebuild(handle: Handle, name: str) -> LazyTensor:
    return handle.tensor(name)
