"""Send parts to S3: by plain requests to signed URLs, or through s3fs's client where it must be.

The client copies a part, hashes it for its signature, and again for a checksum. The signature of a
URL covers no payload; the store checks that by a CRC-32C, which costs next to nothing:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from ..crc import crc32c
from .event_loop import run
from .failures import Transient, scrub
from .lane import REFUSALS, HTTPStatusError
from .part import Part
from .put import put
from .s3 import call_s3
from .s3_urls import PartURLs
from .target import NoTarget

_HEADER = "x-amz-checksum-crc32c"
# Refusals of these bytes, which may have changed or stopped on their way, not of the request.
_PASSING = ("BadDigest", "XAmzContentChecksumMismatch", "RequestTimeout", "IncompleteBody")


class S3Parts:
    """The parts of one upload.

    Parameters
    ----------
    fs : s3fs.S3FileSystem
    upload : mapping
        ``Bucket``, ``Key``, and ``UploadId``.
    timeout : float
        Seconds without progress.
    checked : bool
        Whether the upload was begun with CRC-32C.

    Attributes
    ----------
    fallback : str or None
        Why the client sends them, if it does.
    """

    def __init__(
        self, fs: Any, upload: Mapping[str, str], *, timeout: float, checked: bool
    ) -> None:
        self.fallback: str | None = None
        self._fs = fs
        self._upload = upload
        self._urls = PartURLs(fs, upload)
        self._timeout = timeout
        self._checked = checked

    def send(self, sent: Part) -> dict[str, Any]:
        """Send one part and return how completing the upload names it."""
        part, data = self._named(sent), sent.data
        refusal = ""
        if self.fallback is None:
            try:
                return part | {"ETag": self._put(part, data)}
            except NoTarget as error:
                self.fallback = str(error)
            except HTTPStatusError as error:
                if any(code in str(error) for code in _PASSING):
                    raise Transient(f"the store refused the bytes ({error})") from None
                if error.status not in REFUSALS:
                    raise
                refusal = f"the server refused a plain request ({scrub(str(error))})"
        answer = run(self._fs, self._call, part, data)
        self.fallback = self.fallback or refusal  # the client was not refused
        return part | {"ETag": answer["ETag"]}

    def _named(self, sent: Part) -> dict[str, Any]:
        part = {"PartNumber": sent.number}
        if not self._checked:
            return part
        crc = crc32c(sent.data) if sent.crc is None else sent.crc
        return part | {"ChecksumCRC32C": base64.b64encode(crc.to_bytes(4, "big")).decode()}

    def _put(self, part: dict[str, Any], data: memoryview) -> str:
        headers = {_HEADER: part["ChecksumCRC32C"]} if self._checked else {}
        etag = put(self._urls.target(part, headers), data, timeout=self._timeout)["ETag"]
        if etag is None:
            raise NoTarget("the server's answers to plain requests have no ETag")
        return str(etag)

    async def _call(self, part: dict[str, Any], data: memoryview) -> dict[str, Any]:
        return await call_s3(self._fs, "upload_part", **self._upload, **part, Body=bytes(data))
