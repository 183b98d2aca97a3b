"""Write objects to S3 and its likes: multipart uploads through s3fs's client.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property, partial
from typing import Any
from urllib.parse import urlsplit

from ..errors import StoreError
from .copies import plan_copy
from .copying import CopyingParts, replaced
from .event_loop import run
from .failures import is_unclear, scrub, status_of
from .location import Location
from .part import Part
from .parts import COMMIT, rival
from .s3 import S3Source, call_s3
from .s3_parts import S3Parts
from .sink import CopyRefusedError
from .source import Source
from .strays import Strays

_R2 = "r2.cloudflarestorage.com"
_SMALLEST_EQUAL = 16 << 20
_MOST_EQUAL = 5000
"""Parts that are copied; as many are left for what is added."""

_KEPT = ("CacheControl", "ContentDisposition", "ContentLanguage", "ContentType")

_MOST_REACHED = 64 << 10
"""Bytes; the padding of version 2 is shorter."""

_REFUSALS = (400, 403, 405, 501)

_without_checksums: set[str] = set()
"""Stores that refuse uploads with a CRC-32C of each part."""


class S3Sink(CopyingParts):
    """A multipart upload that is completed at the end, or a single PUT for a small object.

    Parameters
    ----------
    base : Source, optional
        The version that is replaced: publishing needs it to be still there.
    create : bool
        Publishing fails where there is an object already.
    """

    in_flight = 6
    checks_parts = True  # until the upload is open

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
        self._create_only = create
        self._path = path
        self._etag = base.identity.etag if base else None
        self._upload: str | None = None
        self._parts: S3Parts | None = None
        self._checksums: dict[int, str] = {}
        bucket, key, _ = fs.split_path(path)
        self._object = {"Bucket": bucket, "Key": key}

    @cached_property
    def _client(self) -> Any:
        return run(self._fs, self._find_client)

    async def _find_client(self) -> Any:
        await self._fs.set_session()
        return await self._fs.get_s3(self._object["Bucket"])

    @property
    def _host(self) -> str:
        return urlsplit(str(self._client.meta.endpoint_url)).hostname or ""

    @property
    def fallback(self) -> str | None:
        """Why parts are sent through s3fs's client instead of plain requests, if they are."""
        return self._parts.fallback if self._parts else None

    def is_known_strict(self) -> bool:
        """Whether it is Amazon's own; other servers often ignore conditions."""
        return self._host.endswith((".amazonaws.com", ".amazonaws.com.cn"))

    @cached_property
    def _equal(self) -> int | None:
        """The size of all parts but the last, in R2, which is like S3 but for this."""
        return _equal_size(self.base) if self._host.endswith(_R2) else None

    def _call(self, method: str, **kwargs: Any) -> dict[str, Any]:
        return self._call_plain(method, **self._object, **kwargs)

    def _call_plain(self, method: str, **kwargs: Any) -> dict[str, Any]:
        return run(self._fs, partial(call_s3, self._fs, method, **kwargs))

    @property
    def _condition(self) -> dict[str, str]:
        if self._create_only:
            return {"IfNoneMatch": "*"}
        return {"IfMatch": self._etag} if self._etag else {}

    @property
    def has_equal_parts(self) -> bool:  # type: ignore[override]
        """Whether it is R2."""
        return self._equal is not None

    def size_of_part(self, number: int) -> int:
        """Return the bytes of a part (from 1) that is not the last."""
        return self._equal or super().size_of_part(number)

    def copies_from(self, source: Source) -> bool:
        """Whether it is an object that our client can read, and name the version of."""
        return (
            isinstance(source, S3Source)
            and source.identity.etag is not None
            and not self.refuses(source)
            and source.is_read_by(self._fs)
        )

    def copy(self, start: int, stop: int) -> None:
        """Take these bytes of the version that is replaced as `copy_from` does."""
        assert self.base is not None
        self.copy_from(self.base, start, stop)

    def copy_from(self, source: Source, start: int, stop: int) -> None:
        """Have the store copy these bytes, but for those that no part can be made of."""
        if self.refuses(source):
            self.send_again(source, start, stop)
            return
        start = self._reached_back(source, start)
        plan = plan_copy(start, stop, buffered=len(self.buffered), equal=self._equal)
        self.send_again(source, start, plan.first)
        if plan.copies and self.buffered:
            self._send()
        for first, last in plan.copies:
            self._copy(source, first, last)
        self.send_again(source, plan.last, stop)

    def _reached_back(self, source: Source, start: int) -> int:
        """Return where a copy has to begin so that what is buffered comes with it.

        Magic and padding lie before the first blob of most files. They are too short for a part,
        and would have to be filled up by what they come before.
        """
        waiting = self.buffered
        if 0 < len(waiting) <= min(start, _MOST_REACHED):
            before = memoryview(bytearray(len(waiting)))
            source.read_into(start - len(before), before)
            if before == waiting:
                self.size -= len(before)
                self._filling = None
                return start - len(before)
        return start

    def copy_part(self, number: int, source: Source, start: int, stop: int) -> str:
        """Have one part copied: https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html."""
        etag = source.identity.etag
        try:
            answer = self._call(
                "upload_part_copy",
                UploadId=self._upload,
                PartNumber=number,
                CopySource=source.named if isinstance(source, S3Source) else self._object,
                CopySourceRange=f"bytes={start}-{stop - 1}",
                **({} if etag is None else {"CopySourceIfMatch": etag}),
            )
        except Exception as error:
            raise _meaning(error, source) from error.__cause__
        copied = answer.get("CopyPartResult", {})
        if copied.get("ETag") is None:  # rclone takes it for another request
            raise CopyRefusedError("the store can't copy parts inside")
        if "ChecksumCRC32C" in copied:
            self._checksums[number] = copied["ChecksumCRC32C"]
        return str(copied["ETag"])

    @cached_property
    def _about(self) -> dict[str, Any]:
        """What the object says of itself: our commit id, and what the one before it said."""
        before = self._before() if self._etag else {}
        kept = {key: before[key] for key in _KEPT if key in before}
        return kept | {"Metadata": {**before.get("Metadata", {}), COMMIT: self.commit_id}}

    def _before(self) -> dict[str, Any]:
        try:
            return self._call("head_object")
        except Exception as error:
            if status_of(error) == 404:
                raise rival(self.url) from None
            raise

    def begin(self) -> None:
        """Open a multipart upload that carries our commit id."""
        self._strays = Strays(self._object["Bucket"], self._object["Key"])
        try:
            answer = self._create()
        except Exception as error:
            if is_unclear(error):
                self._strays.abort(self._call_plain)
            raise
        self._strays.opened(answer)
        self._upload = answer["UploadId"]
        self._parts = S3Parts(
            self._fs,
            {**self._object, "UploadId": answer["UploadId"]},
            timeout=self._client.meta.config.read_timeout,
            checked=self.checks_parts,
        )

    def _create(self) -> dict[str, Any]:
        """Open the upload, with a CRC-32C of each part where client and store have such."""
        # Since 2025 clients send some everywhere; this is how they are told that a store has none.
        calculated = getattr(self._client.meta.config, "request_checksum_calculation", None)
        if calculated != "when_required" and self._server not in _without_checksums:
            try:
                return self._call(
                    "create_multipart_upload", ChecksumAlgorithm="CRC32C", **self._about
                )
            except Exception as error:
                if status_of(error) not in (400, 501):
                    raise
        answer = self._call("create_multipart_upload", **self._about)
        self.checks_parts = False
        if calculated != "when_required":
            _without_checksums.add(self._server)
        return answer

    def send_part(self, part: Part) -> str:
        """Send one part."""
        assert self._parts is not None
        sent = self._parts.send(part)
        if "ChecksumCRC32C" in sent:
            self._checksums[part.number] = sent["ChecksumCRC32C"]
        return str(sent["ETag"])

    def publish(self, parts: list[str]) -> None:
        """Complete the upload."""
        self.check_sources()
        listed = [self._listed(number, etag) for number, etag in enumerate(parts, 1)]
        self._publish(
            "complete_multipart_upload",
            UploadId=self._upload,
            MultipartUpload={"Parts": listed},
        )
        self._strays.abort(self._call_plain, ours=self._upload)
        self._check_size()

    def _listed(self, number: int, etag: str) -> dict[str, Any]:
        part = {"PartNumber": number, "ETag": etag}
        checksum = self._checksums.get(number)
        return part if checksum is None else {**part, "ChecksumCRC32C": checksum}

    def _check_size(self) -> None:
        """Look at what is there, where we may."""
        answer: dict[str, Any] = {}
        with suppress(Exception):
            answer = self._call("head_object")
        if self._is_ours(answer) and answer["ContentLength"] != self.size:
            published = answer["ContentLength"]
            raise StoreError(f"sent {self.size} bytes, the store published {published}")

    def put_whole(self, data: memoryview) -> None:
        """Send the object in one PUT."""
        self._publish("put_object", Body=bytes(data), **self._about)

    def _publish(self, method: str, **kwargs: Any) -> None:
        if self._etag and not self.trusted and self._before().get("ETag") != self._etag:
            raise rival(self.url)
        try:
            self._call(method, **self._condition, **kwargs)
        except Exception as error:
            if status_of(error) == 409:  # a rival is publishing at this moment
                raise rival(self.url) from None
            raise
        self._fs.invalidate_cache(self._path)

    def is_published(self) -> bool:
        """Look for our commit id in the object's metadata, and at its size."""
        answer = self._call("head_object")
        return self._is_ours(answer) and bool(answer["ContentLength"] == self.size)

    def _is_ours(self, answer: dict[str, Any]) -> bool:
        return bool(answer.get("Metadata", {}).get(COMMIT) == self.commit_id)

    def discard(self) -> None:
        """Abort the multipart upload, so that its parts cost nothing."""
        try:
            self._call("abort_multipart_upload", UploadId=self._upload)
        except Exception as error:
            if status_of(error) != 404:  # it was completed or aborted before
                raise
        self._strays.abort(self._call_plain, ours=self._upload)


def _meaning(error: Exception, source: Source) -> Exception:
    """Return what the store's answer to a copy says."""
    status, answer = status_of(error), str(error.__cause__)
    if status == 412 or (status == 404 and "NoSuchUpload" not in answer):
        return replaced(source)
    if status in _REFUSALS:
        return CopyRefusedError(f"the store refuses to copy inside ({scrub(answer)})")
    return error


def _equal_size(base: Source | None) -> int:
    size = _SMALLEST_EQUAL
    while base is not None and base.identity.size > _MOST_EQUAL * size:
        size *= 2
    return size
