"""A server that is killed in the midst of a write, an append or a step, and started again.

Its objects are on a disk. ``SEED=7 pytest -m slow -s tests/writer/test_lost_servers.py`` runs
another campaign.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import s3fs

from tests.faults import fault
from tests.servers.azure import SAVING_SECONDS, NothingToInstallError, azure_server
from tests.servers.faults import CutRequest, DropResponse, Fault
from tests.servers.ministack import ministack_server
from tests.servers.process import ServerProcess
from tests.servers.proxy import Proxy
from tests.servers.strict_gcs import strict_gcs_server
from tests.stores.backends import StoreBackend
from tests.stores.conftest import set_pauses_of_clients
from ztensor_remote.stores import failures, parts

from .test_outages import KINDS, Campaign

Server = ServerProcess[Any]
SERVERS: dict[str, Callable[[Path], AbstractContextManager[Server]]] = {
    "ministack": ministack_server,
    "strict_gcs": strict_gcs_server,
    "azure": azure_server,
}

pytestmark = pytest.mark.usefixtures("small_parts")


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server whose objects survive it."""
    if request.param == "azure" and shutil.which("npm") is None:
        pytest.skip("Azurite comes through npm, which is not installed")
    try:
        made = SERVERS[request.param](tmp_path)
    except NothingToInstallError as error:
        pytest.skip(str(error))
    with made as running:
        yield running


class Crash:
    """Kills a server at one of the requests that pass a proxy.

    Before the request reaches it, in the midst of its body, or after it was carried out.
    """

    def __init__(
        self, server: Server, chance: random.Random, number: int, *, comes_back: bool
    ) -> None:
        self._server = server
        self._left = itertools.count()
        self._spoilt: Fault | None = chance.choice(
            [None, DropResponse(), CutRequest(chance.randrange(1 << 20))]
        )
        self._number = number
        self._comes_back = comes_back
        self._killed = False
        self._start = threading.Thread(target=server.start)

    def __call__(self, request: object) -> Fault | None:
        at = next(self._left)
        if at == self._number and self._spoilt is not None:
            return self._spoilt
        if at >= self._number and not self._killed:
            self._kill()
            if self._comes_back:
                self._start.start()
        return None

    def _kill(self) -> None:
        if self._server.endpoint.protocol == "az":
            time.sleep(SAVING_SECONDS)
        self._server.kill()
        self._killed = True

    def end(self) -> None:
        """Have the server run again; it was killed by now."""
        if not self._killed:
            self._kill()
        if self._start.ident is None:
            self._start.start()
        self._start.join()


@fault(12)
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("server", "rounds"),
    [("strict_gcs", 1)] + [pytest.param(name, 10, marks=pytest.mark.slow) for name in SERVERS],
    indirect=["server"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_lost_servers(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    rounds: int,
) -> None:
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 2)  # its pauses get long
    monkeypatch.setattr(parts, "_LOOKS", (0.0, 0.1, 0.1))
    endpoint = server.endpoint
    endpoint.make_bucket("bucket")
    store = StoreBackend(endpoint, "bucket", endpoint.filesystem())
    name = endpoint.protocol
    chance = random.Random(f"{os.environ.get('SEED', '1')} {name} {kind}")

    def wait_for(seconds: float) -> None:
        monkeypatch.setattr(failures, "_FIRST_PAUSE", seconds)
        set_pauses_of_clients(monkeypatch, 4 * seconds)

    told = {"got through": 0, "failed": 0, "failed for good": 0}
    with Proxy(endpoint.url) as proxy:
        location = store.through(endpoint.at(proxy.url), "object.zt")
        campaign = Campaign(store, location, proxy, kind)
        draw = lambda: chance.randrange(campaign.requests)  # noqa: E731
        for _ in range(rounds):
            wait_for(0.001)
            crash = Crash(server, chance, draw(), comes_back=False)
            told["failed"] += not campaign.disturb(crash, crash.end)

            wait_for(0.5)
            crash = Crash(server, chance, draw(), comes_back=True)
            done = campaign.disturb(crash, crash.end)
            told["got through" if done else "failed for good"] += 1
        wait_for(0.001)
        campaign.clean()
    print(f"\n{kind} {name}: {rounds} servers lost, {rounds} that came back, {told}")
    # Nothing that was sent is lost where uploads survive, too.
    assert told["got through"] == rounds or name != "gs"
