"""Whole modules to files and back: the calls of safetensors, on any URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .safe_open import mapping_of
from .sharing import stand_ins
from .state_dict import IncompatibleKeys, load_state_dict
from .tensor_files import save_torch_file

if TYPE_CHECKING:
    from torch import nn


def save_model(
    model: nn.Module,
    filename: Any,
    metadata: Mapping[str, str] | None = None,
    force_contiguous: bool = True,
    **options: Any,
) -> None:
    """Write a module's state to a file; memory that tensors share is stored once.

    Parameters
    ----------
    model : torch.nn.Module
    filename : str or PathLike
        A path, or any URL, as `Writer` takes it.
    metadata : mapping of str to str, optional
        Attributes of the file. Those of tensors that are left out tell which one has their
        elements.
    force_contiguous : bool, default True
        Store tensors that are not contiguous as if they were.
    **options
        Keyword arguments of `Writer`.

    Raises
    ------
    StateDictError
        Tensors share memory, and none of them is all of it.
    InvalidInputError, StoreError
    """
    state = model.state_dict()
    left_out = stand_ins(state)
    kept = {name: tensor for name, tensor in state.items() if name not in left_out}
    if force_contiguous:
        kept = {name: tensor.contiguous() for name, tensor in kept.items()}
    save_torch_file(kept, filename, {**left_out, **(metadata or {})}, **options)


def load_model(
    model: nn.Module,
    filename: Any,
    strict: bool = True,
    device: Any = "cpu",
    *,
    backend: str = "mmap",
    **options: Any,
) -> IncompatibleKeys:
    """Fill a module from a file that `save_model` wrote, as `load_state_dict` does.

    Parameters
    ----------
    model : torch.nn.Module
    filename : str or PathLike
        A path, or any URL, as `Reader` takes it.
    strict : bool, default True
        Refuse a file that lacks keys of the module, or has others.
    device : torch.device, str or int
        Not used: parameters stay where they are, with safetensors too.
    backend : {"mmap", "pread"}
        Whether a local file is mapped.
    **options
        Keyword arguments of `Reader`.

    Returns
    -------
    IncompatibleKeys
        Missing keys and unexpected ones.

    Raises
    ------
    StateDictError
        A RuntimeError. The module is as it was.
    NotFoundError, FormatError, DigestError, StoreError
    """
    options = {**mapping_of(backend), **options}
    return load_state_dict(model, filename, strict=strict, cast=True, **options)
