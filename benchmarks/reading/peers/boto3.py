"""boto3: GetObject in threads, bodies read past its own copies."""

from __future__ import annotations

from ..job import BUCKET, KEY, REGION, SECRET
from .ranges import Ranges


class Boto3(Ranges):
    """``get_object(Range=)``; the body is read with ``readinto`` from the response underneath."""

    def connect(self) -> None:
        """Make a client."""
        import boto3
        from botocore.config import Config

        place = self.job.place
        self._client = boto3.client(
            "s3",
            endpoint_url=place.url,
            region_name=REGION,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            verify=place.ca,
            config=Config(
                max_pool_connections=self.small_streams,
                s3={"addressing_style": "path"},
                response_checksum_validation="when_required",
            ),
        )

    def fetch(self, offset: int, view: memoryview) -> None:
        """Send one GetObject."""
        end = offset + len(view) - 1
        answer = self._client.get_object(
            Bucket=BUCKET, Key=self.job.zt_key, Range=f"bytes={offset}-{end}"
        )
        stream = answer["Body"]._raw_stream
        position = 0
        while position < len(view):
            count = stream._fp.readinto(view[position:])
            if not count:
                raise ConnectionError("the body is short")
            position += count
        stream.read()  # finds the end, which gives the connection back to the pool
        stream.release_conn()
