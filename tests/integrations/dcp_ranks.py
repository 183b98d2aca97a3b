"""A program: four ranks save a checkpoint, then three load it and then two, by rows and by columns.

``dcp_ranks.py SAVED LOADED OPTIONS OPTIONS FOLDER``: the URL to save to and that to load rows from
(through a proxy that counts), the storage options of each as JSON, and a folder for the ranks to
meet. Each rank prints a line of JSON: what it found wrong.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard

from ztensor_remote.torch import StorageReader, StorageWriter

WORLD = 4
SHAPE = (3000, 300)


def weights() -> torch.Tensor:
    """What is saved, as a whole."""
    return torch.arange(SHAPE[0] * SHAPE[1], dtype=torch.float32).reshape(SHAPE)


def state_of(mesh: DeviceMesh, axis: int, fill: float | None = None) -> dict[str, Any]:
    """Return what the ranks of a mesh hold, or room for it."""
    whole = weights() if fill is None else torch.full(SHAPE, fill)
    pieces = whole.chunk(mesh.size(), axis)
    sharded = DTensor.from_local(
        pieces[mesh.get_local_rank()].clone(),
        mesh,
        [Shard(axis)],
        run_check=False,
        shape=torch.Size(SHAPE),
        stride=(SHAPE[1], 1),
    )
    half = torch.arange(8).bfloat16() if fill is None else torch.zeros(8).bfloat16()
    replicated = DTensor.from_local(half, mesh, [Replicate()], run_check=False)
    return {
        "model": {"w": sharded, "half": replicated},
        "optim": {"step": 7 if fill is None else 0, "betas": (0.9, 0.99) if fill is None else None},
    }


def load(mesh: DeviceMesh, axis: int, reader: StorageReader) -> list[str]:
    """Load the share of a rank, and return what is wrong with it."""
    state = state_of(mesh, axis, fill=-1.0)
    dcp.load(state, storage_reader=reader, process_group=mesh.get_group())
    wrong = []
    share = weights().chunk(mesh.size(), axis)[mesh.get_local_rank()]
    if not torch.equal(state["model"]["w"].to_local(), share):
        wrong.append(f"w cut along {axis}")
    if state["model"]["half"].to_local().tolist() != list(range(8)):
        wrong.append("half")
    if state["optim"] != {"step": 7, "betas": (0.9, 0.99)}:
        wrong.append(f"optim is {state['optim']}")
    return wrong


def run(rank: int, saved: str, loaded: str, write: Any, read: Any, folder: str) -> None:
    """Be one of the ranks."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/ranks", rank=rank, world_size=WORLD
    )
    meshes = {count: DeviceMesh("cpu", list(range(count))) for count in (WORLD, 3, 2)}
    writer = StorageWriter(saved, storage_options=write)
    dcp.save(state_of(meshes[WORLD], 0), storage_writer=writer)
    wrong: list[str] = []
    for count in (3, 2):
        if rank < count:
            for axis, url, options in ((0, loaded, read), (1, saved, write)):
                reader = StorageReader(url, storage_options=options)
                wrong += [f"on {count}: {what}" for what in load(meshes[count], axis, reader)]
    print(json.dumps(wrong), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    arguments = sys.argv[1:]
    arguments[2:4] = map(json.loads, arguments[2:4])
    # Forked: torch is imported once for all of them.
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=run, args=(rank, *arguments)) for rank in range(WORLD)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    sys.exit(max(abs(process.exitcode or 0) for process in ranks))
