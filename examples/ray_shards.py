"""Load disjoint shards of one model into Ray actors, each of which fetches its own bytes.

    python examples/ray_shards.py s3://bucket/model.zt --workers 4

It needs Ray: pip install 'ztensor-remote[ray]'.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

import ztensor_remote as zt


@dataclass(frozen=True)
class Loaded:
    """What one worker has, and what it took to get it."""

    tensors: int
    nbytes: int
    fetched: int


@ray.remote(num_cpus=1)
class Worker:
    """Holds one shard of a model."""

    def __init__(self, model: zt.Reader, names: list[str]) -> None:
        self.tensors = model.load(names)
        self.fetched = model.stats.bytes

    def loaded(self) -> Loaded:
        """Return how much is here."""
        nbytes = sum(tensor.nbytes for tensor in self.tensors.values())
        return Loaded(len(self.tensors), nbytes, self.fetched)

    def square_norm(self) -> float:
        """Return this shard's part of what all of them compute together."""
        return sum(float(np.square(tensor, dtype="f8").sum()) for tensor in self.tensors.values())


def shares(model: zt.Reader, count: int) -> list[list[str]]:
    """Share out the names, the largest tensors first, so that all get about as many bytes."""
    names: list[list[str]] = [[] for _ in range(count)]
    filled = [0] * count
    for name in sorted(model, key=lambda name: model[name].nbytes, reverse=True):
        least = filled.index(min(filled))
        names[least].append(name)
        filled[least] += model[name].nbytes
    return names


def start(url: Any, count: int, **options: Any) -> list[Any]:
    """Start workers that load a model together."""
    with zt.open(url, **options) as model:
        return [Worker.remote(model, names) for names in shares(model, count)]


def main() -> None:
    """Read the command line, and say what each worker has fetched."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="a file of dense tensors: a path or a URL")
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    ray.init(num_cpus=options.workers, include_dashboard=False, log_to_driver=False)
    workers = start(options.model, options.workers)
    for number, each in enumerate(ray.get([worker.loaded.remote() for worker in workers])):
        print(
            f"worker {number}: {each.tensors} tensors, {each.nbytes} bytes, {each.fetched} fetched"
        )
    norm = sum(ray.get([worker.square_norm.remote() for worker in workers])) ** 0.5
    print(f"norm of the model: {norm:.6g}")


if __name__ == "__main__":
    main()
