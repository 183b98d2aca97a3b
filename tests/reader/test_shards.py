"""Models in several files: shards that a root refers to, and overlays over a base."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator

import numpy as np
import pytest

import ztensor_remote as zt
from tests.formats.expected import DATA, Expected
from tests.stores.backends import Backend, MakeBackend, StoreBackend, Through

FIXTURES = DATA / "fixtures" / "2.1.2"
SHARDS = ["sharded-00001-of-00002.zt", "sharded-00002-of-00002.zt"]


@pytest.fixture(params=["local", "memory", "moto"])
def backend(request: pytest.FixtureRequest, backend_of: MakeBackend) -> Backend:
    """A place with both models."""
    backend = backend_of(request.param)
    for path in (*FIXTURES.glob("sharded*.zt"), *FIXTURES.glob("overlay*.zt")):
        backend.put(path.name, path.read_bytes())
    return backend


@pytest.fixture
def sharded(backend: Backend) -> Iterator[zt.Reader]:
    with zt.open(backend.location("sharded.zt")) as model:
        yield model


def check(model: zt.Reader, name: str) -> None:
    """Compare every component with what the published writer put in."""
    for part in Expected(FIXTURES / f"{name}.zt").parts():
        decoded = model[part.tensor].components[part.role].read()
        assert hashlib.sha256(decoded).hexdigest() == part.fields["decoded_sha256"]


class TestSharded:
    def test_tensors_come_from_their_shards(self, sharded: zt.Reader) -> None:
        check(sharded, "sharded")
        assert sharded["a"].components["data"].shard == "00001-of-00002"
        assert sharded["b"].numpy().tolist() == sharded["b"][:].tolist()
        assert sharded["q"].numpy().shape == (3, 4)
        assert {*sharded.load()} == {*sharded}

    def test_verify_reads_the_shards_too(self, sharded: zt.Reader) -> None:
        assert sharded.verify(deep=True) == zt.Verification(checked=7, undigested=1)

    def test_pickled_handles_find_the_shards(self, sharded: zt.Reader) -> None:
        copy = pickle.loads(pickle.dumps(sharded["b"]))
        assert copy.numpy().tolist() == sharded["b"].numpy().tolist()

    def test_the_root_opens_without_them(self, backend_of: MakeBackend) -> None:
        alone = backend_of("moto")
        alone.put("sharded.zt", (FIXTURES / "sharded.zt").read_bytes())
        with zt.open(alone.location("sharded.zt")) as model:
            assert model["local"].numpy().shape == (3,)
            with pytest.raises(zt.NotFoundError, match="00001-of-00002") as caught:
                model["a"].numpy()
            assert caught.value.tensor == "a"

    @pytest.mark.parametrize("change", [b"", b"longer"])
    def test_another_file_under_a_shards_name(self, backend: Backend, change: bytes) -> None:
        data = (FIXTURES / SHARDS[0]).read_bytes()
        backend.put(SHARDS[0], data + change if change else data[4096:])
        with zt.open(backend.location("sharded.zt")) as model:
            with pytest.raises(zt.FormatError) as caught:
                model["a"].numpy()
            assert caught.value.rule == "ShardIdentity"

    def test_a_damaged_shard(self, backend: Backend) -> None:
        data = bytearray((FIXTURES / SHARDS[0]).read_bytes())
        data[2000] ^= 1  # padding: no tensor has it
        backend.put(SHARDS[0], bytes(data))
        with zt.open(backend.location("sharded.zt")) as model:
            model.verify()
            with pytest.raises(zt.DigestError, match="00001-of-00002"):
                model.verify(deep=True)

    def test_a_shard_that_is_replaced_while_it_is_read(self, backend_of: MakeBackend) -> None:
        backend = backend_of("ministack")
        for path in FIXTURES.glob("sharded*.zt"):
            backend.put(path.name, path.read_bytes())
        with zt.open(backend.location("sharded.zt")) as model:
            model["a"].numpy()
            backend.put(SHARDS[0], bytes(12_509))
            with pytest.raises(zt.ObjectChangedError):
                model["a"].numpy()

    def test_bytes_have_no_neighbours(self) -> None:
        with zt.open((FIXTURES / "sharded.zt").read_bytes()) as model:
            assert model["local"].numpy().shape == (3,)
            with pytest.raises(zt.InvalidInputError, match="no folder"):
                model["a"].numpy()

    def test_counts_the_requests_to_all_files(
        self, backend_of: MakeBackend, through: Through
    ) -> None:
        backend = backend_of("moto")
        assert isinstance(backend, StoreBackend)
        for path in FIXTURES.glob("sharded*.zt"):
            backend.put(path.name, path.read_bytes())
        location, proxy = through(backend, "sharded.zt")
        with zt.open(location) as model:
            model.load()
            stats = model.stats
        assert stats.requests == len(proxy.requests) > 5
        assert stats.bytes == proxy.response_bytes


class TestOverlay:
    def test_adds_to_its_base(self, backend: Backend) -> None:
        with zt.open(backend.location("overlay.zt")) as model:
            check(model, "overlay")
            assert [*model] == ["w", "w.delta"]
            model.verify(deep=True)

    def test_its_own_tensors_need_no_base(self, backend_of: MakeBackend) -> None:
        alone = backend_of("memory")
        alone.put("overlay.zt", (FIXTURES / "overlay.zt").read_bytes())
        with zt.open(alone.location("overlay.zt")) as model:
            assert model["w.delta"].shape == (2,)
            assert model["w.delta"].numpy().dtype == np.float32
            with pytest.raises(zt.NotFoundError):
                model["w"].numpy()
