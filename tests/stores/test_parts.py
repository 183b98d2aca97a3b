"""Uploads in parts: what every store's sink inherits."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import defaultdict
from types import SimpleNamespace

import pytest
from crc32c import crc32c

from tests.faults import fault
from ztensor_remote.codecs import Hasher
from ztensor_remote.errors import AccessDeniedError, ConcurrentWriteError, StoreError
from ztensor_remote.stores import failures, parts
from ztensor_remote.stores.copies import LARGEST_PART, SMALLEST_PART, CopyPlan, plan_copy
from ztensor_remote.stores.part import Part
from ztensor_remote.stores.parts import PartedSink, part_size

MIB = 1 << 20
PART = 10


class Recorder(PartedSink):
    """A sink that keeps its parts in memory; parts in `failing` are refused."""

    def __init__(self) -> None:
        super().__init__("test://object")
        self.sent: dict[int, bytes] = {}
        self.crcs: dict[int, int | None] = {}
        self.places: set[int] = set()
        self.sent_from: dict[int, list[int]] = defaultdict(list)
        self.failing: dict[int, Exception] = {}
        self.calls: list[str] = []
        self.object: bytes | None = None
        self.failure: Exception | None = None
        self.busy = 0
        self.busiest = 0
        self._lock = threading.Lock()

    def begin(self) -> None:
        self.calls.append("begin")

    def send_part(self, part: Part) -> str:
        number, data = part.number, part.data
        with self._lock:
            self.busy += 1
            self.busiest = max(self.busy, self.busiest)
        time.sleep(0.002)
        with self._lock:
            self.busy -= 1
        if number in self.failing:
            raise self.failing[number]
        self.places.add(id(data.obj))
        self.sent_from[id(data.obj)].append(number)
        self.sent[number] = bytes(data)  # the memory is used again
        self.crcs[number] = part.crc
        return str(number)

    def publish(self, parts: list[str]) -> None:
        self.calls.append("publish")
        if self.failure is not None:
            raise self.failure
        self.object = b"".join(self.sent[int(part)] for part in parts)

    def put_whole(self, data: memoryview) -> None:
        self.calls.append("put")
        self.object = bytes(data)

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


def test_memory_of_parts_is_used_again(sink: Recorder) -> None:
    for _ in range(100):
        sink.write(bytes(PART))
    sink.commit()
    assert len(sink.sent) == 100
    assert len(sink.places) <= parts.IN_FLIGHT + 1


def test_large_data_are_sent_from_where_they_are(sink: Recorder) -> None:
    data = bytearray(os.urandom(20 * PART + 3))
    wanted = bytes(data)
    sink.write(b"head")
    sink.write(data)
    data[:] = bytes(len(data))  # whatever is still under way was copied
    sink.commit()
    assert sink.object == b"head" + wanted
    lent = [len(sink.sent[number]) for number in sink.sent_from[id(data)]]
    copied = 20 * PART + 3 - (PART - len(b"head")) - sum(lent)
    assert copied == parts.IN_FLIGHT * PART
    assert all(PART <= size <= 2 * PART for size in lent)


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("size", [PART, 2 * PART, 2 * PART + 1, 7 * PART - 1, 20 * PART + 3])
def test_what_is_lent_is_not_copied(sink: Recorder, size: int, equal: bool) -> None:
    sink.has_equal_parts = equal
    arrays = [os.urandom(size) for _ in range(3)]
    for array in arrays:
        sink.take(array, lent=True)
    sink.commit_in_parts()
    assert sink.object == b"".join(arrays)
    lent = [sink.sent[number] for array in arrays for number in sorted(sink.sent_from[id(array)])]
    if equal:
        assert [len(sink.sent[number]) for number in sorted(sink.sent)][:-1] == [PART] * (
            len(sink.sent) - 1
        )
    else:
        assert b"".join(lent) == b"".join(arrays)
        assert all(PART <= len(part) <= 2 * PART for part in lent)


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("lent", [False, True])
def test_parts_and_what_they_hold_are_digested_together(
    sink: Recorder, lent: bool, checked: bool
) -> None:
    sink.checks_parts = checked
    sizes = (3, PART - 3, 2 * PART + 5, 17, 9 * PART, PART // 2)
    pieces = [os.urandom(size) for size in sizes]
    for piece in pieces:
        hasher = Hasher("crc32c")
        sink.take(piece[: len(piece) // 3], lent=lent, digest=hasher)
        sink.take(piece[len(piece) // 3 :], lent=lent, digest=hasher)
        sink.write(b"between")
        assert hasher.crc == crc32c(piece)
    sink.commit_in_parts()
    assert sink.object == b"".join(piece + b"between" for piece in pieces)
    known = {number: crc for number, crc in sink.crcs.items() if crc is not None}
    assert known
    assert known == {number: crc32c(sink.sent[number]) for number in known}
    assert not checked or known.keys() == sink.sent.keys()


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


class TestLostAnswers:
    @pytest.fixture(autouse=True)
    def pauses(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        pauses: list[float] = []
        monkeypatch.setattr(parts, "time", SimpleNamespace(sleep=pauses.append))
        return pauses

    def test_the_object_is_ours(self, sink: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
        def lose(data: bytes) -> None:
            sink.object = data
            raise ValueError

        monkeypatch.setattr(sink, "put_whole", lose)
        sink.write(b"some")
        sink.commit()
        assert sink.object == b"some"

    @pytest.mark.parametrize("looks", range(1, 7))
    def test_a_slow_publication_is_waited_for(
        self, sink: Recorder, monkeypatch: pytest.MonkeyPatch, pauses: list[float], looks: int
    ) -> None:
        sink.failure = ValueError("no answer")
        monkeypatch.setattr(sink, "is_published", lambda: len(pauses) >= looks)
        sink.write(bytes(PART))
        sink.commit()
        sink.abort()
        assert len(pauses) == looks
        assert sink.calls == ["begin", "publish"]

    def test_what_appears_when_the_upload_is_dropped(
        self, sink: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sink.failure = ValueError("no answer")
        monkeypatch.setattr(sink, "is_published", lambda: "discard" in sink.calls)
        sink.write(bytes(PART))
        sink.commit()
        assert sink.calls == ["begin", "publish", "discard"]

    def test_nothing_appears(self, sink: Recorder) -> None:
        sink.failure = ValueError("no answer")
        sink.write(bytes(PART))
        with pytest.raises(StoreError, match="no answer") as caught:
            sink.commit()
        assert "not known" not in str(caught.value)

    def test_nobody_can_tell(self, sink: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> bool:
            raise PermissionError

        sink.failure = ValueError("no answer")
        monkeypatch.setattr(sink, "is_published", fail)
        sink.write(bytes(PART))
        with pytest.raises(StoreError, match="not known: look before you write again"):
            sink.commit()

    def test_a_clear_refusal_is_looked_at_once(self, sink: Recorder, pauses: list[float]) -> None:
        sink.failure = type("Refused", (Exception,), {"status": 403})()
        sink.write(bytes(PART))
        with pytest.raises(AccessDeniedError):
            sink.commit()
        assert len(pauses) == 1


def test_an_interrupt_while_the_upload_is_opened(
    sink: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        sink.calls.append("begin")

    monkeypatch.setattr(sink, "begin", begin)
    with pytest.raises(KeyboardInterrupt):
        sink.write(bytes(PART))
    sink.abort()
    assert sink.calls == ["begin", "discard"]


def test_an_abort_ends_the_pauses_between_attempts(
    sink: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "_FIRST_PAUSE", 600.0)
    monkeypatch.setattr(failures, "_LONGEST_PAUSE", 600.0)
    sink.failing = dict.fromkeys((1, 2, 3), ConnectionResetError())
    sink.write(bytes(3 * PART))
    sink.abort()
    assert sink.calls == ["begin", "discard"]


def test_a_clean_up_that_failed_can_be_repeated(
    sink: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink.write(bytes(PART))
    with monkeypatch.context() as broken:
        broken.setattr(sink, "discard", lambda: sink.failing[1])
        with pytest.raises(StoreError):
            sink.abort()
    sink.abort()
    assert sink.calls == ["begin", "discard"]


def test_a_changed_object_is_a_rival(sink: Recorder) -> None:
    sink.failure = type("Refused", (Exception,), {"status": 412})()
    sink.write(bytes(PART))
    with pytest.raises(ConcurrentWriteError) as caught:
        sink.commit()
    assert caught.value.url == sink.url


@fault(16)
def test_ten_thousand_parts_hold_a_tebibyte() -> None:
    sizes = [part_size(number) for number in range(1, 10_001)]
    assert sizes == sorted(sizes)
    assert min(sizes) >= 5 * MIB
    assert max(sizes) <= 5 << 30
    assert all(size % (256 << 10) == 0 for size in sizes)
    assert sum(sizes) > 1.6 * 2**40


EDGES = [5 * MIB + step for step in (-1, 0, 1)] + [LARGEST_PART + step for step in (-1, 0, 1)]


def parts_of(plan: CopyPlan, start: int, stop: int, buffered: int, sent: int) -> list[int]:
    """Check that a plan covers a range, and return the parts that it makes."""
    edges = [start, plan.first, *(last for _, last in plan.copies), stop]
    assert edges == sorted(edges)
    assert [first for first, _ in plan.copies] == [plan.first, *edges[2:-1]][: len(plan.copies)]
    assert plan.last == edges[-2]
    begun = buffered + plan.first - start
    sizes = [last - first for first, last in plan.copies]
    last = stop - plan.last + sent
    return [*([begun] if begun else []), *sizes, *([last] if last else [])]


@fault(16)
@pytest.mark.parametrize("buffered", [0, 1, 5 * MIB - 1, 5 * MIB, 8 * MIB - 1])
@pytest.mark.parametrize("size", [0, 1, *EDGES, 300 * MIB, 2 * LARGEST_PART + 1, 5 << 40])
def test_copies_are_parts_that_s3_takes(size: int, buffered: int) -> None:
    plan = plan_copy(7, 7 + size, buffered=buffered)
    *others, _ = [*parts_of(plan, 7, 7 + size, buffered, sent=1), 0]
    if plan.copies:
        assert all(SMALLEST_PART <= part <= LARGEST_PART for part in others[:-1])
        assert len(others) < 1100
        assert plan.first - 7 < 5 * MIB and plan.last == 7 + size
    else:
        assert size < 10 * MIB


@fault(16)
@pytest.mark.parametrize("buffered", [0, 1, 16 * MIB - 1])
@pytest.mark.parametrize("size", [0, 1, 16 * MIB - 1, 16 * MIB, 100 * MIB + 3, 5 << 36])
def test_copies_are_parts_that_r2_takes(size: int, buffered: int) -> None:
    equal = 16 * MIB
    plan = plan_copy(0, size, buffered=buffered, equal=equal)
    if plan.copies:
        *others, last = parts_of(plan, 0, size, buffered, sent=1)
        assert set(others) == {equal}
        assert last <= equal
    else:
        assert buffered + size < 2 * equal
