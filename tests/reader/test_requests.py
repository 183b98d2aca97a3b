"""What opening and reading cost, counted on the wire: requests, and bytes of their answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import cbor2
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import ztensor_remote as zt
from tests.reader.models import model_bytes, same
from tests.servers.proxy import Proxy, Request
from tests.stores.backends import REMOTE, HttpBackend, MakeBackend, StoreBackend, Through

KIB = 1024
WINDOW = 64 * KIB + 40
ROW = 256 * 4
ARRAYS = {
    "b": np.arange(1000, dtype=np.float64),
    "nothing": np.zeros((0, 7), np.float32),
    "w": np.arange(256_000, dtype=np.float32).reshape(1000, 256),
}
OTHERS = {name: -array for name, array in ARRAYS.items()}
VERSIONS = ["0.1", "1.0", "1.2", "2"]
S3 = ["moto", "ministack", "rclone"]


def stored(version: str = "1.2", *, manifest: int = 0) -> bytes:
    """Return a file of ARRAYS; a text fills its manifest up to about this many bytes."""
    if not manifest:
        return filled(version, "")
    room = manifest - manifest_length(filled(version, "x"))
    data = filled(version, "x" * (room - 8))
    assert manifest - 16 <= manifest_length(data) <= manifest
    return data


def filled(version: str, note: str) -> bytes:
    if version == "0.1":
        return stored_0_1(note)
    return model_bytes(ARRAYS, {"note": note} if note else {}, version=version)


def stored_0_1(note: str, arrays: Mapping[str, Any] = ARRAYS) -> bytes:
    """Return a version-0.1 file, which nobody writes any more (SPEC.md §6)."""
    data, entries = bytearray(b"ZTEN0001"), []
    for name, array in arrays.items():
        data += bytes(-len(data) % 64)
        place = {"name": name, "offset": len(data), "size": array.nbytes}
        kind = {"dtype": str(array.dtype), "shape": [*array.shape]}
        entries.append(place | kind | {"layout": "dense", "encoding": "raw"})
        data += array.tobytes()
    manifest = cbor2.dumps([entries[0] | {"note": note}, *entries[1:]])
    return bytes(data + manifest + len(manifest).to_bytes(8, "little"))


def manifest_length(data: bytes) -> int:
    with zt.open(data) as model:
        return model._blobs.opened.footer.manifest_length


class Served:
    """A file on a server, reached through a proxy that counts."""

    def __init__(self, backend: Any, through: Through, data: bytes) -> None:
        assert isinstance(backend, HttpBackend | StoreBackend)
        self.backend = backend
        self.size = len(data)
        backend.put("model.zt", data)
        self.location, self.proxy = through(backend, "model.zt")

    def open(self) -> zt.Reader:
        return zt.open(self.location)

    def replace(self, data: bytes) -> None:
        self.backend.put("model.zt", data)

    def ranges(self) -> list[range]:
        """Return the bytes that answers carried, request by request."""
        return [positions(request, self.size) for request in self.proxy.requests]


def positions(request: Request, size: int) -> range:
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", request.range or "")
    assert found is not None and request.method == "GET"
    first, last = found.groups()
    if not first:
        return range(max(size - int(last), 0), size)
    return range(int(first), min(int(last) + 1, size))


def overlapping(ranges: list[range]) -> bool:
    edges = sorted((span.start, span.stop) for span in ranges)
    return any(one[1] > two[0] for one, two in pairwise(edges))


@pytest.fixture(params=REMOTE)
def name(request: pytest.FixtureRequest) -> str:
    store: str = request.param
    return store


@pytest.fixture
def served(name: str, backend_of: MakeBackend, through: Through) -> Served:
    return Served(backend_of(name), through, stored())


def sent(proxy: Proxy) -> list[int]:
    """Return the bytes of each answer, and begin to count anew."""
    sizes = [request.response_bytes for request in proxy.requests]
    proxy.clear()
    return sizes


class TestThroughEveryClient:
    def test_open(self, served: Served, name: str) -> None:
        with served.open():
            sizes = sent(served.proxy)
        assert sizes == ([8, WINDOW] if name == "azure" else [WINDOW])

    def test_what_the_manifest_says_costs_nothing_more(self, served: Served) -> None:
        with served.open() as model:
            served.proxy.clear()
            assert [(t.shape, t.dtype, t.nbytes) for t in model.values()] and repr(model)
            assert model["w"].components["data"].digest
        assert sent(served.proxy) == []

    def test_a_tensor_is_one_request_of_its_bytes(self, served: Served) -> None:
        with served.open() as model:
            served.proxy.clear()
            assert same(model["b"].numpy(), ARRAYS["b"])
            assert sent(served.proxy) == [8_000]
            assert same(model["w"].numpy(), ARRAYS["w"])
            assert sent(served.proxy) == [1_024_000]
            out = np.empty_like(ARRAYS["b"])
            model.read_into({"b": out})
            assert sent(served.proxy) == [8_000]

    def test_rows_are_just_their_bytes(self, served: Served) -> None:
        with served.open() as model:
            served.proxy.clear()
            for rows in (slice(10, 20), slice(-10, None), slice(19, 9, -1)):
                assert same(model["w"][rows], ARRAYS["w"][rows])
                assert sent(served.proxy) == [10 * ROW]
            assert same(model["w"][7], ARRAYS["w"][7])
            assert sent(served.proxy) == [ROW]
            assert model["w"][7, 8] == ARRAYS["w"][7, 8]
            assert sent(served.proxy) == [4]
            assert same(model["w"][[900, 3, 4]], ARRAYS["w"][[900, 3, 4]])
            assert sorted(sent(served.proxy)) == [ROW, 2 * ROW]

    def test_columns_are_fewer_requests_than_rows(self, served: Served) -> None:
        with served.open() as model:
            served.proxy.clear()
            for columns in (slice(3, 5), slice(None, None, 200), 0):
                assert same(model["w"][:, columns], ARRAYS["w"][:, columns])
                sizes = sent(served.proxy)
                assert len(sizes) < 1000 / 16 and sum(sizes) <= ARRAYS["w"].nbytes

    def test_nothing_is_asked_for_nothing(self, served: Served) -> None:
        with served.open() as model:
            served.proxy.clear()
            assert same(model["nothing"].numpy(), ARRAYS["nothing"])
            assert model["w"][5:5].shape == (0, 256)
        assert sent(served.proxy) == []

    def test_neighbours_come_together(self, served: Served) -> None:
        with served.open() as model:
            served.proxy.clear()
            loaded = model.load()
        assert all(same(loaded[name], array) for name, array in ARRAYS.items())
        gap = 64 * 125 - 8_000  # blobs begin at multiples of 64
        assert sent(served.proxy) == [8_000 + gap + 1_024_000]

    def test_stats_are_what_the_wire_saw(self, served: Served) -> None:
        with served.open() as model:
            model.load()
            _ = model["w"][::7], model["w"][:, 5], model["b"][10:20]
            stats = model.stats
        assert stats.requests == len(served.proxy.requests)
        assert stats.bytes == served.proxy.response_bytes == sum(map(len, served.ranges()))


class TestManifests:
    def test_of_nearly_64_kib(self, name: str, backend_of: MakeBackend, through: Through) -> None:
        served = Served(backend_of(name), through, stored(manifest=64 * KIB))
        with served.open() as model:
            assert sum(sent(served.proxy)) <= 64 * KIB + 64
            assert model.stats.requests == (2 if name == "azure" else 1)
            assert same(model["b"].numpy(), ARRAYS["b"])

    def test_of_200_kib(self, name: str, backend_of: MakeBackend, through: Through) -> None:
        served = Served(backend_of(name), through, stored(manifest=200 * KIB))
        with served.open() as model:
            ranges = served.ranges()
            assert len(ranges) <= 3 and not overlapping(ranges)
            assert sum(map(len, ranges)) <= 200 * KIB + 64
            assert len(model.attributes["note"]) > 190 * KIB

    @pytest.mark.parametrize("store", S3)
    @pytest.mark.parametrize("version", VERSIONS)
    def test_of_every_version(
        self, version: str, store: str, backend_of: MakeBackend, through: Through
    ) -> None:
        served = Served(backend_of(store), through, stored(version))
        with served.open() as model:
            assert model.version == version
            # The two that end in a mere length need the first bytes too.
            assert sent(served.proxy) == ([WINDOW, 8] if version < "1.1" else [WINDOW])
            assert same(model["w"][3:5], ARRAYS["w"][3:5])
            assert sent(served.proxy) == [2 * ROW]

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("size", [64, 200])
    def test_of_every_version_that_are_large(
        self, version: str, size: int, backend_of: MakeBackend, through: Through
    ) -> None:
        served = Served(backend_of("moto"), through, stored(version, manifest=size * KIB))
        with served.open() as model:
            ranges = served.ranges()
            assert len(ranges) <= (2 if size == 64 else 3) and not overlapping(ranges)
            assert sum(map(len, ranges)) <= size * KIB + 64
            assert same(model["b"].numpy(), ARRAYS["b"])

    @pytest.mark.parametrize("version", ["0.1", "1.0", "1.2"])
    def test_of_small_files_come_with_all_of_the_file(
        self, version: str, backend_of: MakeBackend, through: Through
    ) -> None:
        arrays = {"b": ARRAYS["b"]}
        small = stored_0_1("", arrays) if version == "0.1" else model_bytes(arrays, version=version)
        served = Served(backend_of("moto"), through, small)
        with served.open() as model:
            assert sent(served.proxy) == [len(small)]
            assert same(model["b"].numpy(), ARRAYS["b"])


class CountingFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """A filesystem that nothing is known of, and that counts what it is asked for."""

    cachable = False
    protocol = "counting"

    def __init__(self) -> None:
        super().__init__()
        self.store: dict[str, Any] = {}
        self.sizes: list[int] = []

    def cat_file(self, path: str, start: Any = None, end: Any = None, **kwargs: Any) -> bytes:
        data: bytes = super().cat_file(path, start, end, **kwargs)
        self.sizes.append(len(data))
        return data


class TestWithoutAServer:
    def test_any_filesystem(self) -> None:
        fs = CountingFileSystem()
        fs.pipe_file("/model.zt", stored())
        with zt.open("/model.zt", fs=fs) as model:
            assert fs.sizes == [WINDOW]
            assert same(model["b"].numpy(), ARRAYS["b"])
            assert same(model["w"][10:20], ARRAYS["w"][10:20])
            assert fs.sizes[1:] == [8_000, 10 * ROW]
            assert (model.stats.requests, model.stats.bytes) == (3, sum(fs.sizes))

    def test_local_files_are_never_requested(self, tmp_path: Path) -> None:
        (tmp_path / "model.zt").write_bytes(stored())
        with zt.open(tmp_path / "model.zt") as model:
            model.load()
            _ = model["w"][::7]
            assert model.stats == type(model.stats)()


class TestReplacedWhileOpen:
    def test_is_an_error(self, served: Served) -> None:
        with served.open() as model:
            model["b"].numpy()
            served.replace(model_bytes(OTHERS))
            for read in (
                lambda: model["b"].numpy(),
                lambda: model["w"][3:5],
                lambda: model["w"][:, 5],
                lambda: model.read_into({"b": np.empty(1000)}),
                model.load,
                model.verify,
            ):
                with pytest.raises(zt.ObjectChangedError):
                    read()

    def test_in_the_midst_of_a_load(self, served: Served) -> None:
        arrays = {f"t{number:03}": np.full(30_000, number) for number in range(160)}
        served.replace(model_bytes(arrays))
        after = model_bytes({name: -array for name, array in arrays.items()})
        with served.open() as model:
            served.proxy.clear()

            def replace_once(_: Request) -> None:
                if len(served.proxy.requests) == 3:
                    served.replace(after)

            served.proxy.fault = replace_once
            with pytest.raises(zt.ObjectChangedError):
                model.load()

    def test_in_the_midst_of_opening_is_opened_again(self, served: Served) -> None:
        arrays = {f"t{number:04}": np.full(3, number) for number in range(2000)}
        served.replace(model_bytes(arrays))
        after = model_bytes({name: -array for name, array in arrays.items()})
        served.proxy.clear()

        def replace_once(_: Request) -> None:
            if len(served.proxy.requests) == 2:
                served.replace(after)

        served.proxy.fault = replace_once
        with served.open() as model:
            assert (model["t1999"][:] == -1999).all()

    def test_slices_of_many_requests_are_of_one_version(self, served: Served) -> None:
        rows = [0, 100, 200, 300, 400, 500]
        with served.open() as model:
            served.proxy.clear()

            def replace_once(_: Request) -> None:
                if len(served.proxy.requests) == 3:
                    served.replace(model_bytes(OTHERS))

            served.proxy.fault = replace_once
            with pytest.raises(zt.ObjectChangedError):
                _ = model["w"][rows]

    def test_on_any_filesystem(self) -> None:
        fs = CountingFileSystem()
        fs.pipe_file("/model.zt", stored())
        with zt.open("/model.zt", fs=fs) as model:
            fs.pipe_file("/model.zt", model_bytes(OTHERS))
            with pytest.raises(zt.ObjectChangedError):
                model["b"].numpy()
