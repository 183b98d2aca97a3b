"""s3fs, through fsspec's public interface."""

from __future__ import annotations

from ..job import BUCKET, KEY_OF_OBJECT
from .peer import PART, STREAMS, Peer


class S3FS(Peer):
    """``pipe_file`` of all bytes, with parts side by side."""

    def connect(self) -> None:
        """Make a client that signs no payload."""
        import s3fs

        self._fs = s3fs.S3FileSystem(
            **self.s3fs_options,
            config_kwargs={
                "s3": {"payload_signing_enabled": False},
                "request_checksum_calculation": "when_required",
            },
        )
        self._path = f"{BUCKET}/{KEY_OF_OBJECT}"
        self._bytes = bytes(self.view)

    def upload(self) -> None:
        """Pipe."""
        self._fs.pipe_file(self._path, self._bytes, chunksize=PART, max_concurrency=STREAMS)


class S3FSStream(S3FS):
    """``open("wb")``, to which the tensors are written one by one."""

    def upload(self) -> None:
        """Write."""
        size = self.job.tensor_bytes
        with self._fs.open(self._path, "wb", block_size=PART) as file:
            for start in range(0, len(self.view), size):
                file.write(self.view[start : start + size])
