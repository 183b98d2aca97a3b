"""safetensors files over s3fs: the whole at once, or the ranges that the header names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..job import BUCKET
from .peer import Arrays, Peer
from .s3fs import filesystem


class Safetensors(Peer):
    """``safetensors.numpy.load`` of ``cat_file``; its format allows no slices from afar."""

    packages = ("safetensors", "s3fs", "numpy")
    actions = frozenset(("open", "load"))
    written_by = "safetensors"

    def write(self, folder: Path) -> None:
        """Write a file."""
        from safetensors.numpy import save_file

        dataset = self.job.dataset
        arrays = {name: dataset.array(name) for name in dataset.names}
        save_file(arrays, folder / f"{dataset.name}.safetensors")

    def connect(self) -> None:
        """Make a client."""
        import safetensors.numpy

        self._parse = safetensors.numpy.load
        self._fs = filesystem(self.job)
        self._path = f"{BUCKET}/{self.job.dataset.name}.safetensors"

    def open_file(self) -> None:
        """Fetch the length of the header, and the header."""
        size = int.from_bytes(self._fs.cat_file(self._path, start=0, end=8), "little")
        header = self._fs.cat_file(self._path, start=8, end=8 + size)
        self._start, self._header = 8 + size, json.loads(header)

    def load(self, names: list[str]) -> Arrays:
        """Read everything, or the tensors one by one."""
        if len(names) == self.job.dataset.count:
            return self._parse(self._fs.cat_file(self._path))
        spans = [self._header[name]["data_offsets"] for name in names]
        bodies = self._fs.cat_ranges(
            [self._path] * len(names),
            [self._start + start for start, _ in spans],
            [self._start + stop for _, stop in spans],
        )
        return {name: self._array(body) for name, body in zip(names, bodies, strict=True)}

    def _array(self, body: bytes) -> Any:
        return np.frombuffer(body, self.job.dataset.dtype).reshape(self.job.dataset.shape)
