"""This project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..job import BUCKET, KEY, REGION, SECRET
from .peer import Arrays, Peer


class ZTensor(Peer):
    """``zt.open("s3://...")`` with s3fs's options; digests are not checked."""

    actions = frozenset(("open", "load", "into", "rows", "columns"))
    decodes = True
    verify = False

    def write(self, folder: Path) -> None:
        """Write the file that most peers read."""
        import ztensor_remote as zt

        dataset = self.job.dataset
        with zt.Writer(folder / self.job.zt_key) as writer:
            for name in dataset.names:
                with writer.stream_tensor(
                    name, shape=dataset.shape, dtype=dataset.dtype, compress=dataset.compressed
                ) as part:
                    for block in dataset.blocks(name):
                        part.write(block)

    def connect(self) -> None:
        """Import."""
        import ztensor_remote as zt

        place = self.job.place
        client: dict[str, Any] = {"region_name": REGION}
        if place.ca:
            client["verify"] = place.ca
        self._options = {
            "key": KEY,
            "secret": SECRET,
            "endpoint_url": place.url,
            "client_kwargs": client,
        }
        self._open = zt.open

    def open_file(self) -> None:
        """Open the file."""
        self._model = self._open(
            f"s3://{BUCKET}/{self.job.zt_key}", storage_options=self._options, verify=self.verify
        )

    def load(self, names: list[str]) -> Arrays:
        """Load."""
        return self._model.load(names)

    def into(self, arrays: Arrays) -> None:
        """Read into."""
        self._model.read_into(arrays)

    def rows(self, name: str, start: int, stop: int) -> Any:
        """Slice."""
        return self._model[name][start:stop]

    def columns(self, name: str, start: int, stop: int) -> Any:
        """Slice across."""
        return self._model[name][:, start:stop]


class ZTensorChecked(ZTensor):
    """The same, with digests checked, as is the default."""

    verify = True
