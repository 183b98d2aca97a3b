"""MiniStack: S3 with every condition (If-Match, If-None-Match) enforced, on reads and writes."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .process import ServerProcess, free_port
from .s3 import KEY, SECRET, S3Endpoint

# Its own CRC-32C goes byte by byte in Python: a second a MiB.
PROGRAM = """
import runpy
from crc32c import crc32c
from ministack.services import s3
s3._crc32c = crc32c
runpy.run_module("ministack", run_name="__main__", alter_sys=True)
"""


@contextmanager
def ministack_server(folder: Path | None = None) -> Iterator[ServerProcess[S3Endpoint]]:
    """Run the server; with a folder its objects survive a restart, but not its open uploads."""
    port = free_port()
    with tempfile.TemporaryDirectory() as scratch:
        environment = {
            "GATEWAY_PORT": str(port),
            "BIND_HOST": "127.0.0.1",
            "SERVICES": "s3",
            # Otherwise on a port of its own, the same for every instance, open to the network.
            "IOT_MTLS_ENABLED": "0",
            "TMPDIR": scratch,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        if folder is not None:
            environment |= {"S3_PERSIST": "1", "S3_DATA_DIR": str(folder)}
        command = [sys.executable, "-c", PROGRAM]
        endpoint = S3Endpoint(f"http://127.0.0.1:{port}")
        with ServerProcess(command, endpoint, environment) as server:
            yield server
