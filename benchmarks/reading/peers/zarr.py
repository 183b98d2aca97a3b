"""Zarr 3 over obstore: a chunk of 16 MiB at most for each request."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from ..job import BUCKET, KEY, REGION, SECRET
from .peer import Arrays, Peer

CHUNK = 16 << 20
AT_ONCE = 64


class Zarr(Peer):
    """A group with consolidated metadata; its arrays are read side by side."""

    packages = ("zarr", "obstore", "numpy")
    actions = frozenset(("open", "load", "rows", "columns"))
    written_by = "zarr"
    decodes = True

    def write(self, folder: Path) -> None:
        """Write a group; arrays are compressed where the dataset says so."""
        import zarr

        dataset = self.job.dataset
        path = folder / f"{dataset.name}.zarr"
        group = zarr.create_group(path)
        rows = max(1, CHUNK * dataset.shape[0] // dataset.tensor_bytes)
        for name in dataset.names:
            array = group.create_array(
                name,
                shape=dataset.shape,
                dtype=dataset.dtype,
                chunks=(min(rows, dataset.shape[0]), dataset.shape[1]),
                compressors="auto" if dataset.compressed else None,
            )
            at = 0
            for block in dataset.blocks(name):
                array[at : at + len(block)] = block
                at += len(block)
        zarr.consolidate_metadata(path)

    def connect(self) -> None:
        """Make a store."""
        import zarr.api.asynchronous
        from obstore.store import S3Store
        from zarr.storage import ObjectStore

        place = self.job.place
        options: dict[str, Any] = {"allow_http": True}
        if place.ca:
            options["allow_invalid_certificates"] = True
        store = S3Store(
            BUCKET,
            prefix=f"{self.job.dataset.name}.zarr",
            endpoint=place.url,
            region=REGION,
            access_key_id=KEY,
            secret_access_key=SECRET,
            virtual_hosted_style_request=False,
            client_options=options,
        )
        zarr.config.set({"async.concurrency": AT_ONCE})
        self._zarr = zarr.api.asynchronous
        self._store = ObjectStore(store, read_only=True)
        self._loop = asyncio.new_event_loop()

    def open_file(self) -> None:
        """Fetch the metadata of all arrays at once."""
        opened = self._zarr.open_consolidated(store=self._store, mode="r", zarr_format=3)
        self._group = self._loop.run_until_complete(opened)

    def load(self, names: list[str]) -> Arrays:
        """Read arrays."""
        arrays = self._loop.run_until_complete(self._all(names))
        return dict(zip(names, arrays, strict=True))

    def rows(self, name: str, start: int, stop: int) -> Any:
        """Read the chunks that hold rows."""
        return self._loop.run_until_complete(self._one(name, slice(start, stop)))

    def columns(self, name: str, start: int, stop: int) -> Any:
        """Read all chunks."""
        return self._loop.run_until_complete(self._one(name, (slice(None), slice(start, stop))))

    async def _all(self, names: list[str]) -> list[Any]:
        return await asyncio.gather(*(self._one(name, slice(None)) for name in names))

    async def _one(self, name: str, index: Any) -> Any:
        array = await self._group.getitem(name)
        return await array.getitem(index)
