"""Write blobs to Azure: blocks that are staged side by side, then committed as a list.

https://learn.microsoft.com/rest/api/storageservices/put-block-list
"""

from __future__ import annotations

import io
import secrets
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, StorageErrorCode

from .azure import NOTHING_THERE, blob_client, condition, request_options
from .event_loop import run
from .location import Location
from .parts import COMMIT, PartedSink, rival
from .source import Identity

# Names of Azure's metadata are identifiers.
_COMMIT = COMMIT.replace("-", "_")

_RIVALS = (StorageErrorCode.INVALID_BLOCK_LIST, StorageErrorCode.BLOB_ALREADY_EXISTS)


class AzureSink(PartedSink):
    """Blocks that nobody sees until they are committed; small blobs are blocks too.

    Azure drops blocks that were not committed after a week, and has no request that does so
    earlier. Until then a writer whose block ids have another length is refused.

    Parameters
    ----------
    base : Identity, optional
        Version of the blob that is replaced: publishing needs that version to be still there.
    create : bool
        Publishing fails where there is a blob already.
    """

    def __init__(
        self,
        location: Location,
        fs: Any,
        path: str,
        *,
        base: Identity | None = None,
        create: bool = False,
    ) -> None:
        super().__init__(location.url)
        self._fs = fs
        self._path = path
        self._condition = NOTHING_THERE if create else condition(base)
        # Two writers may stage blocks of one blob at the same time.
        self._writer = secrets.token_hex(8)

    def begin(self) -> None:
        """Do nothing: blocks can be staged at any time."""

    def send_part(self, number: int, data: bytes) -> str:
        """Stage one block. All ids of a blob must have one length."""
        block = f"{self._writer}-{number:06d}"
        run(self._fs, self._stage, block, data)
        return block

    async def _stage(self, block: str, data: bytes) -> None:
        async with blob_client(self._fs, self._path) as client:
            await client.stage_block(
                block, io.BytesIO(data), length=len(data), **request_options(self._fs)
            )

    def put_whole(self, data: bytes) -> None:
        """Write a small blob as one block, so that it can be continued later."""
        self.publish([self.send_part(1, data)] if data else [])

    def publish(self, parts: list[str]) -> None:
        """Commit the blocks."""
        try:
            run(self._fs, self._commit, parts)
        except HttpResponseError as error:
            # Whoever commits a list drops the blocks that others have staged.
            if getattr(error, "error_code", None) in _RIVALS:
                raise rival(self.url) from None
            raise
        self._fs.invalidate_cache(self._path)

    async def _commit(self, blocks: list[str]) -> None:
        async with blob_client(self._fs, self._path) as client:
            await client.commit_block_list(
                [BlobBlock(block) for block in blocks],
                metadata={_COMMIT: self.commit_id},
                **request_options(self._fs),
                **self._condition,
            )

    def is_published(self) -> bool:
        """Look for our commit id in the blob's metadata, and at its size."""
        return run(self._fs, self._is_published)

    async def _is_published(self) -> bool:
        async with blob_client(self._fs, self._path) as client:
            properties = await client.get_blob_properties(**request_options(self._fs))
        ours = properties.metadata.get(_COMMIT) == self.commit_id
        return bool(ours and properties.size == self.size)

    def discard(self) -> None:
        """Do nothing: blocks that were not committed are not visible, and expire."""
