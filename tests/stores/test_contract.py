"""What every place that holds bytes must do, by the way that its filesystem is served."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers.azure import AzureEndpoint
from tests.servers.s3 import S3Endpoint
from ztensor_remote.errors import (
    AccessDeniedError,
    NotFoundError,
    ObjectChangedError,
    StoreError,
    UnsupportedError,
)
from ztensor_remote.stores import Source, locate, open_append, open_sink, open_source

from .backends import (
    PART,
    READABLE,
    REMOTE,
    WRITABLE,
    Backend,
    BytesBackend,
    LocalBackend,
    MakeBackend,
    StoreBackend,
)

WINDOW = 1 << 16
DATA = os.urandom(300_000)
# More than two parts, and no multiple of anything.
LARGE = os.urandom(2 * PART + 12_345)

readable = pytest.mark.parametrize("backend", READABLE, indirect=True)
writable = pytest.mark.parametrize("backend", WRITABLE, indirect=True)


def fetch(source: Source, offset: int, length: int) -> bytes:
    destination = bytearray(length)
    source.read_into(offset, memoryview(destination))
    return bytes(destination)


def write(backend: Backend, path: str, *pieces: bytes) -> None:
    sink = open_sink(backend.location(path))
    for piece in pieces:
        sink.write(piece)
    sink.commit()


@readable
@pytest.mark.usefixtures("both_ways")
class TestReading:
    @pytest.mark.parametrize("size", [0, 1, 8, 9, WINDOW, WINDOW + 1])
    def test_open_gives_the_end_and_the_size(self, backend: Backend, size: int) -> None:
        backend.put("object", DATA[:size])
        source, tail = open_source(backend.location("object"), window=WINDOW)
        assert source.identity.size == size
        assert bytes(tail) == DATA[:size][-WINDOW:]
        source.close()

    @pytest.mark.parametrize("window", [1, 8, 24])
    def test_open_with_a_small_window(self, backend: Backend, window: int) -> None:
        backend.put("object", DATA[:8])
        source, tail = open_source(backend.location("object"), window=window)
        assert (source.identity.size, bytes(tail)) == (8, DATA[:8][-window:])

    def test_ranges(self, backend: Backend) -> None:
        backend.put("object", DATA)
        source, _ = open_source(backend.location("object"), window=WINDOW)
        last = len(DATA) - 1
        for offset, length in [(0, 1), (last, 1), (1000, 50_000), (0, len(DATA)), (5, 0)]:
            assert fetch(source, offset, length) == DATA[offset : offset + length]
        assert fetch(source, len(DATA), 0) == b""

    def test_ranges_from_many_threads(self, backend: Backend) -> None:
        backend.put("object", DATA)
        source, _ = open_source(backend.location("object"), window=WINDOW)
        ranges = [(start, 1 + start % 9_000) for start in range(0, len(DATA) - 9_000, 9_000)]
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda span: fetch(source, *span), ranges))
        assert found == [DATA[start : start + length] for start, length in ranges]

    def test_views_are_the_same_bytes(self, backend: Backend) -> None:
        backend.put("object", DATA)
        source, _ = open_source(backend.location("object"), window=WINDOW)
        view = source.view(1000, 100)
        assert view is None or (view.readonly and view == DATA[1000:1100])
        private = source.private_view(1000, 100)
        if private is not None:
            private[:] = bytes(100)
            assert fetch(source, 1000, 100) == DATA[1000:1100]

    def test_an_object_that_was_replaced_is_never_mixed(self, backend: Backend) -> None:
        keeps_the_old = isinstance(backend, BytesBackend) or type(backend) is LocalBackend
        others = {"same size": DATA[::-1], "shorter": DATA[:50_000], "longer": DATA * 2}
        for name, other in others.items():
            backend.put(name, DATA)
            source, _ = open_source(backend.location(name), window=WINDOW)
            backend.put(name, other)
            for offset, length in [(0, 1000), (100_000, 1000), (40_000, 20_000)]:
                if keeps_the_old:
                    assert fetch(source, offset, length) == DATA[offset : offset + length]
                    continue
                with pytest.raises(ObjectChangedError) as caught:
                    fetch(source, offset, length)
                assert source.url in str(caught.value)
            assert bytes(open_source(backend.location(name), window=10)[1]) == other[-10:]

    def test_locations_survive_pickling(self, backend: Backend) -> None:
        backend.put("object", DATA)
        location = pickle.loads(pickle.dumps(backend.location("object")))
        assert bytes(open_source(location, window=100)[1]) == DATA[-100:]


@pytest.mark.parametrize("backend", [name for name in READABLE if name != "bytes"], indirect=True)
def test_a_missing_object(backend: Backend) -> None:
    location = backend.location("missing")
    with pytest.raises(NotFoundError) as caught:
        open_source(location, window=WINDOW)
    assert caught.value.url == location.url
    assert "missing" in str(caught.value)


@pytest.mark.parametrize("backend", REMOTE, indirect=True)
def test_a_remote_version_is_pinned(backend: Backend) -> None:
    backend.put("object", DATA)
    source, _ = open_source(backend.location("object"), window=WINDOW)
    assert source.identity.etag or source.identity.version


@pytest.mark.parametrize("backend", ["moto", "ministack", "rclone", "gcs", "azure"], indirect=True)
def test_a_missing_bucket(backend: StoreBackend) -> None:
    location = backend.location("object")
    with pytest.raises(NotFoundError):
        open_source(
            locate(
                location.path.replace(backend.bucket, "test-other"),
                storage_options=location.storage_options,
            ),
            window=WINDOW,
        )


@writable
@pytest.mark.usefixtures("small_parts")
class TestWriting:
    @pytest.mark.parametrize("size", [0, 1, 1000])
    def test_small_objects(self, backend: Backend, size: int) -> None:
        write(backend, "object", DATA[:size])
        assert backend.read("object") == DATA[:size]

    def test_odd_pieces(self, backend: Backend) -> None:
        block = os.urandom(20 << 20)
        sizes = [1, 3, 0, 65_537, (5 << 20) + 1, 7, 20 << 20, 4096]
        write(backend, "object", *(block[:size] for size in sizes))
        assert backend.read("object") == b"".join(block[:size] for size in sizes)

    @pytest.mark.parametrize("parts", [1, 2])
    def test_full_parts(self, backend: Backend, parts: int) -> None:
        write(backend, "object", LARGE[: parts * PART])
        assert backend.read("object") == LARGE[: parts * PART]

    def test_memory_may_be_reused_after_a_write(self, backend: Backend) -> None:
        sink = open_sink(backend.location("object"))
        buffer = bytearray(1000)
        for value in range(10):
            buffer[:] = bytes([value]) * 1000
            sink.write(memoryview(buffer))
        sink.commit()
        assert backend.read("object") == bytes(value for value in range(10) for _ in range(1000))

    def test_a_commit_replaces_at_once(self, backend: Backend) -> None:
        for old, new in [(DATA, LARGE), (LARGE, DATA[:10]), (DATA[:10], b"")]:
            backend.put("object", old)
            sink = open_sink(backend.location("object"))
            sink.write(new)
            assert backend.read("object") == old
            sink.commit()
            assert backend.read("object") == new
            assert bytes(open_source(backend.location("object"), window=5)[1]) == new[-5:]
        assert backend.names() == ["object"]

    @pytest.mark.parametrize("size", [0, 1000, len(LARGE)])
    def test_an_abort_leaves_what_was_there(self, backend: Backend, size: int) -> None:
        backend.put("old", DATA)
        for name in ("old", "new"):
            sink = open_sink(backend.location(name))
            sink.write(LARGE[:size])
            sink.abort()
            sink.abort()
        assert backend.names() == ["old"]
        assert backend.read("old") == DATA
        assert not isinstance(backend, StoreBackend) or not backend.open_uploads()

    def test_an_abort_after_the_commit_does_nothing(self, backend: Backend) -> None:
        for data in (DATA, LARGE):
            sink = open_sink(backend.location("object"))
            sink.write(data)
            sink.commit()
            sink.abort()
            assert backend.read("object") == data

    @pytest.mark.parametrize("size", [0, 1000, len(LARGE)])
    def test_a_base_is_continued(self, backend: Backend, size: int) -> None:
        backend.put("object", LARGE[:size])
        source, _ = open_source(backend.location("object"), window=WINDOW)
        sink = open_append(backend.location("object"), source, in_place=False)
        sink.write(DATA)
        sink.commit()
        assert backend.read("object") == LARGE[:size] + DATA
        assert backend.names() == ["object"]


@pytest.mark.parametrize("name", ["http", "bytes"])
def test_what_can_not_be_written_says_so(backend_of: MakeBackend, name: str) -> None:
    backend = backend_of(name)
    backend.put("object", DATA)
    with pytest.raises(UnsupportedError):
        open_sink(backend.location("object"))


@pytest.mark.parametrize("name", ["rclone", "azure"])
def test_wrong_credentials_are_refused_and_never_shown(backend_of: MakeBackend, name: str) -> None:
    backend = backend_of(name)
    assert isinstance(backend, StoreBackend)
    backend.put("object", DATA)
    secret = "d3JvbmctYW5kLXNlY3JldA=="
    match backend.endpoint:
        case AzureEndpoint() as endpoint:
            text = endpoint.storage_options["connection_string"]
            before, _, after = text.partition("AccountKey=")
            wrong = f"{before}AccountKey={secret};{after.partition(';')[2]}"
            options = {"connection_string": wrong}
        case S3Endpoint() as endpoint:
            options = {**endpoint.storage_options, "secret": secret}
    location = locate(backend.location("object").path, storage_options=options)
    with pytest.raises(AccessDeniedError) as reading:
        open_source(location, window=WINDOW)
    sink = open_sink(location)
    sink.write(DATA)
    with pytest.raises(AccessDeniedError) as writing:
        sink.commit()
    sink.abort()
    for caught in (reading, writing):
        assert location.url in str(caught.value)
        assert secret not in f"{caught.value} {caught.value!r} {location!r}"
    assert secret not in repr(location)


def test_signed_urls_are_never_shown(backend_of: MakeBackend) -> None:
    backend = backend_of("http")
    backend.put("object", DATA)
    path = f"{backend.location('missing').path}?X-Amz-Signature=c0ffee&sig=bad%3D"
    location = locate(path)
    with pytest.raises(StoreError) as caught:
        open_source(location, window=WINDOW)
    assert "missing" in str(caught.value)
    assert "c0ffee" not in f"{caught.value} {caught.value!r} {location!r}"
    signed = locate(path.replace("missing", "object"))
    source, tail = open_source(signed, window=WINDOW)
    assert (source.url, bytes(tail)) == (backend.location("object").path, DATA[-WINDOW:])
