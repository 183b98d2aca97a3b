"""A model on a server that counts, for tests of the cache."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

import ztensor_remote as zt
from tests.reader.models import MEMORY, written
from tests.servers.http import HttpServer
from tests.servers.proxy import Proxy, Request
from ztensor_remote.stores import blocks
from ztensor_remote.stores.blocks import BLOCK

TAIL = 64 * 1024 + 40 + BLOCK
"""Bytes of the request that opens a file, by way of the cache."""

ARRAYS = {
    f"t{number}": np.random.default_rng(number).standard_normal(30_000 + number)
    for number in range(12)
}
PACKED = np.arange(100_000, dtype=np.int64)
MATRIX = scipy.sparse.random_array((500, 800), density=0.05, format="csr", rng=0)


def add_all(writer: zt.Writer) -> None:
    for name, array in ARRAYS.items():
        writer.add_tensor(name, array)
    writer.add_tensor("packed", PACKED, compress=True)
    writer.add_sparse_csr("sparse", MATRIX)


def model_of(add: Callable[[zt.Writer], object] = add_all) -> bytes:
    data: bytes = MEMORY.cat_file(written(add))
    return data


DATA = model_of()
OTHER = model_of(lambda writer: [writer.add_tensor(n, -array) for n, array in ARRAYS.items()])


class Served:
    """A model behind a web server and a proxy."""

    def __init__(self, folder: Path, server: HttpServer, proxy: Proxy) -> None:
        self.path = folder / "model.zt"
        self.proxy = proxy
        self.url = f"{proxy.url}/model.zt"
        self.server = server
        self.put(DATA)

    def put(self, data: bytes) -> None:
        temporary = self.path.with_suffix(".new")
        temporary.write_bytes(data)
        temporary.replace(self.path)

    def sent(self) -> list[int]:
        """Return the bytes of each answer, and begin to count anew."""
        sizes = [request.response_bytes for request in self.proxy.requests]
        self.proxy.clear()
        return sizes

    def ranges(self) -> list[range]:
        """Return what was asked for since the last count, without the tails that open the file."""
        asked = [_positions(request) for request in self.proxy.requests]
        self.proxy.clear()
        return [span for span in asked if span is not None]


def _positions(request: Request) -> range | None:
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.range or "")
    return range(int(found[1]), int(found[2]) + 1) if found else None


def are_disjoint(ranges: list[range]) -> bool:
    edges = sorted((span.start, span.stop) for span in ranges)
    return all(one[1] <= two[0] for one, two in pairwise(edges))


def forget() -> None:
    """Make this process know no more of caches than a new one would."""
    gc.collect()
    assert not blocks._opened


def object_files(cache: Path, end: str = ".data") -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.name.endswith(end))


def used(cache: Path) -> int:
    """Return the bytes that objects take on the disk."""
    paths = object_files(cache) + object_files(cache, ".sums")
    return sum(path.stat().st_blocks * 512 for path in paths)


def equal(loaded: dict[str, Any]) -> bool:
    return all((loaded[name] == array).all() for name, array in ARRAYS.items() if name in loaded)
