"""A program that loads a model from a bucket in three ways, and tells what memory each took.

``python -m tests.integrations.filling URL OPTIONS``. The model has ones in bfloat16. Prints three
lines, in bytes: by how much memory grew at its peak while a module was filled in place; then, on
top of the model itself, while the parameters of a module on the meta device were replaced, and
while all tensors were loaded for torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

import ztensor_remote as zt
from tests.writer.streaming import peak
from ztensor_remote.torch import load_state_dict


def growth(work: Callable[[], object]) -> int:
    """Return by how many bytes memory was larger at its peak than before."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    before = peak()
    work()
    return peak() - before


def check(tensors: Iterable[Any]) -> None:
    """See to it that a sample of all pages has what was stored."""
    assert all(bool((tensor[:: 1 << 11] == 1).all()) for tensor in tensors)


def main(url: str, text: str) -> None:
    """Run the program."""
    options = {"storage_options": json.loads(text)}
    with zt.open(url, **options) as model:
        size = sum(tensor.nbytes for tensor in model.values())
        parameters = {
            name: torch.zeros(tensor.shape, dtype=torch.bfloat16) for name, tensor in model.items()
        }
    module = torch.nn.ParameterDict(parameters)
    print(growth(lambda: load_state_dict(module, url, **options)))
    check(module.values())

    del parameters
    module.to("meta")
    print(growth(lambda: load_state_dict(module, url, assign=True, **options)) - size)
    check(module.values())

    module.to("meta")
    loaded: dict[str, Any] = {}
    with zt.open(url, **options) as model:
        print(growth(lambda: loaded.update(model.load(to="torch"))) - size)
    check(loaded.values())


if __name__ == "__main__":
    main(*sys.argv[1:])
