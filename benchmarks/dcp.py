"""What distributed checkpoints in a bucket cost, beside torch's own FsspecWriter and FsspecReader.

Ranks of a gloo group, each a process, save tensors that are cut by rows to `rclone serve s3` on
127.0.0.1, and load them with the same cut and with one by columns. Both libraries take turns, and
what was loaded is compared with what was saved. A last round goes through a proxy that counts.

    python benchmarks/dcp.py
    python benchmarks/dcp.py --quick
    python benchmarks/dcp.py --ranks 2 --mib 512 --rounds 3
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint._fsspec_filesystem import (
    FsspecReader,
    FsspecWriter,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard

from tests.servers.proxy import Proxy
from tests.servers.rclone import rclone_server
from tests.servers.s3 import S3Endpoint
from ztensor_remote.torch import StorageReader, StorageWriter

BUCKET = "bench"
COLUMNS = 1024
TENSORS = 64
MIB = 1 << 20

# What is done, and by which axis the tensors are cut for it.
ACTIONS = {"save": 0, "load, as saved": 0, "load, other cut": 1}

Options = dict[str, Any]
SAVE: dict[str, Callable[[str, Options], Any]] = {
    "ztensor_remote": lambda url, options: StorageWriter(url, storage_options=options),
    "torch": lambda url, options: FsspecWriter(url, **options),
}
LOAD: dict[str, Callable[[str, Options], Any]] = {
    "ztensor_remote": lambda url, options: StorageReader(url, storage_options=options),
    "torch": lambda url, options: FsspecReader(url, **options),
}


@dataclass(frozen=True)
class Step:
    """What all ranks do together, once."""

    action: str
    library: str
    counted: bool = False


@dataclass(frozen=True)
class Run:
    """What a rank must know."""

    ranks: int
    rows: int
    steps: list[Step]
    plain: Options
    counting: Options
    folder: str


# --- a rank ----------------------------------------------------------------------------------


def be_a_rank(rank: int, run: Run, pipe: Any) -> None:
    """Do every step; the first rank tells what each took."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{run.folder}/ranks", rank=rank, world_size=run.ranks
    )
    mesh = DeviceMesh("cpu", list(range(run.ranks)))
    for step in run.steps:
        took = timed(step, run, mesh)
        everyone: list[Any] = [None] * run.ranks
        dist.all_gather_object(everyone, took)
        if rank == 0:
            seconds, cpu = zip(*everyone, strict=True)
            pipe.send((max(seconds), sum(cpu)))
            pipe.recv()  # until the counts are noted
        dist.barrier()
    dist.destroy_process_group()


def timed(step: Step, run: Run, mesh: DeviceMesh) -> tuple[float, float]:
    """Do a step; return its seconds and those of the CPU."""
    options = run.counting if step.counted else run.plain
    axis = ACTIONS[step.action]
    url = f"s3://{BUCKET}/{step.library}"
    saves = step.action == "save"
    state = state_of(mesh, axis, run.rows, filled=saves)
    dist.barrier()
    began, cpu = time.perf_counter(), time.process_time()
    if saves:
        dcp.save(state, storage_writer=SAVE[step.library](url, options))
    else:
        dcp.load(state, storage_reader=LOAD[step.library](url, options))
    took = time.perf_counter() - began, time.process_time() - cpu
    if not saves:
        compare(state, state_of(mesh, axis, run.rows, filled=True))
    return took


def state_of(mesh: DeviceMesh, axis: int, rows: int, *, filled: bool) -> dict[str, DTensor]:
    """Return a rank's share of all tensors, or memory for it that was used before."""
    return {f"layer.{i}": share_of(mesh, axis, rows, i if filled else None) for i in range(TENSORS)}


def share_of(mesh: DeviceMesh, axis: int, rows: int, seed: int | None) -> DTensor:
    shape = torch.Size((rows, COLUMNS))
    if seed is None:
        whole = torch.full(shape, -1.0)
    else:
        whole = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    share = whole.chunk(mesh.size(), axis)[mesh.get_local_rank()].clone()
    stride = (COLUMNS, 1)
    return DTensor.from_local(
        share, mesh, [Shard(axis)], run_check=False, shape=shape, stride=stride
    )


