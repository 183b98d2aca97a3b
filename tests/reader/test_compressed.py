"""Compressed tensors: slices move and decode just their frames, loads hold few of them."""

from __future__ import annotations

import gc
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xxhash
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ztensor_remote as zt
from tests.formats.build import dense_1, dense_2, file_2, frame, seekable, skippable
from tests.reader.models import in_memory, model_bytes, same, written
from tests.stores.backends import MakeBackend, Through
from ztensor_remote.codecs import StreamDecoder
from ztensor_remote.reader import decoding
from ztensor_remote.reader.output import Picking

MIB = 1 << 20
VERSIONS = ["1.0", "1.2", "2"]
versions = pytest.mark.parametrize("version", VERSIONS)


def rows(count: int, width: int = 1024) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return bytes that zstd makes half as many, evenly."""
    return np.random.default_rng(0).integers(0, 16, (count, width), np.uint8)


ARRAY = rows(12 * 1024)
FRAMES = 12


@pytest.fixture(scope="module")
def stored() -> dict[str, bytes]:
    return {version: model_bytes({"w": ARRAY}, version=version, compress=1) for version in VERSIONS}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the decoded sizes of the frames, as they are decoded."""
    sizes: list[int] = []
    original = decoding.decode_into

    def counting(data: Any, destination: memoryview) -> None:
        sizes.append(len(destination))
        original(data, destination)

    monkeypatch.setattr(decoding, "decode_into", counting)
    return sizes


