"""Backends by name, as the stores' own tests have them, and the file of a module's arrays."""

from pathlib import Path

import pytest

from tests.reader.models import model_bytes
from tests.stores.conftest import *  # noqa: F403


@pytest.fixture(scope="module")
def stored(request: pytest.FixtureRequest) -> bytes:
    return model_bytes(request.module.ARRAYS)


@pytest.fixture
def path(tmp_path: Path, stored: bytes) -> Path:
    path = tmp_path / "model.zt"
    path.write_bytes(stored)
    return path
