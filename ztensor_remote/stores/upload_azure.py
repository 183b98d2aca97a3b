"""Write blobs to Azure: blocks that are staged side by side, then committed as a list.

https://learn.microsoft.com/rest/api/storageservices/put-block-list
"""

from __future__ import annotations

import io
import secrets
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, BlockState, StorageErrorCode

from .azure import NOTHING_THERE, AzureSource, blob_client, condition, request_options
from .copying import CopyingParts, replaced
from .event_loop import run
from .failures import scrub
from .location import Location
from .part import Part
from .parts import COMMIT, rival
from .sink import CopyRefusedError
from .source import Source
from .target import NoTarget, Target

# Names of Azure's metadata are identifiers.
_COMMIT = COMMIT.replace("-", "_")

_RIVALS = (StorageErrorCode.INVALID_BLOCK_LIST, StorageErrorCode.BLOB_ALREADY_EXISTS)

_NUMBER = 7
_SHORTEST_ID = _NUMBER + 8
_COPY = 100 << 20
"""Bytes that one block takes of another blob at most, in the older versions of the service."""

_REFUSALS = (400, 401, 403, 405, 409, 501)
_MOST_KEPT = 45_000
"""Blocks, of the 50,000 that a blob may have; with more it is written anew."""


class AzureSink(CopyingParts):
    """Blocks that nobody sees until they are committed; small blobs are blocks too.

    Azure drops blocks that were not committed after a week, and has no request that does so
    earlier. Until then a writer whose block ids have another length is refused.

    Parameters
    ----------
    base : Source, optional
        The version that is replaced: publishing needs it to be still there.
    create : bool
        Publishing fails where there is a blob already.
    """

    def __init__(
        self,
        location: Location,
        fs: Any,
        path: str,
        *,
        base: Source | None = None,
        create: bool = False,
    ) -> None:
        super().__init__(location, base=base)
        self._fs = fs
        self._path = path
        self._condition = NOTHING_THERE if create else condition(base.identity if base else None)
        # Two writers may stage blocks of one blob at the same time.
        self._writer = secrets.token_hex(8)
        self._kept: list[str] = []

    def copy(self, start: int, stop: int) -> None:
        """Keep the blocks of the blob, where these bytes are all of them and come first."""
        assert self.base is not None
        whole = (start, stop) == (0, self.base.identity.size) and not self.size
        if whole and self._run(self._keep_blocks, doing="list its blocks"):
            return
        take = self.copy_from if self.copies_from(self.base) else self.send_again
        take(self.base, start, stop)

    def _keep_blocks(self) -> bool:
        assert self.base is not None
        try:
            blocks = run(self._fs, self._committed)
        except UnicodeDecodeError:
            return False  # their ids are no text, and the library knows no others
        lengths = {len(block.id) for block in blocks}
        if sum(block.size for block in blocks) != self.base.identity.size:
            return False  # a blob that was written by a single request has none
        if len(lengths) != 1 or min(lengths) < _SHORTEST_ID or len(blocks) > _MOST_KEPT:
            return False
        # All ids of a blob must have one length.
        self._writer = secrets.token_hex(max(lengths))[: max(lengths) - _NUMBER]
        self._kept = [block.id for block in blocks]
        self.size = self.base.identity.size
        return True

    async def _committed(self) -> list[BlobBlock]:
        async with blob_client(self._fs, self._path) as client:
            committed, _ = await client.get_block_list("committed", **request_options(self._fs))
        return list(committed)

    def begin(self) -> None:
        """Do nothing: blocks can be staged at any time."""

    def copies_from(self, source: Source) -> bool:
        """Whether it is a blob that our client can read, and name the version of."""
        return (
            isinstance(source, AzureSource)
            and source.identity.etag is not None
            and not self.refuses(source)
            and source.is_read_by(self._fs)
        )

    def copy_from(self, source: Source, start: int, stop: int) -> None:
        """Have the store copy these bytes into blocks of their own, which may have any size."""
        if self.refuses(source):
            self.send_again(source, start, stop)
            return
        if self.buffered:
            self._send()
        for first in range(start, stop, _COPY):
            self._copy(source, first, min(first + _COPY, stop))

    def copy_part(self, number: int, source: Source, start: int, stop: int) -> str:
        """Have one block copied from a blob.

        https://learn.microsoft.com/rest/api/storageservices/put-block-from-url
        """
        assert isinstance(source, AzureSource)
        block = self._block(number)
        try:
            run(self._fs, self._stage_copy, block, source.sign(None), source, start, stop)
        except NoTarget as error:
            raise CopyRefusedError(str(error)) from None
        except HttpResponseError as error:
            if error.status_code in (404, 412):
                raise replaced(source) from None
            if error.status_code in _REFUSALS:
                reason = scrub(str(error.message).partition("\n")[0])
                raise CopyRefusedError(f"the store refuses to copy inside ({reason})") from None
            raise
        return block

    async def _stage_copy(
        self, block: str, target: Target, source: Source, start: int, stop: int
    ) -> None:
        async with blob_client(self._fs, self._path) as client:
            await client.stage_block_from_url(
                block,
                target.url,
                start,
                stop - start,
                source_authorization=target.headers.get("Authorization"),
                headers={"x-ms-source-if-match": source.identity.etag},
                **request_options(self._fs),
            )

    def _block(self, number: int) -> str:
        """Return the id of a block. All of a blob must have one length."""
        return f"{self._writer}-{number:06d}"

    def send_part(self, part: Part) -> str:
        """Stage one block."""
        block = self._block(part.number)
        run(self._fs, self._stage, block, part.data)
        return block

    async def _stage(self, block: str, data: memoryview) -> None:
        async with blob_client(self._fs, self._path) as client:
            await client.stage_block(
                block, io.BytesIO(data), length=len(data), **request_options(self._fs)
            )

    def put_whole(self, data: memoryview) -> None:
        """Write a small blob as one block, so that it can be continued later."""
        self.publish([self.send_part(Part(1, data))] if data else [])

    def publish(self, parts: list[str]) -> None:
        """Commit the blocks."""
        self.check_sources()
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
            kept: dict[str, Any] = {}
            metadata = {}
            if self.base is not None:  # what the blob said of itself
                before = await client.get_blob_properties(**request_options(self._fs))
                kept, metadata = {"content_settings": before.content_settings}, before.metadata
                before.content_settings.content_md5 = None
            await client.commit_block_list(
                [
                    *(BlobBlock(block, BlockState.COMMITTED) for block in self._kept),
                    *(BlobBlock(block, BlockState.UNCOMMITTED) for block in blocks),
                ],
                metadata={**metadata, _COMMIT: self.commit_id},
                **kept,
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
