"""The Amazon S3 Connector for PyTorch, as a mover of bytes."""

from __future__ import annotations

import os

from ..job import BUCKET, KEY, REGION, SECRET
from .ranges import Ranges


class S3Torch(Ranges):
    """Ranged readers in threads, each filling its part of memory."""

    packages = ("s3torchconnector", "torch", "numpy")
    trusts = False

    def connect(self) -> None:
        """Make a client, which takes its credentials from the environment."""
        os.environ |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        from s3torchconnector import S3ClientConfig, S3ReaderConstructor
        from s3torchconnector._s3client import S3Client

        config = S3ClientConfig(force_path_style=True)
        self._client = S3Client(REGION, endpoint=self.job.place.url, s3client_config=config)
        self._reader = S3ReaderConstructor.range_based(buffer_size=0)

    def fetch(self, offset: int, view: memoryview) -> None:
        """Read one range."""
        reader = self._client.get_object(BUCKET, self.job.zt_key, reader_constructor=self._reader)
        reader.seek(offset)
        if reader.readinto(view) != len(view):
            raise ConnectionError("the body is short")
