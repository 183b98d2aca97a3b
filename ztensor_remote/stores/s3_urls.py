"""Sign the URLs of an upload's parts: the first by s3fs's client, the others like it.

The client takes as long to sign a URL as a part takes to be sent. What differs from one part to
the next is its number and its checksum; the rest, and what the client may have added to it, stays.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from .event_loop import run
from .s3 import VALID, target_of
from .target import Target

_NUMBER = "partNumber"
_RENEWED_AFTER = 60.0
"""Seconds after which the client signs again: it alone renews credentials."""


@dataclass(frozen=True, slots=True)
class _Model:
    """A target that the client signed.

    Attributes
    ----------
    credentials : botocore.credentials.ReadOnlyCredentials or None
        Those that it signed with; None where others than the client can't do the same.
    """

    target: Target
    credentials: Any
    made: float

    def for_part(self, number: int, headers: Mapping[str, str]) -> Target:
        """Sign for another part."""
        from botocore.auth import S3SigV4QueryAuth
        from botocore.awsrequest import AWSRequest

        parts = urlsplit(self.target.url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        _, _, region, service, _ = query["X-Amz-Credential"].split("/")
        named = {key: text for key, text in query.items() if not key.startswith("X-Amz-")}
        text = urlencode(named | {_NUMBER: number}, quote_via=quote, safe="")
        request = AWSRequest("PUT", parts._replace(query=text).geturl(), headers)
        S3SigV4QueryAuth(self.credentials, service, region, expires=VALID).add_auth(request)
        return replace(self.target, url=request.url, headers=headers)


class PartURLs:
    """Targets of the parts of one upload; threads may share it.

    Parameters
    ----------
    fs : s3fs.S3FileSystem
    upload : mapping
        ``Bucket``, ``Key``, and ``UploadId``.
    """

    def __init__(self, fs: Any, upload: Mapping[str, str]) -> None:
        self._fs = fs
        self._upload = upload
        self._lock = threading.Lock()
        self._model: _Model | None = None

    def target(self, part: Mapping[str, Any], headers: Mapping[str, str]) -> Target:
        """Return where to send a part.

        Parameters
        ----------
        part : mapping
            ``PartNumber``, and ``ChecksumCRC32C`` where there is one.
        headers : mapping
            To send with it.

        Raises
        ------
        NoTarget
        """
        with self._lock:  # one of many threads waits for the client, the others use what it made
            model = self._model
            if model is None or time.monotonic() - model.made > _RENEWED_AFTER:
                self._model = run(self._fs, self._sign, part, headers)
                return self._model.target
        if model.credentials is None:
            return run(self._fs, self._sign, part, headers).target
        return model.for_part(part["PartNumber"], headers)

    async def _sign(self, part: Mapping[str, Any], headers: Mapping[str, str]) -> _Model:
        named = {**self._upload, **part}
        target = await target_of(self._fs, "upload_part", named, headers)
        client = await self._fs.get_s3(named["Bucket"])
        credentials = await _credentials(client)
        usable = credentials is not None and _is_of(target.url, credentials, headers)
        return _Model(target, credentials if usable else None, time.monotonic())


async def _credentials(client: Any) -> Any:
    keys = getattr(client._request_signer, "_credentials", None)
    return None if keys is None else await keys.get_frozen_credentials()


def _is_of(url: str, credentials: Any, headers: Mapping[str, str]) -> bool:
    """Whether a URL was signed with these credentials, and these headers, by version 4.

    Others are without a signature, or those of sessions (S3 Express).
    """
    query = dict(parse_qsl(urlsplit(url).query))
    return (
        query.get("X-Amz-Algorithm") == "AWS4-HMAC-SHA256"
        and query.get("X-Amz-Credential", "").partition("/")[0] == credentials.access_key
        and query.get("X-Amz-Security-Token") == credentials.token
        and set(query.get("X-Amz-SignedHeaders", "").split(";")) == {"host", *headers}
        and _NUMBER in query
    )
