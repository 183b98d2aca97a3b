"""Write objects to Google Cloud Storage: resumable uploads with gcsfs's session and credentials.

https://cloud.google.com/storage/docs/resumable-uploads
"""

from __future__ import annotations

import asyncio
import io
import json
import secrets
from contextlib import suppress
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlsplit

from aiohttp import ClientResponseError

from ..errors import StoreError
from .copying import CopyingUpload
from .event_loop import run
from .failures import Transient, scrub
from .gcs import GCSSource, check_status, exchange
from .location import Location
from .part import Part
from .parts import COMMIT, part_size, rival
from .sink import CopyRefusedError
from .source import Source

_UNFINISHED = 308
_CANCELLED = 499

TAIL = ".ztensor-tail"
"""End of the names of what is sent to be joined with objects that are there."""

_KEPT = ("cacheControl", "contentDisposition", "contentLanguage", "contentType")

_SMALLEST_COPY = 1 << 20
"""Bytes; fewer are sent again, for joining takes two requests more."""

_MOST_JOINED = 32
"""Objects, by one request."""

_REFUSALS = (400, 403, 405, 501)

_Component = dict[str, str | None]
"""Name and, where others may replace it, generation of an object that is joined with others."""


class GCSSink(CopyingUpload):
    """A resumable upload that is finished at the end, or a single request for a small object.

    Objects that are there already can come before it, and what is sent between them: all is then
    joined inside the store, from pieces under names of their own.

    Parameters
    ----------
    base : Source, optional
        The version that is replaced: publishing needs its generation to be still there.
    create : bool
        Publishing fails where there is an object already.
    """

    # A session takes bytes in their order only.
    has_equal_parts = True  # each must be a multiple of 256 KiB
    in_flight = 1
    copies_whole = True

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
        self._bucket, self._key, _ = fs.split_path(path)
        self._objects = f"/storage/v1/b/{quote(self._bucket, safe='')}/o"
        self._generation = base.identity.version if base else None
        generation = "0" if create else self._generation
        self._condition = {} if generation is None else {"ifGenerationMatch": generation}
        self._session = ""
        self._stored = 0
        self._last = b""
        self._joined: list[_Component] = []  # which what is sent now comes behind
        self._tail: str | None = None
        self._temporaries: list[str] = []

    def is_known_strict(self) -> bool:
        """Whether it is Google's own; emulators are lax."""
        return str(urlsplit(self._fs._location).hostname).endswith(".googleapis.com")

    @property
    def _resource(self) -> dict[str, Any]:
        return (
            {"name": self._tail, "metadata": {}}
            if self._tail
            else {"name": self._key, **self._about}
        )

    @cached_property
    def _about(self) -> dict[str, Any]:
        """What the object says of itself: our commit id, and what the one before it said."""
        before = self._before() if self.base else {}
        kept = {key: before[key] for key in _KEPT if key in before}
        return kept | {"metadata": {**before.get("metadata", {}), COMMIT: self.commit_id}}

    @property
    def _upload_condition(self) -> dict[str, str]:
        return {} if self._tail else self._condition

    def copy(self, start: int, stop: int) -> None:
        """Have the store put the object before what is sent, if these bytes are all of it."""
        assert self.base is not None
        whole = (start, stop) == (0, self.base.identity.size) and not self.size
        if whole and stop >= _SMALLEST_COPY and self._generation is not None:
            self._continue({"name": self._key, "generation": self._generation}, stop)
        else:
            self.send_again(self.base, start, stop)

    def copies_from(self, source: Source) -> bool:
        """Whether it is an object of the bucket that our client can read, of a known generation."""
        return (
            isinstance(source, GCSSource)
            and source.identity.version is not None
            and source.named[0] == self._bucket
            and not self.refuses(source)
            and source.is_read_by(self._fs)
        )

    def copy_from(self, source: Source, start: int, stop: int) -> None:
        """Have the store put an object behind what was sent, if these bytes are all of it."""
        whole = (start, stop) == (0, source.identity.size)
        if not whole or self._begun or not self.copies_from(source):
            self.send_again(source, start, stop)
            return
        assert isinstance(source, GCSSource)
        if self.buffered:
            self._send_piece()
        self._continue({"name": source.named[1], "generation": source.identity.version}, stop)
        self._copied_from.append(source)

    def _send_piece(self) -> None:
        """Send what waits to be sent as an object that others are put behind."""
        data, piece = self.buffered, self._name_temporary()
        about = {"name": piece, "metadata": {}}
        self._run(lambda: run(self._fs, self._put_whole, data, about, {}), doing="upload a piece")
        self._join_with({"name": piece}, self.size - len(data))
        self._filling = None

    def _continue(self, component: _Component, length: int) -> None:
        """Go on behind an object: what is sent from now on is joined with it at the end."""
        self._join_with(component, self.size)
        self.size += length
        if self._tail is None:
            self._tail = self._name_temporary()

    def _join_with(self, component: _Component, size: int) -> None:
        """Put one more behind `size` bytes; before they are too many, those there are joined."""
        if len(self._joined) == _MOST_JOINED - 1:
            name, joined = self._name_temporary(), self._joined
            self._run(lambda: self._compose(name, joined, {}, size, {}), doing="join its pieces")
            self._joined = [{"name": name}]
        self._joined.append(component)

    def _name_temporary(self) -> str:
        self._temporaries.append(f"{self._key}.{secrets.token_hex(16)}{TAIL}")
        return self._temporaries[-1]

    def _before(self) -> dict[str, Any]:
        try:
            return run(self._fs, self._look)
        except ClientResponseError as error:
            if error.status == 404:
                raise rival(self.url) from None
            raise

    def begin(self) -> None:
        """Open an upload session; GCS drops it after a week."""
        self._session = run(self._fs, self._open_session, self._resource)

    async def _open_session(self, resource: dict[str, Any]) -> str:
        async with exchange(
            self._fs,
            "POST",
            f"{self._fs._location}/upload{self._objects}",
            headers={"Content-Type": "application/json"},
            data=json.dumps(resource).encode(),
            uploadType="resumable",
            name=resource["name"],
            **self._upload_condition,
        ) as answer:
            await check_status(answer)
            return str(answer.headers["Location"])

    def send_part(self, part: Part) -> str:
        """Send a full part; keep the last one back, for its length must finish the upload."""
        if len(part.data) < part_size(part.number):
            self._last = bytes(part.data)
        else:
            self._store(part.data, total=None)
            self._stored += len(part.data)
        return ""

    def publish(self, parts: list[str]) -> None:
        """Send what was kept back, with the total that finishes the upload."""
        self._check_unchanged()
        self.check_sources()
        self._store(self._last, total=self._stored + len(self._last))
        self._join()

    def _store(self, data: bytes | memoryview, *, total: int | None) -> None:
        """Send the bytes that follow those stored; finish where there is a total.

        Any failure may be answered by sending the same bytes again: GCS ignores bytes at offsets
        that it has (https://cloud.google.com/storage/docs/performing-resumable-uploads).
        """
        rest = memoryview(data)
        start = self._stored
        while True:
            kept = run(self._fs, self._put, start, rest, total)
            if kept is None or (total is None and kept == start + len(rest)):
                return
            if kept <= start:
                raise Transient(f"the store has {kept} bytes where {start} were sent before")
            rest, start = rest[kept - start :], kept

    async def _put(self, start: int, data: memoryview, total: int | None) -> int | None:
        """Send one chunk and return how many bytes of the object are stored, None for all."""
        size = "*" if total is None else total
        positions = f"{start}-{start + len(data) - 1}" if data else "*"
        async with exchange(
            self._fs,
            "PUT",
            self._session,
            headers={"Content-Range": f"bytes {positions}/{size}"},
            data=io.BytesIO(data),
        ) as answer:
            if answer.status == _UNFINISHED:
                _, _, last = answer.headers.get("Range", "").rpartition("-")
                return int(last) + 1 if last else 0
            await check_status(answer)
            self._check_size(await answer.json(), total)
            return None

    def put_whole(self, data: memoryview) -> None:
        """Send the object in one request."""
        self._check_unchanged()
        self.check_sources()
        run(self._fs, self._put_whole, data, self._resource, self._upload_condition)
        self._join()

    def _check_unchanged(self) -> None:
        """Look at the generation, where the store may not keep the condition."""
        if self._generation is None or self.trusted:
            return
        if str(self._before().get("generation")) != self._generation:
            raise rival(self.url)

    def _join(self) -> None:
        """Put the tail that was sent behind what it continues."""
        if self._tail is not None:
            joined: list[_Component] = [*self._joined, {"name": self._tail}]
            self._compose(self._key, joined, self._about, self.size, self._condition)
        self._fs.invalidate_cache(self._path)

    def _compose(
        self,
        name: str,
        joined: list[_Component],
        about: dict[str, Any],
        size: int,
        condition: dict[str, str],
    ) -> None:
        """Join objects inside the store; they must be of the generations that are named."""
        try:
            run(self._fs, self._compose_all, name, joined, about, size, condition)
        except ClientResponseError as error:
            if error.status == 404:  # a generation is gone
                self.find_replaced()
                if self.base is not None:
                    raise rival(self.url) from None
            if error.status in _REFUSALS and self._copied_from:
                for source in self._copied_from:
                    self.remember_refusal(source)
                reason = f"the store refuses to join objects ({scrub(error.message)})"
                raise CopyRefusedError(reason) from None
            raise

    async def _compose_all(
        self,
        name: str,
        joined: list[_Component],
        about: dict[str, Any],
        size: int,
        condition: dict[str, str],
    ) -> None:
        """Send the request: https://cloud.google.com/storage/docs/composing-objects."""
        async with exchange(
            self._fs,
            "POST",
            f"{self._url_of(name)}/compose",
            headers={"Content-Type": "application/json"},
            data=json.dumps({"sourceObjects": joined, "destination": about}).encode(),
            **condition,
        ) as answer:
            await check_status(answer)
            self._check_size(await answer.json(), size)

    def _url_of(self, name: str) -> str:
        return f"{self._fs._location}{self._objects}/{quote(name, safe='')}"

    def _stop(self) -> None:
        """Delete the pieces as well; where that fails `ztensor gc` finds them."""
        super()._stop()
        temporaries, self._temporaries = self._temporaries, []
        if temporaries:
            with suppress(Exception):
                run(self._fs, self._delete_all, temporaries)

    async def _delete_all(self, names: list[str]) -> None:
        await asyncio.gather(*map(self._delete, names), return_exceptions=True)

    async def _delete(self, name: str) -> None:
        async with exchange(self._fs, "DELETE", self._url_of(name), headers={}) as answer:
            await check_status(answer)

    async def _put_whole(
        self, data: memoryview, resource: dict[str, Any], condition: dict[str, str]
    ) -> None:
        boundary = secrets.token_hex(16)
        separator = f"\r\n--{boundary}\r\nContent-Type: "
        body = io.BytesIO()
        body.write(f"{separator}application/json\r\n\r\n".encode())
        body.write(json.dumps(resource).encode())
        kind = resource.get("contentType", "application/octet-stream")
        body.write(f"{separator}{kind}\r\n\r\n".encode())
        body.write(data)
        body.write(f"\r\n--{boundary}--\r\n".encode())
        body.seek(0)
        async with exchange(
            self._fs,
            "POST",
            f"{self._fs._location}/upload{self._objects}",
            headers={"Content-Type": f"multipart/related; boundary={boundary}"},
            data=body,
            uploadType="multipart",
            **condition,
        ) as answer:
            await check_status(answer)
            self._check_size(await answer.json(), len(data))

    def _check_size(self, resource: dict[str, Any], total: int | None) -> None:
        if total is None or int(resource["size"]) != total:
            raise StoreError(f"sent {total} bytes, the store published {resource['size']}")

    def is_published(self) -> bool:
        """Look for our commit id in the object's metadata, and at its size."""
        resource = run(self._fs, self._look)
        ours = resource.get("metadata", {}).get(COMMIT) == self.commit_id
        return bool(ours and int(resource["size"]) == self.size)

    async def _look(self) -> dict[str, Any]:
        async with exchange(self._fs, "GET", self._url_of(self._key), headers={}) as answer:
            await check_status(answer)
            resource: dict[str, Any] = await answer.json()
        return resource

    def discard(self) -> None:
        """Cancel the session."""
        run(self._fs, self._cancel)

    async def _cancel(self) -> None:
        async with exchange(self._fs, "DELETE", self._session, headers={}) as answer:
            if answer.status not in (_CANCELLED, 404, 410):  # 404 and 410: it is gone already
                await check_status(answer)
