"""PyTorch's distributed checkpoints over s3fs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..job import BUCKET, KEY, REGION, SECRET
from .peer import Arrays, Peer


class DCP(Peer):
    """``torch.distributed.checkpoint.load`` with its fsspec reader, in one process."""

    packages = ("torch", "s3fs", "numpy")
    actions = frozenset(("load", "into"))
    written_by = "torch DCP"

    def write(self, folder: Path) -> None:
        """Write a checkpoint."""
        import torch
        import torch.distributed.checkpoint as dcp

        dataset = self.job.dataset
        arrays = {name: torch.from_numpy(dataset.array(name)) for name in dataset.names}
        dcp.save(arrays, checkpoint_id=folder / f"{dataset.name}.dcp", no_dist=True)

    def connect(self) -> None:
        """Import."""
        import torch
        import torch.distributed.checkpoint as dcp
        from torch.distributed.checkpoint._fsspec_filesystem import FsspecReader

        self._torch, self._dcp, self._reader = torch, dcp, FsspecReader
        client: dict[str, Any] = {"region_name": REGION}
        if self.job.place.ca:
            client["verify"] = self.job.place.ca
        self._options = {
            "key": KEY,
            "secret": SECRET,
            "endpoint_url": self.job.place.url,
            "client_kwargs": client,
        }

    def load(self, names: list[str]) -> Arrays:
        """Read tensors into fresh ones."""
        import numpy as np

        dataset = self.job.dataset
        arrays = {name: np.empty(dataset.shape, dataset.dtype) for name in names}
        self.into(arrays)
        return arrays

    def into(self, arrays: Arrays) -> None:
        """Read tensors in place."""
        tensors = {name: self._torch.from_numpy(array) for name, array in arrays.items()}
        path = f"s3://{BUCKET}/{self.job.dataset.name}.dcp"
        reader = self._reader(path, **self._options)
        self._dcp.load(tensors, storage_reader=reader, no_dist=True)
