"""s3fs, through fsspec's public interface."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from ..job import BUCKET, KEY, REGION, SECRET, Job
from .peer import Arrays
from .ranges import Ranges


def filesystem(job: Job) -> Any:
    """Make a client."""
    import s3fs

    client: dict[str, Any] = {"region_name": REGION}
    if job.place.ca:
        client["verify"] = job.place.ca
    return s3fs.S3FileSystem(
        key=KEY,
        secret=SECRET,
        endpoint_url=job.place.url,
        client_kwargs=client,
        config_kwargs={"max_pool_connections": 64, "response_checksum_validation": "when_required"},
        default_cache_type="none",
    )


class S3FS(Ranges):
    """``cat_ranges`` for many tensors, threads of ``cat_file`` into memory that is there."""

    actions = frozenset(("open", "load", "into", "rows"))

    def connect(self) -> None:
        """Make a client."""
        self._fs = filesystem(self.job)
        self._path = f"{BUCKET}/{self.job.zt_key}"

    def open_file(self) -> None:
        """Ask for the size, the footer and the manifest, one after the other."""
        self._fs.invalidate_cache()
        size = self._fs.info(self._path)["size"]
        footer = self._fs.cat_file(self._path, start=size - 16, end=size)
        (length,) = struct.unpack("<Q", footer[:8])
        self._fs.cat_file(self._path, start=size - 16 - length, end=size - 16)

    def load(self, names: list[str]) -> Arrays:
        """Read tensors; they stay in the memory that s3fs gives."""
        dataset = self.job.dataset
        spans = [self.job.layout[name] for name in names]
        bodies = self._fs.cat_ranges(
            [self._path] * len(spans),
            [start for start, _ in spans],
            [sum(span) for span in spans],
        )
        return {
            name: np.frombuffer(body, dataset.dtype).reshape(dataset.shape)
            for name, body in zip(names, bodies, strict=True)
        }

    def fetch(self, offset: int, view: memoryview) -> None:
        """Fetch one range, and copy it."""
        body = self._fs.cat_file(self._path, start=offset, end=offset + len(view))
        np.copyto(np.frombuffer(view, np.uint8), np.frombuffer(body, np.uint8))
