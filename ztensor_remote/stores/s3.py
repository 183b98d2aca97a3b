"""Objects in S3 and its likes, through s3fs's client."""

from __future__ import annotations

from typing import Any

from .failures import Exhausted, status_of
from .location import Location
from .remote import Answer, RangeNotSatisfiable, Receive, RemoteSource, run
from .source import Identity

_CHUNK = 1 << 20


class S3Source(RemoteSource):
    """Ranges by GetObject with If-Match, streamed into the destination.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """

    def __init__(self, location: Location, fs: Any, path: str) -> None:
        super().__init__(location)
        self._fs = fs
        self._bucket, self._key, self._version = fs.split_path(path)

    def get(self, range_header: str, receive: Receive, *, pin: Identity | None) -> int:
        """Send one GetObject."""
        try:
            return run(self._fs, self._get, range_header, receive, pin)
        except Exception as error:
            if status_of(error) == 416:
                raise RangeNotSatisfiable from None
            raise

    async def _get(self, range_header: str, receive: Receive, pin: Identity | None) -> int:
        conditions = {"IfMatch": pin.etag} if pin and pin.etag else {}
        # Only a version that the caller named: it takes a permission (s3:GetObjectVersion) that
        # many readers of the object do not have.
        if self._version:
            conditions["VersionId"] = self._version
        answer = await call_s3(
            self._fs,
            "get_object",
            Bucket=self._bucket,
            Key=self._key,
            Range=range_header,
            **conditions,
        )
        stated = Answer(
            answer["ContentLength"],
            answer.get("ContentRange"),
            answer.get("ETag"),
            _version(answer),
        )
        async with answer["Body"] as body:
            destination = receive(stated)
            filled = 0
            while filled < len(destination) and (chunk := await body.read(_CHUNK)):
                destination[filled : filled + len(chunk)] = chunk
                filled += len(chunk)
        return filled


async def call_s3(fs: Any, method: str, **kwargs: Any) -> dict[str, Any]:
    """Call S3 through s3fs, whose client has retries of its own.

    They are the caller's to set (``config_kwargs={"retries": ...}``), and would multiply with ours.
    """
    try:
        answer: dict[str, Any] = await fs._call_s3(method, **kwargs)
    except Exception as error:
        raise Exhausted from error
    return answer


def _version(answer: dict[str, Any]) -> str | None:
    version = answer.get("VersionId")
    return None if version in (None, "null") else str(version)
