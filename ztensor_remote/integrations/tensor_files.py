"""Dicts of tensors to files and back: the calls of safetensors, on any URL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError, StateDictError
from ..reader.arrays import Array, import_torch
from ..writer import Writer
from .safe_open import safe_open
from .sharing import shared_names

if TYPE_CHECKING:
    from torch import Tensor


def load_numpy_file(filename: Any, *, backend: str = "mmap", **options: Any) -> dict[str, Array]:
    """Return all arrays of a file, read in one plan.

    Parameters
    ----------
    filename, backend, **options
        As for `safe_open`.

    Raises
    ------
    NotFoundError, FormatError, DigestError, StoreError
    """
    with safe_open(filename, "numpy", backend=backend, **options) as file:
        return file.get_tensors()


def load_torch_file(
    filename: Any, device: Any = "cpu", *, backend: str = "mmap", **options: Any
) -> dict[str, Tensor]:
    """Return all tensors of a file, read in one plan.

    Parameters
    ----------
    filename, device, backend, **options
        As for `safe_open`.

    Raises
    ------
    NotFoundError, FormatError, DigestError, StoreError
    """
    with safe_open(filename, "torch", device, backend=backend, **options) as file:
        return file.get_tensors()


def load_numpy(data: bytes) -> dict[str, Array]:
    """Return all arrays of a file that is in memory."""
    return load_numpy_file(data)


def load_torch(data: bytes) -> dict[str, Tensor]:
    """Return all tensors of a file that is in memory, on the CPU."""
    return load_torch_file(data)


def save_numpy_file(
    tensor_dict: Mapping[str, Array],
    filename: Any,
    metadata: Mapping[str, str] | None = None,
    **options: Any,
) -> None:
    """Write arrays to a zTensor file, which appears whole or not at all.

    Parameters
    ----------
    tensor_dict : mapping of str to numpy.ndarray
    filename : str or PathLike
        A path, or any URL, as `Writer` takes it.
    metadata : mapping of str to str, optional
        Attributes of the file.
    **options
        Keyword arguments of `Writer`: ``storage_options=``, ``compress=``, …

    Raises
    ------
    InvalidInputError, StoreError
    """
    _write(tensor_dict, filename, metadata, options)


def save_torch_file(
    tensors: Mapping[str, Tensor],
    filename: Any,
    metadata: Mapping[str, str] | None = None,
    **options: Any,
) -> None:
    """Write tensors to a zTensor file, which appears whole or not at all.

    Parameters
    ----------
    tensors : mapping of str to torch.Tensor
        Dense, contiguous, and not sharing memory, on any device.
    filename, metadata, **options
        As for `ztensor_remote.numpy.save_file`.

    Raises
    ------
    StateDictError
        Tensors share memory; `save_model` stores it once.
    InvalidInputError, StoreError
    """
    _check_tensors(tensors)
    _write(tensors, filename, metadata, options)


def save_numpy(
    tensor_dict: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> bytes:
    """Return arrays as the bytes of a zTensor file."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "tensors.zt")
        save_numpy_file(tensor_dict, path, metadata)
        return path.read_bytes()


def save_torch(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return tensors as the bytes of a zTensor file."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "tensors.zt")
        save_torch_file(tensors, path, metadata)
        return path.read_bytes()


def _write(
    tensors: Mapping[str, Any],
    location: Any,
    metadata: Mapping[str, str] | None,
    options: dict[str, Any],
) -> None:
    attributes: dict[Any, Any] = dict(metadata or {})
    for key, value in attributes.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidInputError(f"metadata must be text, {key!r}: {value!r} is not")
    with Writer(location, **{"copy": False, **options}) as writer:
        writer.attributes.update(attributes)
        for name, tensor in tensors.items():
            writer.add_tensor(name, tensor.cpu() if hasattr(tensor, "cpu") else tensor)


def _check_tensors(tensors: Any) -> None:
    """Refuse what safetensors refuses, by the same kinds of errors."""
    torch = import_torch()
    if not isinstance(tensors, Mapping):
        raise InvalidInputError(f"expected a dict of tensors, got a {type(tensors).__name__}")
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise InvalidInputError(f"{name!r} is a {type(tensor).__name__}, no torch.Tensor")
        if tensor.layout != torch.strided:
            raise InvalidInputError(f"{name!r} is sparse; use .to_dense(), or Writer.add_sparse_*")
    shared = shared_names(tensors)
    if shared:
        groups = "; ".join(", ".join(names) for names in shared)
        raise StateDictError(
            f"some tensors share memory: {groups}. Use save_model, which stores it once, or clone "
            "them"
        )
    for name, tensor in tensors.items():
        if not tensor.is_contiguous():
            raise InvalidInputError(f"{name!r} is not contiguous; use .contiguous()")
