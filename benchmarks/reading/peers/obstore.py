"""obstore: its async API, which is its fastest."""

from __future__ import annotations

import asyncio
from typing import Any

from ..job import BUCKET, KEY, REGION, SECRET
from .peer import Arrays
from .ranges import Ranges

AT_ONCE = 4
TAIL = 64 << 10


class Obstore(Ranges):
    """``get_range_async`` for what is large, ``get_ranges_async`` (which merges) for the small."""

    actions = frozenset(("open", "load", "into", "rows"))

    def connect(self) -> None:
        """Make a store."""
        import obstore
        from obstore.store import S3Store

        place = self.job.place
        options: dict[str, Any] = {"allow_http": True}
        if place.ca:
            options["allow_invalid_certificates"] = True  # it takes no certificate to trust
        self._obstore = obstore
        self._store = S3Store(
            BUCKET,
            endpoint=place.url,
            region=REGION,
            access_key_id=KEY,
            secret_access_key=SECRET,
            virtual_hosted_style_request=False,
            client_options=options,
        )
        self._loop = asyncio.new_event_loop()

    def open_file(self) -> None:
        """Fetch the end of the file, as a reader of its manifest would."""
        self._obstore.get(self._store, self.job.zt_key, options={"range": {"suffix": TAIL}}).bytes()

    def load(self, names: list[str]) -> Arrays:
        """Read tensors; they stay in the memory that obstore gives."""
        import numpy as np

        dataset = self.job.dataset
        spans = [self.job.layout[name] for name in names]
        get = self._merged if dataset.tensor_bytes < 1 << 20 else self._one_by_one
        bodies = self._loop.run_until_complete(get(spans))
        return {
            name: np.frombuffer(body, dataset.dtype).reshape(dataset.shape)
            for name, body in zip(names, bodies, strict=True)
        }

    async def _merged(self, spans: list[tuple[int, int]]) -> list[Any]:
        return await self._obstore.get_ranges_async(
            self._store,
            self.job.zt_key,
            starts=[start for start, _ in spans],
            lengths=[length for _, length in spans],
        )

    async def _one_by_one(self, spans: list[tuple[int, int]]) -> list[Any]:
        gate = asyncio.Semaphore(AT_ONCE)

        async def get(start: int, length: int) -> Any:
            async with gate:
                return await self._obstore.get_range_async(
                    self._store, self.job.zt_key, start=start, length=length
                )

        return await asyncio.gather(*(get(*span) for span in spans))

    def _side_by_side(self, parts: list[tuple[int, memoryview]], streams: int) -> None:
        self._loop.run_until_complete(self._fill(parts, streams))

    async def _fill(self, parts: list[tuple[int, memoryview]], streams: int) -> None:
        import numpy as np

        gate = asyncio.Semaphore(streams)

        async def fetch(offset: int, view: memoryview) -> None:
            async with gate:
                body = await self._obstore.get_range_async(
                    self._store, self.job.zt_key, start=offset, length=len(view)
                )
                np.copyto(np.frombuffer(view, np.uint8), np.frombuffer(body, np.uint8))

        await asyncio.gather(*(fetch(*part) for part in parts))
