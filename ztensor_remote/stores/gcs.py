"""Objects in Google Cloud Storage, through gcsfs's session and credentials."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientResponseError

from .http import receive_body
from .location import Location
from .remote import RangeNotSatisfiable, Receive, RemoteSource, run
from .source import Identity

_LONGEST_REASON = 300


class GCSSource(RemoteSource):
    """Ranges of one generation, by media download.

    https://cloud.google.com/storage/docs/json_api/v1/objects/get
    """

    def __init__(self, location: Location, fs: Any, path: str) -> None:
        super().__init__(location)
        self._fs = fs
        self._path = path

    def get(self, range_header: str, receive: Receive, *, pin: Identity | None) -> int:
        """Send one GET, for the pinned generation where there is one."""
        return run(self._fs, self._get, range_header, receive, pin)

    async def _get(self, range_header: str, receive: Receive, pin: Identity | None) -> int:
        url = self._fs.url(self._path, generation=pin and pin.version)
        # Objects stored with gzip would be unpacked on the way, and their ranges ignored.
        headers = {"Range": range_header, "Accept-Encoding": "identity"}
        async with exchange(self._fs, "GET", url, headers=headers) as answer:
            if answer.status == 416:
                raise RangeNotSatisfiable
            if answer.status == 404 and pin:  # this generation was replaced or deleted
                raise self._changed()
            await check_status(answer)
            return await receive_body(
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
