"""Uploads in parts: what every store's sink inherits."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from ztensor_remote.errors import ConcurrentWriteError, StoreError
from ztensor_remote.stores import parts
from ztensor_remote.stores.parts import PartedSink, part_size
from ztensor_remote.stores.upload_s3 import LARGEST_COPY, copy_ranges

MIB = 1 << 20
PART = 10


class Recorder(PartedSink):
    """A sink that keeps its parts in memory; parts in `failing` are refused."""

    def __init__(self) -> None:
        super().__init__("test://object")
        self.sent: dict[int, bytes] = {}
        self.failing: dict[int, Exception] = {}
        self.calls: list[str] = []
        self.object: bytes | None = None
        self.failure: Exception | None = None
        self.busy = 0
        self.busiest = 0
        self._lock = threading.Lock()

    def begin(self) -> None:
        self.calls.append("begin")

    def send_part(self, number: int, data: bytes) -> str:
        with self._lock:
            self.busy += 1
            self.busiest = max(self.busy, self.busiest)
        time.sleep(0.002)
        with self._lock:
            self.busy -= 1
        if number in self.failing:
            raise self.failing[number]
        self.sent[number] = data
        return str(number)

    def publish(self, parts: list[str]) -> None:
        self.calls.append("publish")
        if self.failure is not None:
            raise self.failure
        self.object = b"".join(self.sent[int(part)] for part in parts)

    def put_whole(self, data: bytes) -> None:
        self.calls.append("put")
        self.object = data

    def is_published(self) -> bool:
        return self.object is not None

    def discard(self) -> None:
        self.calls.append("discard")


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setattr(parts, "part_size", lambda number: PART)
    return Recorder()


def test_parts_keep_their_order(sink: Recorder) -> None:
    data = bytes(range(256))
    for start in range(0, 256, 7):
        sink.write(data[start : start + 7])
    sink.commit()
    assert sink.object == data
    assert [len(sink.sent[number]) for number in sorted(sink.sent)] == [PART] * 25 + [6]
    assert 1 < sink.busiest <= parts.IN_FLIGHT
    assert sink.calls == ["begin", "publish"]


@pytest.mark.parametrize(("size", "calls"), [(0, ["put"]), (PART - 1, ["put"])])
def test_what_fits_in_a_part_is_one_request(sink: Recorder, size: int, calls: list[str]) -> None:
    sink.write(bytes(size))
    sink.commit()
    sink.abort()
    assert (sink.object, sink.calls) == (bytes(size), calls)


def test_a_part_that_fails_ends_the_upload_early(sink: Recorder) -> None:
    sink.failing[2] = PermissionError("no")
    with pytest.raises(StoreError, match="upload part 2"):
        for _ in range(100):
            sink.write(bytes(PART))
    assert len(sink.sent) < 20
    sink.abort()
    sink.abort()
    assert sink.calls == ["begin", "discard"]


def test_the_last_part_may_fail_too(sink: Recorder) -> None:
    sink.failing[3] = PermissionError("no")
    sink.write(bytes(2 * PART + 1))
    with pytest.raises(StoreError):
        sink.commit()
    sink.abort()
    assert sink.object is None
    assert sink.calls == ["begin", "discard"]


def test_an_answer_that_was_lost(sink: Recorder) -> None:
    def lose() -> None:
        sink.object = b"published"
        raise ConnectionResetError

    sink.settle(lose)
    with pytest.raises(ConnectionResetError):
        sink.object = None
        sink.settle(lambda: (_ for _ in ()).throw(ConnectionResetError()))


def test_a_changed_object_is_a_rival(sink: Recorder) -> None:
    sink.failure = type("Refused", (Exception,), {"status": 412})()
    sink.write(bytes(PART))
    with pytest.raises(ConcurrentWriteError) as caught:
        sink.commit()
    assert caught.value.url == sink.url


def test_ten_thousand_parts_hold_a_tebibyte() -> None:
    sizes = [part_size(number) for number in range(1, 10_001)]
    assert sizes == sorted(sizes)
    assert min(sizes) >= 5 * MIB
    assert max(sizes) <= 5 << 30
    assert all(size % (256 << 10) == 0 for size in sizes)
    assert sum(sizes) > 1.6 * 2**40


@pytest.mark.parametrize(
    "size",
    [
        5 * MIB,
        5 * MIB + 1,
        LARGEST_COPY - 1,
        LARGEST_COPY,
        LARGEST_COPY + 1,
        2 * LARGEST_COPY + 1,
        5 << 40,
    ],
)
def test_copied_parts(size: int) -> None:
    ranges = copy_ranges(size)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == size
    assert all(one[1] == other[0] for one, other in itertools.pairwise(ranges))
    assert all(5 * MIB <= stop - start <= LARGEST_COPY for start, stop in ranges)
    assert len(ranges) <= 10_000
