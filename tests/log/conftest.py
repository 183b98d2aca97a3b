"""The places that logs are kept in."""

from __future__ import annotations

import pytest

from tests.stores.backends import Backend, MakeBackend
from tests.stores.conftest import (  # noqa: F401
    backend_of,
    shared_bucket,
    shared_proxies,
    short_pauses,
    through,
)
from ztensor_remote import CheckpointLog
from ztensor_remote.stores import Location

PLACES = ["local", "memory", "moto", "ministack", "gcs", "azure"]


@pytest.fixture(params=PLACES)
def backend(request: pytest.FixtureRequest, backend_of: MakeBackend) -> Backend:  # noqa: F811
    """A place that can refuse the second of two writers."""
    made: Backend = backend_of(request.param)
    return made


@pytest.fixture
def place(backend: Backend) -> Location:
    """The folder of a log."""
    return backend.location("run")


@pytest.fixture
def log(place: Location) -> CheckpointLog:
    """A log that is empty."""
    return CheckpointLog(place)
