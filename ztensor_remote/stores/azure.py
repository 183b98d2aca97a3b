"""Blobs in Azure, through the client of adlfs."""

from __future__ import annotations

import io
import time
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote

from azure.core import MatchConditions
from azure.storage.blob import BlobSasPermissions, generate_blob_sas
from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy

from ..types import Bytes
from .answer import Answer, RangeNotSatisfiable, Receive, parse_content_range
from .control import Control
from .event_loop import run
from .failures import retried, status_of
from .limits import Limits
from .location import Location
from .remote import RemoteSource
from .scatter import Scatter
from .source import Identity
from .target import NoTarget, Target, environment_proxy
from .tls import tls_context

_VALID = 1800
"""Seconds."""

_AUDIENCE = "https://storage.azure.com/.default"
_SOME = 8

NOTHING_THERE = {"match_condition": MatchConditions.IfMissing}
"""What makes a request fail where there is a blob."""


class AzureSource(RemoteSource):
    """Ranges by Get Blob with If-Match.

    The client library asks for at most 32 MiB at once, and for what goes beyond in pieces of
    4 MiB; adlfs lets nobody choose.

    https://learn.microsoft.com/rest/api/storageservices/get-blob
    """

    def __init__(self, location: Location, fs: Any, path: str, limits: Limits) -> None:
        super().__init__(location, limits)
        self._fs = fs
        self._path = path
        _, _, self._version = fs.split_path(path)

    def open_tail(self, window: int) -> memoryview:
        """Fetch the last `window` bytes (or all), once the size is known: Azure has no suffixes."""
        control = Control(self.limits.deadline)
        head, answer = retried(
            lambda: self._collect(f"bytes=0-{_SOME - 1}", limit=_SOME, control=control),
            url=self.url,
            doing="open it",
            pause=control.pause,
        )
        if answer is None:
            self.identity = Identity(0)
            return memoryview(b"")
        self.identity = answer.identity
        size = self.identity.size
        if size == len(head):
            return head[max(0, size - window) :]
        tail = memoryview(bytearray(min(size, window)))
        self.read_into(size - len(tail), tail, control=control)
        return tail

    def is_read_by(self, fs: Any) -> bool:
        """Whether it is in the account that a filesystem is of, under the same credentials."""
        return bool(self._fs == fs)

    def sign(self, pin: Identity | None) -> Target:
        """Sign a URL for reading, or take a token, as the filesystem's credential allows."""
        return run(self._fs, self._sign)

    async def _sign(self) -> Target:
        async with blob_client(self._fs, self._path) as client:
            query, headers, valid = "", {"x-ms-version": client.api_version}, _VALID
            if isinstance(client.credential, SharedKeyCredentialPolicy):
                query = _signature(client, _VALID)
            elif hasattr(client.credential, "get_token"):
                token = await client.credential.get_token(_AUDIENCE)
                headers["Authorization"] = f"Bearer {token.token}"
                valid = token.expires_on - time.time()
            elif client.credential is not None:
                raise NoTarget("adlfs has a credential that only its own client can use")
            if self._version:
                query += f"&versionid={quote(self._version)}"
            joint = "&" if "?" in client.url else "?"
            return Target(
                f"{client.url}{joint}{query.lstrip('&')}" if query else client.url,
                headers=headers,
                tls=tls_context(True),
                proxy=environment_proxy(client.url),
                expires=time.monotonic() + valid / 2,
            )

    def get(
        self, range_header: str, receive: Receive, *, pin: Identity | None, control: Control
    ) -> None:
        """Send one Get Blob, more for a large range."""
        first, _, last = range_header.removeprefix("bytes=").partition("-")
        offset = int(first)
        try:
            length = int(last) + 1 - offset
            self.run(self._fs, partial(self._get, offset, length, pin), receive, control)
        except Exception as error:
            if status_of(error) == 416:
                raise RangeNotSatisfiable from None
            raise

    async def _get(self, offset: int, length: int, pin: Identity | None, receive: Receive) -> None:
        answers: list[Any] = []
        async with blob_client(self._fs, self._path) as client:
            stream = await client.download_blob(
                offset=offset,
                length=length,
                version_id=self._version,
                raw_response_hook=answers.append,
                **request_options(self._fs),
                **condition(pin),
            )
            # The library's own words are about what was asked for; these are the server's.
            headers = answers[-1].http_response.headers
            first, _, size = parse_content_range(headers["Content-Range"])
            span = f"bytes {first}-{first + stream.size - 1}/{size}"
            scatter = receive(Answer(stream.size, span, headers.get("ETag")))
            await stream.readinto(_Memory(scatter))


def blob_client(fs: Any, path: str) -> AbstractAsyncContextManager[Any]:
    """Return a client of one blob, on the connections of the filesystem."""
    container, key, _ = fs.split_path(path)
    client: AbstractAsyncContextManager[Any] = fs.service_client.get_blob_client(container, key)
    return client


def request_options(fs: Any) -> dict[str, Any]:
    """Return what each request takes: the filesystem's timeouts, and no retries but ours.

    The library's begin after 15 seconds and would multiply with ours.
    """
    return {"retry_total": 0, **getattr(fs, "_timeout_kwargs", {})}


def condition(version: Identity | None) -> dict[str, Any]:
    """Return what makes a request fail unless the blob is still of this version."""
    if version is None or version.etag is None:
        return {}
    return {"etag": version.etag, "match_condition": MatchConditions.IfNotModified}


def _signature(client: Any, seconds: int) -> str:
    signed: str = generate_blob_sas(
        client.account_name,
        client.container_name,
        client.blob_name,
        account_key=client.credential.account_key,
        permission=BlobSasPermissions(read=True),
        expiry=datetime.now(UTC) + timedelta(seconds=seconds),
    )
    return signed


class _Memory(io.RawIOBase):
    """A stream that the library can write into."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter

    def write(self, data: Bytes) -> int:  # type: ignore[override]
        """Take the next bytes."""
        self._scatter.write(data)
        return len(data)
