"""How tensors are cut for workers."""

from __future__ import annotations

import pytest

from ztensor_remote.integrations.chunking import groups_of, row_chunks


@pytest.mark.parametrize(
    ("shape", "most", "frame", "chunks"),
    [
        ((100, 10), 400, 1, (10, 10)),
        ((100, 10), 10**6, 1, (100, 10)),
        ((100, 10), 30, 1, (1, 7)),
        ((4, 5, 6), 500, 1, (4, 5, 6)),
        ((4, 5, 6), 479, 1, (3, 5, 6)),
        ((4, 5, 6), 100, 1, (1, 4, 6)),
        ((10,), 1, 1, (1,)),
        ((), 8, 1, ()),
        ((0, 7), 8, 1, (0, 7)),
        # 40 bytes a row: five rows are a frame of 200 bytes, and chunks are whole frames.
        ((100, 10), 480, 200, (10, 10)),
        ((100, 10), 120, 200, (3, 10)),
        ((12, 10), 480, 200, (12, 10)),
    ],
)
def test_chunks_are_runs_of_rows(
    shape: tuple[int, ...], most: int, frame: int, chunks: tuple[int, ...]
) -> None:
    assert row_chunks(shape, 4, most, frame) == chunks


def test_neighbours_are_grouped_up_to_a_size() -> None:
    sizes = {"a": 3, "b": 3, "c": 9, "d": 0, "e": 6, "f": 1}
    assert groups_of(sizes, 6) == [["a", "b"], ["c"], ["d", "e"], ["f"]]
    assert groups_of({}, 6) == []
