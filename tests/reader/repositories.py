"""Models in several files, as the Hugging Face Hub has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy

from tests.stores.backends import Backend
from ztensor_remote.reader.arrays import Array

COUNT = 8
INDEX = "model.safetensors.index.json"


def name_of(number: int, count: int = COUNT) -> str:
    return f"model-{number + 1:05}-of-{count:05}.safetensors"


def arrays_of(number: int) -> dict[str, Array]:
    """Return what the file of a number holds."""
    start = number * 1000
    return {
        f"layers.{number}.weight": np.arange(start, start + 600, dtype=np.float32).reshape(30, 20),
        f"layers.{number}.bias": np.arange(start, start + 20, dtype=np.int64),
    }


def all_arrays(count: int = COUNT) -> dict[str, Array]:
    return {name: array for number in range(count) for name, array in arrays_of(number).items()}


def put_files(backend: Backend, count: int = COUNT) -> None:
    """Store the files, without an index."""
    for number in range(count):
        data = safetensors.numpy.save(arrays_of(number), metadata={"format": "pt"})
        backend.put(name_of(number, count), data)


def weight_map(count: int = COUNT) -> dict[str, Any]:
    return {name: name_of(number, count) for number in range(count) for name in arrays_of(number)}


def put_index(backend: Backend, places: Mapping[str, Any] | None = None) -> None:
    """Store an index; the one that fits the files by default."""
    index = {
        "metadata": {"total_size": 1},
        "weight_map": weight_map() if places is None else dict(places),
    }
    backend.put(INDEX, json.dumps(index).encode())


def same_as(model: Mapping[str, Any], arrays: Mapping[str, Array]) -> bool:
    """Whether a model, or what was loaded of it, has these arrays and no others."""
    return model.keys() == arrays.keys() and all(
        np.array_equal(np.asarray(model[name]), array) for name, array in arrays.items()
    )
