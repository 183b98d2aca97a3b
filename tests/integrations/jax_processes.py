"""A program: one of two processes, with four devices each, that load tensors of one model.

``jax_processes.py PROCESS ADDRESS URL OPTIONS``: its number, where the processes meet, and the
model with the storage options as JSON. Prints what it found wrong, and requests and bytes that it
read. XLA_FLAGS has to ask for the devices.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import jax
import ml_dtypes
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import ztensor_remote as zt

PROCESSES, DEVICES = 2, 4
ROWS = np.arange(64 * 1024, dtype=np.float32).reshape(64, 1024)
ARRAYS = {
    "rows": ROWS,
    "columns": ROWS + 1,
    "everywhere": ROWS + 2,
    "in blocks": ROWS.astype(ml_dtypes.bfloat16),
    "of the second": ROWS + 4,
    "packed": ROWS + 5,
    "mask": ROWS % 3 == 0,
    "scalar": np.float32(7),
    "uneven": np.ones(3, np.int8),
}
SPARSE = np.eye(8, dtype=np.float32)


def is_refused(reader: zt.Reader, name: str, mesh: Mesh) -> bool:
    """Whether a sharding that does not fit the shape is told as such."""
    try:
        zt.jax.load(reader, [name], sharding=NamedSharding(mesh, PartitionSpec("a")))
    except zt.InvalidInputError as error:
        return error.tensor == name and "does not fit the shape" in str(error)
    return False


def check(process: int, url: str, options: dict[str, Any]) -> dict[str, Any]:
    """Load each tensor in another way and compare what each device got."""
    everywhere = Mesh(np.array(jax.devices()), ("x",))
    second = Mesh(np.array(jax.devices()[DEVICES:]), ("x",))
    here = Mesh(np.array(jax.local_devices()).reshape(2, 2), ("a", "b"))
    shardings = {
        "rows": NamedSharding(everywhere, PartitionSpec("x")),
        "columns": NamedSharding(everywhere, PartitionSpec(None, "x")),
        "everywhere": NamedSharding(everywhere, PartitionSpec()),
        "in blocks": NamedSharding(here, PartitionSpec("a", "b")),
        "of the second": NamedSharding(second, PartitionSpec("x")),
        "packed": NamedSharding(here, PartitionSpec(None, ("b", "a"))),
        "scalar": NamedSharding(here, PartitionSpec()),
        "sparse": NamedSharding(here, PartitionSpec("a")),
    }
    expected = ARRAYS | {"sparse": SPARSE}
    wrong = []
    with zt.open(url, storage_options=options) as reader:
        opening = reader.stats
        loaded = zt.jax.load(reader, sorted(expected), sharding=shardings)
        stats = reader.stats
        wrong += [name for name in ("scalar", "uneven") if not is_refused(reader, name, here)]
        if reader.stats != stats:
            wrong.append("a sharding that does not fit cost a request")
    for name, array in loaded.items():
        if name in shardings and array.sharding != shardings[name]:
            wrong.append(f"{name} is at {array.sharding}")
        if (array.dtype, array.shape) != (expected[name].dtype, expected[name].shape):
            wrong.append(f"{name} is {array.dtype} {array.shape}")
        for shard in array.addressable_shards:
            if np.asarray(shard.data).tobytes() != expected[name][shard.index].tobytes():
                wrong.append(f"{name} differs at {shard.index}")
    if len(loaded["of the second"].addressable_shards) != process * DEVICES:
        wrong.append("a process has shards of the other")
    shared = loaded["everywhere"].addressable_shards
    addresses = {shard.data.unsafe_buffer_pointer() for shard in shared}
    if len(addresses) != 1:
        wrong.append("what all devices share was copied for each")
    return {
        "wrong": wrong,
        "requests": stats.requests - opening.requests,
        "bytes": stats.bytes - opening.bytes,
    }


if __name__ == "__main__":
    number, address, location, storage_options = sys.argv[1:]
    if jax.__version_info__ < (0, 8):  # which has no choice any more
        jax.config.update("jax_enable_empty_arrays", True)
    jax.distributed.initialize(address, num_processes=PROCESSES, process_id=int(number))
    print(json.dumps(check(int(number), location, json.loads(storage_options))))
