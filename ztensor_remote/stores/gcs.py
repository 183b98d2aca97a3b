"""Objects in Google Cloud Storage, through gcsfs's session and credentials."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlencode

from aiohttp import ClientResponseError

from .answer import RangeNotSatisfiable, Receive
from .control import Control
from .http import receive_body
from .limits import Limits
from .location import Location
from .remote import RemoteSource
from .source import Identity
from .target import NoTarget, Target
from .tls import tls_context

_LONGEST_REASON = 300
_TOKEN_USED = 240.0
"""Seconds. gcsfs renews tokens five minutes before they expire."""


class GCSSource(RemoteSource):
    """Ranges of one generation, by media download.

    https://cloud.google.com/storage/docs/json_api/v1/objects/get
    """

    pinned_by_url = True

    def __init__(self, location: Location, fs: Any, path: str, limits: Limits) -> None:
        super().__init__(location, limits)
        self._fs = fs
        self._path = path

    @property
    def named(self) -> tuple[str, str]:
        """Bucket and name."""
        bucket, name, _ = self._fs.split_path(self._path)
        return bucket, name

    def is_read_by(self, fs: Any) -> bool:
        """Whether it is in the store that a filesystem is of, under the same credentials."""
        return bool(self._fs == fs)

    def sign(self, pin: Identity | None) -> Target:
        """Return the URL of the pinned generation, and a fresh token."""
        if self._fs.session_kwargs:
            raise NoTarget("gcsfs has session_kwargs, which are for aiohttp")
        if getattr(self._fs, "_use_client_cert", False):
            raise NoTarget("gcsfs has a client certificate")
        url = self._fs.url(self._path, generation=pin and pin.version)
        query = urlencode(self._fs._get_params({}))
        return Target(
            f"{url}&{query}" if query else url,
            headers=self._fs._get_headers({}),
            tls=tls_context(True),
            expires=time.monotonic() + _TOKEN_USED,
            conditional=False,
            version_header="x-goog-generation",
        )

    def get(
        self, range_header: str, receive: Receive, *, pin: Identity | None, control: Control
    ) -> None:
        """Send one GET, for the pinned generation where there is one."""
        self.run(self._fs, partial(self._get, range_header, pin), receive, control)

    async def _get(self, range_header: str, pin: Identity | None, receive: Receive) -> None:
        url = self._fs.url(self._path, generation=pin and pin.version)
        # Objects stored with gzip would be unpacked on the way, and their ranges ignored.
        headers = {"Range": range_header, "Accept-Encoding": "identity"}
        async with exchange(self._fs, "GET", url, headers=headers) as answer:
            if answer.status == 416:
                raise RangeNotSatisfiable
            await check_status(answer)
            await receive_body(
                answer,
                receive,
                etag=answer.headers.get("ETag"),
                version=answer.headers.get("x-goog-generation"),
            )


@asynccontextmanager
async def exchange(
    fs: Any, method: str, url: str, *, headers: dict[str, str], data: Any = None, **query: str
) -> AsyncIterator[Any]:
    """Send one request as gcsfs would, and give its answer before the body.

    gcsfs's own call reads the whole body first, logs refusals, and repeats by itself for half a
    minute, however often it is itself repeated.
    """
    session = await fs._set_session()
    async with session.request(
        method,
        url,
        params=fs._get_params(query),
        headers=fs._get_headers(headers),
        data=data,
        timeout=fs.requests_timeout,
        allow_redirects=False,  # 308 means an upload that goes on
    ) as answer:
        yield answer


async def check_status(answer: Any) -> None:
    """Raise what the store says if it refused, with its reason."""
    if answer.status >= 400:
        raise ClientResponseError(
            answer.request_info,
            answer.history,
            status=answer.status,
            message=_reason(await answer.text()),
        )


def _reason(text: str) -> str:
    """Find the sentence in an error's JSON; proxies on the way answer in other forms."""
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return text[:_LONGEST_REASON]
