"""TensorStore, reading the arrays that Zarr wrote."""

from __future__ import annotations

import os
from typing import Any

from ..job import BUCKET, REGION
from .peer import Arrays, Peer


class TensorStore(Peer):
    """Arrays are opened and read side by side; it does not know groups."""

    packages = ("tensorstore", "numpy")
    actions = frozenset(("open", "load", "rows", "columns"))
    written_by = "zarr"
    decodes = True

    def connect(self) -> None:
        """Import."""
        if self.job.place.ca:
            os.environ["TENSORSTORE_CA_BUNDLE"] = self.job.place.ca
        import tensorstore

        self._tensorstore = tensorstore
        self._opened: dict[str, Any] = {}

    def open_file(self) -> None:
        """Fetch the metadata of what is asked for."""
        ts = self._tensorstore
        names = self.job.task.names or self.job.dataset.names
        context = ts.Context()
        found = {name: ts.open(self._spec(name), context=context, read=True) for name in names}
        self._opened = {name: future.result() for name, future in found.items()}

    def load(self, names: list[str]) -> Arrays:
        """Read arrays."""
        reads = {name: self._opened[name].read() for name in names}
        return {name: future.result() for name, future in reads.items()}

    def rows(self, name: str, start: int, stop: int) -> Any:
        """Read the chunks that hold rows."""
        return self._opened[name][start:stop].read().result()

    def columns(self, name: str, start: int, stop: int) -> Any:
        """Read all chunks."""
        return self._opened[name][:, start:stop].read().result()

    def _spec(self, name: str) -> dict[str, Any]:
        return {
            "driver": "zarr3",
            "kvstore": {
                "driver": "s3",
                "bucket": BUCKET,
                "path": f"{self.job.dataset.name}.zarr/{name}/",
                "endpoint": self.job.place.url,
                "aws_region": REGION,
                "aws_credentials": {"type": "anonymous"},
            },
            "recheck_cached_data": False,
        }
