"""A fork: nothing that leads to a server is used by two processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.conftest import Recording
from tests.servers.proxy import Proxy
from tests.servers.s3 import S3Endpoint

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
ROWS = np.arange(1 << 20, dtype=np.float32).reshape(1024, 1024)  # 4 MiB


class Connections:
    """Those that a proxy has accepted."""

    def __init__(self, proxy: Proxy) -> None:
        self.count = 0
        self._accept = proxy.process_request
        proxy.process_request = self._counted  # type: ignore[method-assign]

    def _counted(self, request: Any, address: Any) -> None:
        self.count += 1
        self._accept(request, address)


def in_a_child(check: Callable[[], bool]) -> bool:
    """Fork, and return what the child finds; one that hangs is ended."""
    child = os.fork()
    if not child:
        alarm = threading.Timer(60, os._exit, [9])
        alarm.daemon = True
        alarm.start()
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "client"])
def test_connections_are_not_shared(
    moto: S3Endpoint, bucket: Callable[[S3Endpoint], str], recording: Recording, plain: bool
) -> None:
    """Also where s3fs signs, which has an event loop in a thread."""
    url = f"s3://{bucket(moto)}/model.zt"
    with zt.Writer(url, storage_options=moto.storage_options) as writer:
        writer.add_tensor("rows", ROWS)
        writer.add_tensor("last", np.zeros(1 << 16))
    through, proxy = recording(moto)
    connections = Connections(proxy)
    options = through.storage_options | ({} if plain else {"default_block_size": 1 << 20})
    with zt.open(url, storage_options=options) as reader:
        row = reader["rows"]

        def reads_right() -> bool:
            return bool((row[7] == ROWS[7]).all())

        assert reads_right()
        before = connections.count
        assert reads_right()
        assert connections.count == before, "they are kept"
        assert in_a_child(reads_right)
        opened = connections.count
        assert opened > before, "the child has its own"
        assert reads_right()
        assert connections.count == opened, "the parent's are as they were"
