"""Fixtures of all tests: the servers, each started once when a test first asks for it."""

from __future__ import annotations

import gc
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

from tests.servers.azure import AzureEndpoint, NothingToInstallError, azure_server
from tests.servers.certificates import Certificates, make_certificates
from tests.servers.endpoint import Endpoint, StoreEndpoint
from tests.servers.gcs import GcsEndpoint, gcs_server
from tests.servers.http import HttpServer
from tests.servers.ministack import ministack_server
from tests.servers.moto import moto_server
from tests.servers.proxy import Proxy
from tests.servers.rclone import rclone_server
from tests.servers.s3 import S3Endpoint
from tests.servers.strict_gcs import StrictGcs

# A shell that starts the tests in the background has them ignore Ctrl-C, which some of them send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

E = TypeVar("E", bound=Endpoint)


def pytest_collection() -> None:
    """Leave garbage alone while thousands of tests are made: hardly any of it is."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Spare the collections of garbage that come later all that was made by now and stays."""
    gc.enable()
    gc.freeze()


class Recording(Protocol):
    """What the fixture `recording` gives."""

    def __call__(self, endpoint: E) -> tuple[E, Proxy]:
        """Put a proxy before a server; return the server as reached through it, and the proxy."""


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Endpoint]:
    """S3 with strict part sizes."""
    with moto_server() as server:
        yield server.endpoint


@pytest.fixture(scope="session")
def ministack() -> Iterator[S3Endpoint]:
    """S3 with every condition enforced, and signatures of presigned URLs verified."""
    with ministack_server() as server:
        yield server.endpoint


@pytest.fixture(scope="session")
def rclone() -> Iterator[S3Endpoint]:
    """S3 that ignores conditions, and verifies every signature."""
    with rclone_server() as server:
        yield server.endpoint


@pytest.fixture(scope="session")
def gcs() -> Iterator[GcsEndpoint]:
    """Google Cloud Storage, lax about preconditions."""
    with gcs_server() as server:
        yield server.endpoint


@pytest.fixture(scope="session")
def strict_gcs() -> Iterator[GcsEndpoint]:
    """Google Cloud Storage, a small one of our own that keeps all conditions."""
    with StrictGcs() as server:
        yield server.endpoint


@pytest.fixture(scope="session")
def azure() -> Iterator[AzureEndpoint]:
    """Azure Blob Storage."""
    if shutil.which("npm") is None:
        pytest.skip("Azurite comes through npm, which is not installed")
    try:
        azurite = azure_server()
    except NothingToInstallError as error:
        pytest.skip(str(error))
    with azurite as server:
        yield server.endpoint


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Give certificates for TLS on 127.0.0.1, which no system trusts."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def http_server(tmp_path: Path) -> Iterator[HttpServer]:
    """A static server of the files in ``tmp_path``."""
    with HttpServer(tmp_path) as server:
        yield server


@pytest.fixture
def bucket() -> Callable[[StoreEndpoint], str]:
    """Make a new bucket in a store and return its name."""

    def make(store: StoreEndpoint) -> str:
        name = f"test-{uuid.uuid4().hex[:12]}"
        store.make_bucket(name)
        return name

    return make


@pytest.fixture
def recording() -> Iterator[Recording]:
    """Put recording proxies before servers, until the test ends."""
    with ExitStack() as proxies:

        def record(endpoint: E) -> tuple[E, Proxy]:
            proxy = proxies.enter_context(Proxy(endpoint.url))
            return endpoint.at(proxy.url), proxy

        yield record
