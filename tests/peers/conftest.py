"""The published packages, each installed once and started when a test first asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from .environments import REQUIREMENTS, NothingToInstallError, interpreter
from .worker import GetPeer, Peer


@pytest.fixture(scope="session")
def installing() -> Iterator[dict[str, Future[Path]]]:
    """Make all environments, side by side; pip mostly waits."""
    with ThreadPoolExecutor(len(REQUIREMENTS)) as pool:
        yield {version: pool.submit(interpreter, version) for version in REQUIREMENTS}


@pytest.fixture(scope="session")
def get_peer(installing: dict[str, Future[Path]]) -> Iterator[GetPeer]:
    """Return the package of a version, one for the whole session."""
    peers: dict[str, Peer] = {}
    with ExitStack() as running:

        def get(version: str) -> Peer:
            if version not in peers:
                try:
                    python = installing[version].result()
                except NothingToInstallError as error:
                    pytest.skip(str(error))
                peers[version] = running.enter_context(closing(Peer(version, python)))
            return peers[version]

        yield get


@pytest.fixture
def peer(request: Any, get_peer: GetPeer) -> Peer:
    """Return the package that the test's parameter names."""
    return get_peer(request.param)