def compare(loaded: dict[str, DTensor], saved: dict[str, DTensor]) -> None:
    for name, tensor in loaded.items():
        if not torch.equal(tensor.to_local(), saved[name].to_local()):
            raise SystemExit(f"{name} came back as something else")


# --- all of them -----------------------------------------------------------------------------


def steps(rounds: int) -> list[Step]:
    """Return the rounds, each begun by the other library, after one that nobody times."""
    libraries = list(SAVE)
    found: list[Step] = []
    for number in range(rounds + 2):
        turns = libraries[:: 1 if number % 2 else -1]
        counted = number == rounds + 1
        found += [Step(action, library, counted) for action in ACTIONS for library in turns]
    return found


def measure(run: Run, proxy: Proxy) -> list[tuple[Step, float, float, int, int]]:
    """Run the ranks; return seconds, CPU seconds, requests and bytes of each step."""
    context = torch.multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch.distributed.checkpoint", "torch.distributed.tensor"])
    here, there = context.Pipe()
    ranks = [context.Process(target=be_a_rank, args=(i, run, there)) for i in range(run.ranks)]
    for process in ranks:
        process.start()
    figures = []
    try:
        for step in run.steps:
            while not here.poll(0.5):
                if any(process.exitcode for process in ranks):
                    raise SystemExit("a rank failed, as told above")
            requests = proxy.requests
            moved = sum(each.request_bytes + each.response_bytes for each in requests)
            figures.append((step, *here.recv(), len(requests), moved))
            proxy.clear()
            here.send(None)
        for process in ranks:
            process.join()
    finally:
        for process in ranks:
            process.terminate()
    return figures


def show(figures: list[tuple[Step, float, float, int, int]], mib: int) -> None:
    """Print a table."""
    seconds, cpu, counts = defaultdict(list), defaultdict(list), {}
    for step, took, used, requests, moved in figures[len(ACTIONS) * len(SAVE) :]:
        key = step.action, step.library
        if step.counted:
            counts[key] = requests, moved / MIB
        else:
            seconds[key].append(took)
            cpu[key].append(used * 1024 / mib)
    print("| | library | s | CPU s/GiB | times faster | requests | MiB moved |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for action, library in counts:
        middle = {name: statistics.median(seconds[action, name]) for name in SAVE}
        print(
            f"| {action} | {library} | {middle[library]:.2f} "
            f"| {statistics.median(cpu[action, library]):.2f} "
            f"| {middle['torch'] / middle[library]:.1f} "
            f"| {counts[action, library][0]} | {counts[action, library][1]:,.0f} |"
        )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, default=4, help="processes (default: 4)")
    parser.add_argument("--mib", type=int, default=512, help="of all tensors (default: 512)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each (default: 5)")
    parser.add_argument("--quick", action="store_true", help="tiny data, to see that it works")
    options = parser.parse_args()
    if min(options.ranks, options.mib, options.rounds) < 1:
        parser.error("--ranks, --mib and --rounds must be at least 1")
    mib, rounds = (16, 1) if options.quick else (options.mib, options.rounds)
    rows = math.ceil(mib * MIB / (4 * COLUMNS * TENSORS))
    with rclone_server() as server, tempfile.TemporaryDirectory() as folder:
        endpoint: S3Endpoint = server.endpoint
        endpoint.make_bucket(BUCKET)
        with Proxy(endpoint.url) as proxy:
            counting = endpoint.at(proxy.url).storage_options
            run = Run(
                options.ranks, rows, steps(rounds), endpoint.storage_options, counting, folder
            )
            figures = measure(run, proxy)
    print(
        f"{options.ranks} ranks, {TENSORS} tensors of {rows * COLUMNS * 4 / MIB:g} MiB, "
        f"torch {torch.__version__}, medians of {rounds} rounds\n"
    )
    show(figures, mib)
    return 0


if __name__ == "__main__":
    sys.exit(main())
