"""boto3: its transfer manager, and UploadPart in threads."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..job import BUCKET, KEY, KEY_OF_OBJECT, REGION, SECRET
from .peer import PART, STREAMS, Peer, parts_of


class Memory(io.RawIOBase):
    """A file of what lies in memory."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go elsewhere."""
        self._at = offset + (0, self._at, len(self._view))[whence]
        return self._at

    def tell(self) -> int:
        """Say where it is."""
        return self._at

    def read(self, size: int | None = -1) -> Any:
        """Return a piece, without copying it."""
        end = len(self._view) if size is None or size < 0 else self._at + size
        piece = self._view[self._at : end]
        self._at += len(piece)
        return piece


class Boto3(Peer):
    """``upload_fileobj``, whose TransferConfig sends parts of 8 MiB on four threads."""

    def connect(self) -> None:
        """Make a client that signs no payload and computes no checksum."""
        import boto3
        from boto3.s3.transfer import TransferConfig
        from botocore.config import Config

        self._client = boto3.client(
            "s3",
            endpoint_url=self.job.url,
            region_name=REGION,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            config=Config(
                s3={"addressing_style": "path", "payload_signing_enabled": False},
                request_checksum_calculation="when_required",
            ),
        )
        self._config = TransferConfig(multipart_chunksize=PART, max_concurrency=STREAMS)
        self._pool = ThreadPoolExecutor(STREAMS)

    def prepare(self, round: str) -> None:
        """Make a file, which boto3 closes; it wants one that gives it bytes."""
        self._file = io.BytesIO(self.view)

    def upload(self) -> None:
        """Upload."""
        self._client.upload_fileobj(self._file, BUCKET, KEY_OF_OBJECT, Config=self._config)


class Boto3Threads(Boto3):
    """``upload_part`` in four threads, of files that copy nothing."""

    def prepare(self, round: str) -> None:
        """Nothing."""

    def upload(self) -> None:
        """Upload part by part."""
        named = {"Bucket": BUCKET, "Key": KEY_OF_OBJECT}
        named["UploadId"] = self._client.create_multipart_upload(**named)["UploadId"]

        def send(part: tuple[int, memoryview]) -> dict[str, Any]:
            number, view = part
            body = Memory(view)
            answer = self._client.upload_part(**named, PartNumber=number, Body=body)
            return {"PartNumber": number, "ETag": answer["ETag"]}

        parts = list(self._pool.map(send, parts_of(self.view)))
        self._client.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
