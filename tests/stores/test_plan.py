"""The planner: what it asks for holds every byte that is wanted, and little else."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ztensor_remote.stores import Runs, fetch
from ztensor_remote.stores.local import BytesSource
from ztensor_remote.stores.plan import Request, plan

OBJECT = np.random.default_rng(7).integers(0, 256, 2000, dtype=np.uint8).tobytes()


@st.composite
def run_lists(draw: st.DrawFn) -> Runs:
    """Runs inside OBJECT in any order, overlapping or not, packed in the destination."""
    spans = draw(
        st.lists(st.tuples(st.integers(0, 1900), st.integers(0, 100)), min_size=0, max_size=40)
    )
    offsets = np.array([offset for offset, _ in spans], dtype=np.int64)
    lengths = np.array([length for _, length in spans], dtype=np.int64)
    targets = np.concatenate(([0], np.cumsum(lengths)[:-1])) if spans else lengths
    return Runs(offsets, lengths, targets.astype(np.int64))


waves = st.integers(0, 20)
gaps = st.integers(0, 300)


def rows(runs: Runs) -> list[tuple[int, int, int]]:
    columns = (runs.offsets, runs.lengths, runs.targets)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def wanted(runs: Runs) -> set[int]:
    return {byte for offset, length, _ in rows(runs) for byte in range(offset, offset + length)}


@settings(deadline=None)
@given(run_lists(), waves, gaps)
def test_every_run_is_in_one_request_that_holds_it(runs: Runs, wave: int, max_gap: int) -> None:
    carried: list[tuple[int, int, int]] = []
    for request in plan(runs, wave=wave, max_gap=max_gap):
        for offset, length, target in rows(request.runs):
            assert request.offset <= offset
            assert offset + length <= request.offset + request.length
            carried.append((offset, length, target))
    assert sorted(carried) == sorted(row for row in rows(runs) if row[1])


@settings(deadline=None)
@given(run_lists(), waves, gaps)
def test_requests_are_sorted_and_disjoint(runs: Runs, wave: int, max_gap: int) -> None:
    requests = plan(runs, wave=wave, max_gap=max_gap)
    assert all(request.length > 0 for request in requests)
    for one, other in pairwise(requests):
        assert one.offset + one.length < other.offset


@settings(deadline=None)
@given(run_lists(), waves, gaps)
def test_no_request_begins_or_ends_with_waste(runs: Runs, wave: int, max_gap: int) -> None:
    bytes_wanted = wanted(runs)
    for request in plan(runs, wave=wave, max_gap=max_gap):
        assert request.offset in bytes_wanted
        assert request.offset + request.length - 1 in bytes_wanted


@settings(deadline=None)
@given(run_lists(), waves, gaps)
def test_waste_is_bounded(runs: Runs, wave: int, max_gap: int) -> None:
    bytes_wanted = sorted(wanted(runs))
    holes = [after - before - 1 for before, after in pairwise(bytes_wanted) if after > before + 1]
    requests = plan(runs, wave=wave, max_gap=max_gap)
    waste = sum(request.length for request in requests) - len(bytes_wanted)
    if len(holes) < wave:
        assert waste == 0
    else:
        assert waste == sum(hole for hole in holes if hole <= max_gap)


@settings(deadline=None)
@given(run_lists())
def test_what_is_fetched_is_what_was_wanted(runs: Runs) -> None:
    # More gaps than go out at once, so that some are read over.
    destination = bytearray(int(runs.lengths.sum()))
    fetch(BytesSource(OBJECT), runs, memoryview(destination))
    expected = b"".join(OBJECT[offset : offset + length] for offset, length, _ in rows(runs))
    assert bytes(destination) == expected


@pytest.mark.parametrize(
    ("spans", "direct"),
    [
        ([(10, 5, 0)], True),
        ([(10, 5, 0), (15, 5, 5)], True),
        ([(10, 5, 5), (15, 5, 0)], False),
        ([(10, 5, 0), (20, 5, 5)], False),
        ([(10, 5, 0), (20, 5, 10)], False),
        # As many bytes as the request has, but not all of its own.
        ([(10, 5, 0), (10, 5, 0), (20, 5, 10)], False),
    ],
)
def test_a_request_is_direct_if_one_copy_does_it(
    spans: list[tuple[int, int, int]], direct: bool
) -> None:
    offsets, lengths, targets = (
        np.array(column, dtype=np.int64) for column in zip(*spans, strict=True)
    )
    last = max(offset + length for offset, length, _ in spans)
    assert Request(10, last - 10, Runs(offsets, lengths, targets)).is_direct is direct


def test_nothing_wanted() -> None:
    nothing = Runs.packed(np.array([], dtype=np.int64), 8)
    assert plan(nothing, wave=16, max_gap=0) == []
    assert plan(Runs.single(5, 0), wave=16, max_gap=0) == []
