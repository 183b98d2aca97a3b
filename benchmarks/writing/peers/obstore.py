"""obstore: its parallel put of what lies in memory, and its writer."""

from __future__ import annotations

from ..job import BUCKET, KEY, KEY_OF_OBJECT, REGION, SECRET
from .peer import PART, STREAMS, Peer


class Obstore(Peer):
    """``put`` of one buffer, parts of which are not signed."""

    def connect(self) -> None:
        """Make a store."""
        import obstore
        from obstore.store import S3Store

        self._obstore = obstore
        self._store = S3Store(
            BUCKET,
            endpoint=self.job.url,
            region=REGION,
            access_key_id=KEY,
            secret_access_key=SECRET,
            virtual_hosted_style_request=False,
            unsigned_payload=True,
            client_options={"allow_http": True},
        )

    def upload(self) -> None:
        """Put."""
        self._obstore.put(
            self._store, KEY_OF_OBJECT, self.view, chunk_size=PART, max_concurrency=STREAMS
        )


class ObstoreStream(Obstore):
    """``open_writer``, to which the tensors are written one by one."""

    def upload(self) -> None:
        """Write."""
        size = self.job.tensor_bytes
        with self._obstore.open_writer(
            self._store, KEY_OF_OBJECT, buffer_size=PART, max_concurrency=STREAMS
        ) as writer:
            for start in range(0, len(self.view), size):
                writer.write(self.view[start : start + size])
