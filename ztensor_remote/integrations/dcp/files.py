"""The files of a checkpoint: the blobs of a rank, and the root that refers to them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from ...manifest import Shard, Tensor
from ...stores import Location, open_sink
from ...writer.assembly import Assembly, Options
from ...writer.rules import rules_of
from ...writer.shard import DATA_SHARD_FOOTER, ShardSink

ROOT = "checkpoint.zt"
_ALIGNMENT = 4096
"""Bytes: what version 2 allows at the least."""


def new_shard(rank: int) -> str:
    """Return a name for the blobs of one rank, which no other attempt uses."""
    return f"rank-{rank}-{secrets.token_hex(4)}"


def file_of(shard: str) -> str:
    """Return the file of a shard."""
    return f"{shard}.zt"


def is_file_of_rank(name: str) -> bool:
    """Whether a file is one that `file_of` names."""
    return name.startswith("rank-") and name.endswith(".zt")


class RankFile(Assembly):
    """A file of blobs without a manifest.

    Parameters
    ----------
    folder : Location
    shard : str
        The name that roots refer to it by.
    options : Options
        Defaults for the tensors.
    """

    def __init__(self, folder: Location, shard: str, options: Options) -> None:
        self._sink = ShardSink(open_sink(folder.child(file_of(shard))))
        super().__init__(self._sink, rules_of("2").aligned(_ALIGNMENT), options)
        self._output.shard = shard

    @property
    def shard(self) -> Shard:
        """What roots say of the file, once it is stored."""
        return self._sink.shard(file_of(self._output.shard or ""))

    def _publish(self) -> None:
        self._output.write(DATA_SHARD_FOOTER)
        self._output.commit()


class Root(Assembly):
    """The manifest of a checkpoint; with it, the checkpoint is there.

    Parameters
    ----------
    folder : Location
    tensors : mapping of str to Tensor
        Their blobs are in the shards.
    shards : mapping of str to Shard
    attributes : mapping
    """

    def __init__(
        self,
        folder: Location,
        tensors: Mapping[str, Tensor],
        shards: Mapping[str, Shard],
        attributes: Mapping[str, Any],
    ) -> None:
        super().__init__(
            open_sink(folder.child(ROOT)), rules_of("2").aligned(_ALIGNMENT), Options()
        )
        self.tensors.update(tensors)
        self._shards = dict(shards)
        self.attributes.update(attributes)
