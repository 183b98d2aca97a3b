"""`safe_open`, called as that of safetensors, on any URL."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from ..errors import InvalidInputError
from ..reader import LazyTensor, Reader
from ..reader.arrays import Array, import_torch, to_torch
from ..types import Framework
from .staging import load_onto

_FRAMEWORKS: dict[str, Framework] = {
    "np": "numpy",
    "numpy": "numpy",
    "pt": "torch",
    "pytorch": "torch",
    "torch": "torch",
}
_BACKENDS: dict[str, dict[str, bool]] = {"mmap": {}, "pread": {"mmap": False}}

_DTYPES = {
    "bool": "BOOL",
    "bfloat16": "BF16",
    "complex64": "C64",
    "complex128": "C128",
    "float4_e2m1fn": "F4",
    "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
}


class safe_open:
    """Open a file lazily; the calls are those of safetensors.

    Parameters
    ----------
    filename : str or PathLike
        A path, or any URL, as `Reader` takes it.
    framework : {"np", "numpy", "pt", "pytorch", "torch"}
    device : torch.device, str or int, default "cpu"
        Where tensors of torch are put.
    backend : {"mmap", "pread"}
        Whether a local file is mapped.
    **options
        Keyword arguments of `Reader`: ``storage_options=``, ``cache=``, …

    Raises
    ------
    InvalidInputError
        Another framework or backend.
    NotFoundError, FormatError, StoreError

    Examples
    --------
    >>> with safe_open("s3://bucket/model.zt", framework="pt") as f:  # doctest: +SKIP
    ...     rows = f.get_slice("embedding")[:16]
    """

    def __init__(
        self,
        filename: Any,
        framework: str,
        device: Any = "cpu",
        *,
        backend: str = "mmap",
        **options: Any,
    ) -> None:
        if framework not in _FRAMEWORKS:
            raise InvalidInputError(f"framework {framework!r}: use {', '.join(_FRAMEWORKS)}")
        is_torch = _FRAMEWORKS[framework] == "torch"
        self._device = import_torch().device(device) if is_torch else None
        self._reader = Reader(filename, **{**mapping_of(backend), **options})

    def keys(self) -> list[str]:
        """Return the names, sorted."""
        return sorted(self._reader)

    def offset_keys(self) -> list[str]:
        """Return the names, in the order of their bytes in the file."""
        offsets = {
            name: min((part.offset for part in tensor.components.values()), default=0)
            for name, tensor in self._reader.items()
        }
        return sorted(offsets, key=lambda name: offsets[name])

    def metadata(self) -> dict[str, str] | None:
        """Return the attributes of the file that are text; None if there are none."""
        texts = {
            key: value for key, value in self._reader.attributes.items() if isinstance(value, str)
        }
        return texts or None

    def get_tensor(self, name: str) -> Any:
        """Return all of one tensor.

        Raises
        ------
        TensorNotFoundError, DigestError, StoreError
        """
        return self._load([name])[name]

    def get_tensors(self) -> dict[str, Any]:
        """Return all tensors, read in one plan."""
        return self._load(self.offset_keys())

    def get_slice(self, name: str) -> Slice:
        """Return a tensor that is read where it is indexed.

        Raises
        ------
        TensorNotFoundError
        """
        return Slice(self._reader[name], self._device)

    def _load(self, names: list[str]) -> dict[str, Any]:
        if self._device is not None:
            return dict(load_onto(self._reader, dict.fromkeys(names, self._device)))
        return {name: _own(array) for name, array in self._reader.load(names).items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.close()

    def __repr__(self) -> str:
        return f"<safe_open {self._reader!r}>"


def mapping_of(backend: str) -> dict[str, bool]:
    """Return the option of `Reader` that a backend of safetensors stands for.

    Raises
    ------
    InvalidInputError
    """
    if backend not in _BACKENDS:
        raise InvalidInputError(f"backend {backend!r}: use {', '.join(_BACKENDS)}")
    return _BACKENDS[backend]


class Slice:
    """A tensor that is read where it is indexed, as safetensors' slices are.

    Parameters
    ----------
    tensor : LazyTensor
    device : torch.device or None
        Where a tensor of torch is put; None for NumPy.
    """

    def __init__(self, tensor: LazyTensor, device: Any) -> None:
        self._tensor = tensor
        self._device = device

    def get_shape(self) -> list[int]:
        """Return the shape."""
        return list(self._tensor.shape)

    def get_dtype(self) -> str:
        """Return the dtype as safetensors spells it: ``"F32"``, ``"BF16"``, ``"I64"``."""
        name = self._tensor.dtype.name
        return _DTYPES.get(name) or name[0].upper() + name.lstrip("abcdefghijklmnopqrstuvwxyz")

    def __getitem__(self, key: Any) -> Any:
        """Return the selected elements, fetching only the bytes they need."""
        selected = np.asarray(self._tensor[key], order="C")
        return _own(selected) if self._device is None else to_torch(selected).to(self._device)


def _own(array: Any) -> Any:
    """Return an array that may be written to, as safetensors gives them."""
    if isinstance(array, np.ndarray) and not array.flags.writeable:
        copied: Array = array.copy()
        return copied
    return array
