"""A program that streams a tensor to a store, reads it back, and tells what memory that took.

``python -m tests.writer.streaming URL OPTIONS MIB``. Prints two lines: the bytes by which the peak
of the memory grew while it was written, and while it was read.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import ztensor_remote as zt

MIB = 1 << 20
ROWS = 4


def peak() -> int:
    """Return the largest amount of memory that this process has had, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) << 10


def rows(count: int) -> Iterator[Any]:
    """Yield rows of 1 MiB, no two alike."""
    row = np.random.default_rng(5).integers(0, 1 << 62, MIB // 8)
    for _ in range(count):
        row += 1
        yield row


def write(url: str, options: dict[str, Any], count: int) -> str:
    """Stream a tensor of `count` rows, and return its digest."""
    digest = hashlib.blake2b()
    with (
        zt.Writer(url, storage_options=options) as writer,
        writer.stream_tensor("rows", (count, MIB // 8), "int64") as part,
    ):
        for row in rows(count):
            digest.update(row)
            part.write(row)
    return digest.hexdigest()


def read(url: str, options: dict[str, Any]) -> str:
    """Read it back, a few rows at a time, and return its digest."""
    digest = hashlib.blake2b()
    with zt.open(url, storage_options=options) as model:
        tensor = model["rows"]
        for start in range(0, tensor.shape[0], ROWS):
            digest.update(np.ascontiguousarray(tensor[start : start + ROWS]))
    return digest.hexdigest()


def main(url: str, options: str, mib: str) -> None:
    """Run the program."""
    named = json.loads(options)
    assert write(url, named, 1) == read(url, named)  # what is imported and kept is there by now
    before = peak()
    written = write(url, named, int(mib))
    after = peak()
    assert read(url, named) == written
    print(after - before, peak() - after, sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
