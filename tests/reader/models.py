"""Small files for the tests, made by our own writer, and ways to open them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fsspec
import ml_dtypes
import numpy as np
import pytest

import ztensor_remote as zt
from ztensor_remote.manifest.dtypes import BY_NAME

MEMORY = fsspec.filesystem("memory")
DTYPES = sorted(BY_NAME)
IN_1_0 = [name for name in DTYPES if BY_NAME[name].logical in (None, "bool")]


def model_bytes(
    tensors: Mapping[str, Any], attributes: Mapping[str, Any] | None = None, **options: Any
) -> bytes:
    """Return a file that holds these tensors; `options` are the writer's."""

    def add(writer: zt.Writer) -> None:
        writer.attributes.update(attributes or {})
        for name, tensor in tensors.items():
            writer.add_tensor(name, tensor)

    url = written(add, **options)
    data: bytes = MEMORY.cat_file(url)
    MEMORY.rm_file(url)
    return data


def written(add: Callable[[zt.Writer], object], **options: Any) -> str:
    """Write a file to memory, where it has to be fetched, and return its URL."""
    url = new_url()
    with zt.Writer(url, **options) as writer:
        add(writer)
    return url


def new_url() -> str:
    """Return a place in fsspec's memory that nothing else uses."""
    return f"memory://{uuid.uuid4().hex}/model.zt"


def in_memory(data: bytes) -> str:
    """Store a file where it has to be fetched, and return its URL."""
    url = new_url()
    MEMORY.pipe_file(url, data)
    return url


def numbers(dtype: str, shape: tuple[int, ...] = (6,)) -> np.ndarray[Any, Any]:
    """Return distinguishable elements of any dtype that can be stored."""
    count = int(np.prod(shape))
    scalar = np.dtype(getattr(ml_dtypes, dtype, None) or dtype)
    if dtype == "bool":
        return (np.arange(count) % 3 == 0).reshape(shape)
    if (scalar.kind in "fc" and scalar.itemsize >= 4) or scalar.kind in "iu":
        return np.arange(count).astype(scalar).reshape(shape)
    width = 16 if dtype == "float4_e2m1fn" else 100  # bit patterns: no value is out of range
    return (np.arange(count) % width).astype(f"u{scalar.itemsize}").view(scalar).reshape(shape)


def same(actual: Any, wanted: Any) -> bool:
    """Whether two arrays or scalars are alike to the bit, and of one dtype, shape and kind."""
    return (
        isinstance(actual, np.ndarray) == isinstance(wanted, np.ndarray)
        and actual.dtype == wanted.dtype
        and actual.shape == wanted.shape
        and actual.tobytes() == wanted.tobytes()
    )


def mapping_of(address: int) -> tuple[str, str]:
    """Return how an address of this process is mapped ("r--s", "rw-p", ...), and to which file."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("this system has no list of mappings")
    for line in maps.read_text().splitlines():
        edges, access, _, _, _, *path = line.split(maxsplit=5)
        start, stop = (int(edge, 16) for edge in edges.split("-"))
        if start <= address < stop:
            return access, "".join(path)
    raise LookupError(hex(address))