class TestSlices:
    @versions
    def test_move_their_share_by_two_requests(
        self, version: str, stored: dict[str, bytes], decoded: list[int]
    ) -> None:
        with zt.open(in_memory(stored[version])) as model:
            length = model["w"].components["data"].length
            before = model.stats.requests, model.stats.bytes
            assert same(model["w"][3072:7168], ARRAY[3072:7168])
            assert model.stats.requests - before[0] == 2
            assert model.stats.bytes - before[1] < 1.5 * length * 4 / FRAMES
        assert decoded == [MIB] * 4

    def test_find_the_table_once(self, stored: dict[str, bytes], decoded: list[int]) -> None:
        with zt.open(in_memory(stored["1.2"])) as model:
            _ = model["w"][0]
            before = model.stats.requests
            assert same(model["w"][5000], ARRAY[5000])
            assert model["w"][0, 7] == ARRAY[0, 7]
            assert model.stats.requests - before == 2
        assert decoded == [MIB] * 3

    @pytest.mark.parametrize("store", ["moto", "http"])
    def test_on_the_wire(
        self, store: str, stored: dict[str, bytes], backend_of: MakeBackend, through: Through
    ) -> None:
        backend: Any = backend_of(store)
        backend.put("model.zt", stored["2"])
        location, proxy = through(backend, "model.zt")
        with zt.open(location) as model:
            proxy.clear()
            assert same(model["w"][5000:1100:-2], ARRAY[5000:1100:-2])
            length = model["w"].components["data"].length
        assert len(proxy.requests) == 2
        assert proxy.response_bytes < 1.5 * length * 4 / FRAMES

    def test_that_cross_no_frame_are_decoded_into_the_result(
        self, stored: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        places: list[memoryview] = []
        original = decoding.decode_into

        def noting(data: Any, destination: memoryview) -> None:
            places.append(destination)
            original(data, destination)

        monkeypatch.setattr(decoding, "decode_into", noting)
        with zt.open(in_memory(stored["1.2"])) as model:
            result = model["w"][2048:4096]
        edges = result.ctypes.data, result.ctypes.data + result.nbytes
        inside = [np.frombuffer(place, np.uint8).ctypes.data for place in places]
        assert sorted(inside) == [edges[0], edges[0] + MIB]

    def test_of_mapped_files_decode_just_their_frames(
        self, stored: dict[str, bytes], decoded: list[int]
    ) -> None:
        with zt.open(stored["1.2"]) as model:
            assert same(model["w"][1023:1025], ARRAY[1023:1025])
        assert decoded == [MIB] * 2

    def test_of_nothing_move_nothing(self, stored: dict[str, bytes], decoded: list[int]) -> None:
        with zt.open(in_memory(stored["1.2"])) as model:
            before = model.stats.requests
            assert same(model["w"][5:5], ARRAY[5:5])
            assert model.stats.requests == before
        assert decoded == []

    def test_of_files_of_others_with_small_frames(self, decoded: list[int]) -> None:
        size, text = 64 << 10, ARRAY.tobytes()
        frames = [(frame(text[at : at + size]), size) for at in range(0, len(text), size)]
        blob = seekable(frames)
        fields = {"encoding": "zt.zstd-seekable/1", "decoded_length": len(text)}
        root = dense_2([len(text)], blob=[4096, len(blob)], **fields)
        with zt.open(in_memory(file_2(root, {4096: blob}))) as model:
            before = model.stats.requests, model.stats.bytes
            assert (
                model["t"][10 * size - 1 : 20 * size].tobytes() == text[10 * size - 1 : 20 * size]
            )
            assert model.stats.requests - before[0] == 2
            assert model.stats.bytes - before[1] < 1.5 * len(blob) * 10 * size / len(text)
        assert decoded == [size] * 11

    def test_of_a_table_longer_than_expected(self) -> None:
        text = ARRAY[:1200].tobytes()
        frames = [(frame(text[at : at + 256]), 256) for at in range(0, len(text), 256)]
        with zt.open(
            in_memory(dense_1("1.2", seekable(frames), [len(text)], encoding="zstd"))
        ) as m:
            assert m["t"][5000:5100].tobytes() == text[5000:5100]
            assert (
                m.stats.requests == 4
            )  # the manifest, the end of the table, all of it, two frames
            assert m.stats.bytes < len(text) / 4

    def test_are_checked_by_the_frames_own_checksums(self, stored: dict[str, bytes]) -> None:
        with zt.open(stored["1.2"]) as model:
            part = model["w"].components["data"]
        spoiled = bytearray(stored["1.2"])
        spoiled[part.offset + part.length // 2] ^= 1
        with zt.open(in_memory(bytes(spoiled))) as model:
            assert same(model["w"][:1024], ARRAY[:1024])
            with pytest.raises(zt.FormatError) as caught:
                _ = model["w"][5000:7000]
        assert caught.value.tensor == "w"


# --- every way that a stream can come ---------------------------------------------------------

SMALL = rows(90, 700)
TEXT = SMALL.tobytes()


def cut(size: int, end: int = len(TEXT)) -> list[bytes]:
    return [TEXT[at : at + size] for at in range(0, end, size)]


def one_2(blob: bytes) -> bytes:
    fields = {"encoding": "zt.zstd-seekable/1", "decoded_length": len(TEXT)}
    return file_2(dense_2([*SMALL.shape], blob=[4096, len(blob)], **fields), {4096: blob})


def one_1(blob: bytes) -> bytes:
    return dense_1("1.2", blob, [*SMALL.shape], encoding="zstd", uncompressed_length=len(TEXT))


STREAMS: dict[str, Callable[[], bytes]] = {
    "framed, 2": lambda: one_2(seekable([(frame(piece), len(piece)) for piece in cut(4096)])),
    "framed, 1.2": lambda: one_1(seekable([(frame(piece), len(piece)) for piece in cut(5001)])),
    "one frame of a table": lambda: one_2(seekable([(frame(TEXT), len(TEXT))])),
    "one frame": lambda: one_1(frame(TEXT)),
    "frames without a table": lambda: one_1(
        skippable(b"x") + b"".join(map(frame, cut(9999))) + skippable(b"yy")
    ),
    "a table that is wrong": lambda: one_1(seekable([(frame(TEXT), len(TEXT))], count=2)),
    "a last frame of nothing": lambda: one_2(
        seekable([*((frame(piece), len(piece)) for piece in cut(6300)), (frame(b""), 0)])
    ),
}

places = st.sampled_from(["fetched", "bytes"])
keys = st.tuples(
    st.slices(90) | st.integers(-90, 89) | st.lists(st.integers(0, 89), max_size=5),
    st.slices(700) | st.integers(-700, 699),
)


@pytest.fixture(params=[False, True], ids=["whole", "in pieces"])
def in_pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have small blobs come as large ones do."""
    if request.param:
        monkeypatch.setattr(decoding, "_WHOLE", 0)
        monkeypatch.setattr(decoding, "_STEP", 3000)
        monkeypatch.setattr("ztensor_remote.reader.loading.FRAME_SIZE", 1)
        monkeypatch.setattr("ztensor_remote.reader.loading._NOT_WORTH_SEEKING", 1)


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("stream", STREAMS)
@settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(place=places, key=keys)
def test_slices_are_what_numpy_gives(stream: str, place: str, key: Any) -> None:
    data = STREAMS[stream]()
    with zt.open(data if place == "bytes" else in_memory(data)) as model:
        assert same(model["t"][key], SMALL[key])


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("place", ["fetched", "bytes"])
@pytest.mark.parametrize("stream", STREAMS)
def test_all_of_them(stream: str, place: str) -> None:
    data = STREAMS[stream]()
    with zt.open(data if place == "bytes" else in_memory(data)) as model:
        assert same(model.load()["t"], SMALL)
        out = np.zeros_like(SMALL)
        model.read_into({"t": out})
        assert same(out, SMALL)


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("place", ["fetched", "bytes"])
@pytest.mark.parametrize(
    "version,checksum", [("1.0", "crc32c"), ("1.2", "crc32c"), ("1.2", "sha256"), ("2", "xxh3")]
)
def test_digests_are_compared_as_pieces_come(version: str, place: str, checksum: str) -> None:
    array = np.zeros((3, MIB), np.uint8)  # small, and of several frames
    data = model_bytes({"w": array}, version=version, compress=True, checksum=checksum)
    with zt.open(data if place == "bytes" else in_memory(data)) as model:
        assert same(model["w"].numpy(), array)
        digest = model["w"].components["data"].digest
        assert digest is not None and digest.startswith(checksum)
    other = stating_another(data, digest)
    with zt.open(other if place == "bytes" else in_memory(other)) as model:
        with pytest.raises(zt.DigestError):
            model["w"].numpy()
        with pytest.raises(zt.DigestError):
            model.load()


def stating_another(data: bytes, digest: str) -> bytes:
    """Return the file with another digest in its manifest, and the manifest's own hash mended."""
    spoiled = data.replace(digest.encode(), (digest[:-1] + "01"[digest[-1] == "0"]).encode())
    assert spoiled != data
    if not data.endswith(b"\x89ZT2\r\n\x1a\n"):
        return spoiled
    offset, length = struct.unpack_from("<QQ", data, len(data) - 40)
    mended = xxhash.xxh3_64_intdigest(spoiled[offset : offset + length])
    return spoiled[:-24] + struct.pack("<Q", mended) + spoiled[-16:]


def test_a_frame_that_is_damaged_ends_a_load_that_waits_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pieces that wait for their turn must not wait for ever."""
    monkeypatch.setattr(decoding, "_WHOLE", 0)
    monkeypatch.setattr(decoding, "_STEP", 3000)
    blob = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(TEXT))
    blob[5000] ^= 1
    with zt.open(in_memory(one_1(bytes(blob)))) as model, pytest.raises(zt.FormatError):
        model["t"].numpy()


def test_small_blobs_are_merged_like_raw_ones() -> None:
    arrays = {f"t{number:03}": rows(1, 4096) + number % 5 for number in range(300)}
    data = model_bytes(arrays, compress=True)
    with zt.open(in_memory(data)) as model:
        before = model.stats.requests, model.stats.bytes
        loaded = model.load()
        assert model.stats.requests - before[0] <= 2
        wanted = sum(t.components["data"].length for t in model.values())
        assert model.stats.bytes - before[1] < 1.1 * wanted
    assert all(same(loaded[name], array) for name, array in arrays.items())


def test_raw_and_compressed_blobs_are_planned_together() -> None:
    def add(w: zt.Writer) -> None:
        for number in range(100):
            w.add_tensor(f"raw{number}", rows(3, 1000) + number)
            w.add_tensor(f"zstd{number}", rows(3, 1000) - number, compress=True)

    with zt.open(written(add)) as model:
        before = model.stats.requests
        loaded = model.load()
        assert model.stats.requests - before <= 2
    for number in range(100):
        assert same(loaded[f"raw{number}"], rows(3, 1000) + number)
        assert same(loaded[f"zstd{number}"], rows(3, 1000) - number)


def test_no_tensor_keeps_more_than_its_own_memory() -> None:
    """A view of a merged request, or of what a slice read over, would."""
    arrays = {f"t{number}": rows(1, 4096) + number for number in range(50)}
    for compress in (False, True):
        with zt.open(in_memory(model_bytes(arrays, compress=compress))) as model:
            loaded = model.load()
            picked = {name: model[name][:, ::50] for name in model}
            few = {name: model[name][:, :5] for name in model}
        for array in [*loaded.values(), *picked.values(), *few.values()]:
            assert _kept(array) <= 2 * array.nbytes + 128


@pytest.mark.parametrize("is_stated", [True, False], ids=["stated", "growing"])
def test_nothing_keeps_what_a_stream_was_decoded_to(is_stated: bool) -> None:
    """The garbage collector does not see through zstandard's objects."""
    length = {"uncompressed_length": 5000} if is_stated else {}
    data = dense_1("1.2", frame(bytes(5000)), [5000], encoding="zstd", **length)
    for place in (data, in_memory(data)):
        gc.collect()
        with zt.open(place) as model:
            part = model["t"].components["data"]
            assert len(model["t"].numpy()) == len(model["t"][:-1]) + 1 == len(part.read())
            model.load()
            model.verify()
        kept = [each for each in gc.get_objects() if isinstance(each, StreamDecoder | Picking)]
        assert not kept


def _kept(array: Any) -> int:
    """Return the bytes of the memory that an array keeps alive."""
    base = array
    while True:
        if isinstance(base, memoryview):
            base = base.obj
        elif isinstance(base, np.ndarray) and base.base is not None:
            base = base.base
        else:
            return memoryview(base).nbytes
