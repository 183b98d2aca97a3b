"""Have S3 copy ranges of its objects into an upload.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import NotFoundError, ObjectChangedError
from .failures import scrub, status_of
from .parts import replaced
from .s3 import S3Source
from .sink import CopyRefusedError
from .source import Source

_REFUSALS = (400, 403, 405, 501)

_refusing: set[tuple[str, str]] = set()
"""Stores that don't copy parts, with the bucket that they would be copied from."""


class S3Copies:
    """The parts of one upload that the store copies.

    Parameters
    ----------
    call : callable
        Calls the client, for the object that is written.
    written : mapping
        That object, in the client's words.
    base : Source or None
        The version of it that is replaced.
    server : str

    Attributes
    ----------
    sources : list of Source
        What a part was copied from.
    """

    def __init__(
        self,
        call: Callable[..., dict[str, Any]],
        written: Mapping[str, str],
        base: Source | None,
        server: str,
    ) -> None:
        self.sources: list[Source] = []
        self._call = call
        self._written = written
        self._base = base
        self._server = server

    def make(
        self, source: Source, upload: str, number: int, start: int, stop: int
    ) -> dict[str, Any]:
        """Have one part copied, and return how completing the upload names it.

        Raises
        ------
        CopyRefusedError, ObjectChangedError
        """
        named, etag = self._named(source), source.identity.etag
        try:
            answer = self._call(
                "upload_part_copy",
                UploadId=upload,
                PartNumber=number,
                CopySource=named,
                CopySourceRange=f"bytes={start}-{stop - 1}",
                **({} if etag is None else {"CopySourceIfMatch": etag}),
            )
        except Exception as error:
            raise self._meaning(error, source) from error.__cause__
        part: dict[str, Any] = answer.get("CopyPartResult", {})
        if part.get("ETag") is None:  # rclone takes it for another request
            raise self._refused(source, "the store can't copy parts inside")
        return part

    def _named(self, source: Source) -> Mapping[str, str]:
        return source.named if isinstance(source, S3Source) else self._written

    def are_refused(self, source: Source) -> bool:
        """Whether the store is known not to copy from the bucket of this object."""
        return (self._server, self._named(source)["Bucket"]) in _refusing

    def _refused(self, source: Source, reason: str) -> CopyRefusedError:
        _refusing.add((self._server, self._named(source)["Bucket"]))
        return CopyRefusedError(reason)

    def _meaning(self, error: Exception, source: Source) -> Exception:
        status, answer = status_of(error), str(error.__cause__)
        if status == 412 or (status == 404 and "NoSuchUpload" not in answer):
            return replaced(source)
        if status in _REFUSALS:
            return self._refused(source, f"the store refuses to copy inside ({scrub(answer)})")
        return error

    def check_unchanged(self, *, strict: bool) -> None:
        """Look at the versions that were copied, unless the store keeps the condition.

        Raises
        ------
        ObjectChangedError
        """
        for source in self.sources:
            if not strict and source is not self._base:
                try:
                    source.read_into(0, memoryview(bytearray(1)))
                except (ObjectChangedError, NotFoundError):
                    raise replaced(source) from None
