"""Write objects to S3 and its likes: multipart uploads through s3fs's client.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

from ..errors import UnsupportedError
from .event_loop import run
from .failures import is_unclear, status_of
from .location import Location
from .parts import COMMIT, PartedSink, rival
from .s3 import call_s3
from .source import Identity
from .strays import Strays

LARGEST_COPY = 5 << 30


class S3Sink(PartedSink):
    """A multipart upload that is completed at the end, or a single PUT for a small object.

    Parameters
    ----------
    base : Identity, optional
        Version of the object to continue: its bytes become the first parts, copied inside the
        store, and publishing needs that version to be still there.
    create : bool
        Publishing fails where there is an object already.
    """

    smallest_copy = 5 << 20
    """A part that is not the last must have this many bytes."""

    def __init__(
        self,
        location: Location,
        fs: Any,
        path: str,
        *,
        base: Identity | None = None,
        create: bool = False,
    ) -> None:
        super().__init__(location.url)
        self._fs = fs
        self._create_only = create
        self._path = path
        self._base = base
        self._upload: str | None = None
        bucket, key, _ = fs.split_path(path)
        self._object = {"Bucket": bucket, "Key": key}
        self._copied: list[str] = []

    def _call(self, method: str, **kwargs: Any) -> dict[str, Any]:
        return self._call_plain(method, **self._object, **kwargs)

    def _call_plain(self, method: str, **kwargs: Any) -> dict[str, Any]:
        return run(self._fs, partial(call_s3, self._fs, method, **kwargs))

    @property
    def _condition(self) -> dict[str, str]:
        if self._create_only:
            return {"IfNoneMatch": "*"}
        return {"IfMatch": self._base.etag} if self._base and self._base.etag else {}

    def copy_base(self) -> None:
        """Make the parts of the version that is continued, inside the store."""
        assert self._base is not None
        self._begin()
        ranges = copy_ranges(self._base.size)
        self.size = self._base.size
        self._first = len(ranges) + 1
        for number, (start, stop) in enumerate(ranges, 1):
            copy = partial(self._copy, number, start, stop)
            self._copied.append(self._run(copy, doing="copy its bytes"))

    def _copy(self, number: int, start: int, stop: int) -> str:
        answer = self._call(
            "upload_part_copy",
            UploadId=self._upload,
            PartNumber=number,
            CopySource=self._object,
            CopySourceRange=f"bytes={start}-{stop - 1}",
            **{f"CopySource{key}": value for key, value in self._condition.items()},
        )
        etag = answer.get("CopyPartResult", {}).get("ETag")
        if etag is None:  # rclone takes it for another request
            raise UnsupportedError("the store can't copy parts inside", url=self.url)
        return str(etag)

    def begin(self) -> None:
        """Open a multipart upload that carries our commit id."""
        self._strays = Strays(self._object["Bucket"], self._object["Key"])
        try:
            answer = self._call("create_multipart_upload", Metadata={COMMIT: self.commit_id})
        except Exception as error:
            if is_unclear(error):
                self._strays.abort(self._call_plain)
            raise
        self._strays.opened(answer)
        self._upload = answer["UploadId"]

    def send_part(self, number: int, data: bytes) -> str:
        """Send one part."""
        answer = self._call("upload_part", UploadId=self._upload, PartNumber=number, Body=data)
        return str(answer["ETag"])

    def publish(self, parts: list[str]) -> None:
        """Complete the upload."""
        listed = [
            {"PartNumber": number, "ETag": etag}
            for number, etag in enumerate(self._copied + parts, 1)
        ]
        self._publish(
            "complete_multipart_upload",
            UploadId=self._upload,
            MultipartUpload={"Parts": listed},
        )
        self._strays.abort(self._call_plain, ours=self._upload)

    def put_whole(self, data: bytes) -> None:
        """Send the object in one PUT."""
        self._publish("put_object", Body=data, Metadata={COMMIT: self.commit_id})

    def _publish(self, method: str, **kwargs: Any) -> None:
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
        ours = answer.get("Metadata", {}).get(COMMIT) == self.commit_id
        return bool(ours and answer["ContentLength"] == self.size)

    def discard(self) -> None:
        """Abort the multipart upload, so that its parts cost nothing."""
        try:
            self._call("abort_multipart_upload", UploadId=self._upload)
        except Exception as error:
            if status_of(error) != 404:  # it was completed or aborted before
                raise
        self._strays.abort(self._call_plain, ours=self._upload)


def copy_ranges(size: int) -> list[tuple[int, int]]:
    """Return ranges that cover `size` bytes, each of 5 MiB to 5 GiB, as even as can be."""
    count = -(-size // LARGEST_COPY)
    edges = [size * index // count for index in range(count + 1)]
    return list(pairwise(edges))
