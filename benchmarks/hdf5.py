"""What HDF5 files on a web server cost in place, beside h5py over fsspec's file object.

A server in a process of its own, on 127.0.0.1, waits before each answer for as long as a round trip
takes. Both libraries take turns, and open the file anew each time; what they read is compared.

    python benchmarks/hdf5.py
    python benchmarks/hdf5.py --quick
    python benchmarks/hdf5.py --mib 512 --round-trip 0 30 --rounds 5
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import fsspec
import h5py
import numpy as np

import ztensor_remote as zt
from tests.servers.http import HttpServer

ROWS = COLUMNS = 512
LAYERS = 100
GZIP: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}

Read = Callable[[Any], Any]


def write(folder: Path, mib: int) -> None:
    """Write a file of one large dataset, and one of many small ones."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(mib, ROWS, COLUMNS)).astype(np.float32)
    large = np.cumsum(steps, axis=0)
    with h5py.File(folder / "large.h5", "w") as file:
        file.create_dataset("x", data=large, chunks=(16, 128, 128), **GZIP)
    with h5py.File(folder / "layers.h5", "w") as file:
        for number in range(LAYERS):
            data = large[number % mib]
            file.create_dataset(f"layers/{number}/w", data=data, chunks=(128, 128), **GZIP)


# What is done: the file, and how either library does it.
CASES: dict[str, tuple[str, Read, Read]] = {
    "one dataset": ("large.h5", lambda model: model["x"].numpy(), lambda file: file["x"][()]),
    "a part of each row": (
        "large.h5",
        lambda model: model["x"][:, 200:210, 200:210],
        lambda file: file["x"][:, 200:210, 200:210],
    ),
    f"{LAYERS} datasets": (
        "layers.h5",
        lambda model: list(model.load(f"layers/{n}/w" for n in range(LAYERS)).values()),
        lambda file: [file[f"layers/{n}/w"][()] for n in range(LAYERS)],
    ),
}


def with_us(url: str, read: Read) -> Any:
    """Read by this package."""
    with zt.open(url) as model:
        return read(model)


def with_h5py(url: str, read: Read) -> Any:
    """Read by h5py."""
    with fsspec.filesystem("http").open(url) as raw, h5py.File(raw, "r") as file:
        return read(file)


def be_the_server(folder: Path, round_trip: float, channel: Connection) -> None:
    """Serve a folder until the channel is closed."""
    with HttpServer(folder) as server:
        server.latency = round_trip
        channel.send(server.url)
        channel.poll(None)


@contextmanager
def serving(folder: Path, round_trip: float) -> Iterator[str]:
    """Yield the URL of a folder."""
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    server = context.Process(target=be_the_server, args=(folder, round_trip, there), daemon=True)
    server.start()
    try:
        yield here.recv()
    finally:
        server.terminate()
        server.join()


def timed(library: Callable[[str, Read], Any], url: str, read: Read) -> tuple[float, Any]:
    """Return how long a library takes to read something, and what it is."""
    start = time.perf_counter()
    result = library(url, read)
    return time.perf_counter() - start, result


def measure(url: str, rounds: int) -> Iterator[tuple[str, float, float]]:
    """Yield each case with the seconds of both, after a round that nobody times."""
    for case, (name, ours, theirs) in CASES.items():
        seconds: tuple[list[float], list[float]] = [], []
        for _ in range(rounds + 1):
            first, read = timed(with_us, f"{url}/{name}", ours)
            second, expected = timed(with_h5py, f"{url}/{name}", theirs)
            np.testing.assert_array_equal(read, expected)
            seconds[0].append(first)
            seconds[1].append(second)
        yield case, statistics.median(seconds[0][1:]), statistics.median(seconds[1][1:])


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=128, help="of the large dataset (default: 128)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each (default: 5)")
    parser.add_argument(
        *("--round-trip", "-r"),
        type=float,
        nargs="+",
        default=[0, 30],
        help="in ms (default: 0 30)",
    )
    parser.add_argument("--quick", action="store_true", help="tiny data, to see that it works")
    options = parser.parse_args()
    if min(options.mib, options.rounds) < 1:
        parser.error("--mib and --rounds must be at least 1")
    mib, rounds = (16, 1) if options.quick else (options.mib, options.rounds)
    print("| round trip | | ztensor_remote s | h5py s | times faster |")
    print("|--:|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), mib)
        for milliseconds in options.round_trip:
            with serving(Path(folder), milliseconds / 1000) as url:
                for case, ours, theirs in measure(url, rounds):
                    print(
                        f"| {milliseconds:g} ms | {case} | {ours:.2f} | {theirs:.2f} "
                        f"| {theirs / ours:.1f} |",
                        flush=True,
                    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
