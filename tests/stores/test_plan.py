"""The planner: what it asks for holds every byte that is wanted, and little else."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ztensor_remote.stores import Limits, Runs, fetch
from ztensor_remote.stores.control import Control
from ztensor_remote.stores.landing import Landing
from ztensor_remote.stores.local import BytesSource
from ztensor_remote.stores.plan import Costs, Request, plan

OBJECT = np.random.default_rng(7).integers(0, 256, 2000, dtype=np.uint8).tobytes()
KIB = 1 << 10
MIB = 1 << 20


def costs(**changes: Any) -> Costs:
    """Return the costs of a server 30 ms away."""
    known: dict[str, Any] = {
        "latency": 0.03,
        "overhead": 0.0003,
        "stream": 80e6,
        "total": 1e9,
        "connections": 64,
        "smallest_part": 5 * MIB // 4,
        "largest_part": 32 * MIB,
        "largest_borrowed": 8 * MIB,
        "over_read": 1.25,
    }
    return Costs(**known | changes)


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


some_costs = st.builds(
    costs,
    latency=st.sampled_from([0.0001, 0.03, 1.0]),
    total=st.sampled_from([1e3, 1e6, 1e9]),
    connections=st.integers(1, 20),
    smallest_part=st.integers(1, 300),
    largest_part=st.integers(300, 500),
    largest_borrowed=st.integers(200, 300),
)


def rows(runs: Runs) -> list[tuple[int, int, int]]:
    columns = (runs.offsets, runs.lengths, runs.targets)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def wanted(runs: Runs) -> set[int]:
    return {byte for offset, length, _ in rows(runs) for byte in range(offset, offset + length)}


def landings(runs: Runs) -> list[tuple[int, int]]:
    """Return byte by byte what comes from where to where."""
    return sorted(
        (target + at, offset + at) for offset, length, target in rows(runs) for at in range(length)
    )


@settings(deadline=None)
@given(run_lists(), some_costs)
def test_every_byte_is_in_one_request_that_holds_it(runs: Runs, known: Costs) -> None:
    carried = []
    for request in plan(runs, known):
        for offset, length, _ in rows(request.runs):
            assert request.offset <= offset
            assert offset + length <= request.offset + request.length
        carried += landings(request.runs)
    assert sorted(carried) == landings(runs)


@settings(deadline=None)
@given(run_lists(), some_costs)
def test_requests_are_sorted_and_hold_no_waste_at_their_ends(runs: Runs, known: Costs) -> None:
    requests = plan(runs, known)
    bytes_wanted = wanted(runs)
    for request in requests:
        assert request.length > 0
        assert request.offset in bytes_wanted
        assert request.offset + request.length - 1 in bytes_wanted
    assert all(one.offset <= other.offset for one, other in pairwise(requests))


@settings(deadline=None)
@given(run_lists(), some_costs)
def test_what_is_fetched_is_what_was_wanted(runs: Runs, known: Costs) -> None:
    source, destination = BytesSource(OBJECT), bytearray(int(runs.lengths.sum()))
    for each in Landing([memoryview(destination)]).fetches(source, plan(runs, known)):
        borrowed = bytearray(each.length)
        source.read_into(each.offset, *(each.pieces or [memoryview(borrowed)]))
        each.use(memoryview(borrowed), Control())
    assert bytes(destination) == expected(runs)


def test_through_the_executor() -> None:
    runs = Runs.packed(np.arange(0, 1900, 7), 5)
    destination = bytearray(int(runs.lengths.sum()))
    fetch(BytesSource(OBJECT), runs, memoryview(destination), limits=Limits())
    assert bytes(destination) == expected(runs)


def expected(runs: Runs) -> bytes:
    return b"".join(OBJECT[offset : offset + length] for offset, length, _ in rows(runs))


def test_nothing_wanted() -> None:
    nothing = Runs.packed(np.array([], dtype=np.int64), 8)
    assert plan(nothing, costs()) == []
    assert plan(Runs.single(5, 0), costs()) == []


# --- what is asked for, and why -------------------------------------------------------------


def requested(runs: Runs, known: Costs) -> tuple[int, float]:
    """Return how many requests there are, and the ratio of fetched to wanted bytes."""
    requests = plan(runs, known)
    return len(requests), sum(map(length, requests)) / int(runs.lengths.sum())


def length(request: Request) -> int:
    return request.length


def test_many_small_neighbours_are_few_requests() -> None:
    count, ratio = requested(Runs.packed(np.arange(500) * (64 * KIB + 64), 64 * KIB), costs())
    assert count < 500 * 64 / 1024
    assert ratio < 1.01


def test_every_fourth_of_them_is_not_worth_the_rest() -> None:
    count, ratio = requested(Runs.packed(np.arange(125) * 256 * KIB, 64 * KIB), costs())
    assert (count, ratio) == (125, 1.0)


def test_a_large_run_keeps_all_connections_busy() -> None:
    near = plan(Runs.single(0, 1 << 30), costs(connections=4, latency=0.0003))
    assert {32 * MIB} == {request.length for request in near}
    far = plan(Runs.single(0, 80 * MIB), costs())
    assert len(far) == 64
    assert plan(Runs.single(0, MIB), costs())[0].length == MIB


def test_what_takes_memory_under_way_comes_in_smaller_parts() -> None:
    near = costs(connections=4, latency=0.0003)
    short = Runs.packed(np.arange(1 << 20) * KIB, KIB)
    assert max(request.length for request in plan(short, near)) <= 8 * MIB
    numbers = np.arange(512)
    frames = Runs(numbers * MIB, np.full(512, MIB), ~numbers)
    assert max(request.length for request in plan(frames, near)) <= 8 * MIB


@pytest.mark.parametrize(
    ("columns", "known", "whole_rows"),
    [
        (128, costs(latency=0.0003, connections=4, total=2e9), True),
        (4096, costs(latency=0.0003, connections=4, total=2e9), True),
        (128, costs(total=2e9), True),
        (128, costs(total=1e8, latency=0.0003, connections=4), False),
    ],
)
def test_columns_of_a_matrix(columns: int, known: Costs, whole_rows: bool) -> None:
    """131,072 rows of 32 KiB, some columns of each."""
    runs = Runs.packed(np.arange(1 << 17) * 32 * KIB, columns * 4)
    count, ratio = requested(runs, known)
    if whole_rows:
        assert count < 600 and ratio > 0.99 * 8192 / columns
    else:
        assert count == 1 << 17 and ratio == 1
