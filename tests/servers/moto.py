"""moto: S3 with strict part sizes; a multipart upload with a small part fails as it does on S3."""

from __future__ import annotations

import sys

from .process import ServerProcess, free_port
from .s3 import S3Endpoint


def moto_server() -> ServerProcess[S3Endpoint]:
    """Return the server, not yet started."""
    port = free_port()
    return ServerProcess(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        S3Endpoint(f"http://127.0.0.1:{port}"),
    )
