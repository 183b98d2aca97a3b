"""Indexing gives what NumPy gives, on every kind of source, and fetches no more than it needs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ztensor_remote as zt
from tests.reader.models import in_memory, model_bytes, numbers, same
from ztensor_remote.reader.selection import Selection, select

SHAPES = [(), (0,), (1,), (9,), (5, 6), (3, 0, 4), (4, 3, 160), (2, 3, 4, 6), (600, 2), (1, 1, 1)]
STORED = ["uint8", "float32", "bfloat16", "complex128", "bool", "float4_e2m1fn"]
ARRAYS = {f"{dtype}{shape}": numbers(dtype, shape) for dtype in STORED for shape in SHAPES}
CLOSE = 512
"""Bytes: what lies between wanted pieces that begin closer than this may be fetched too."""

thorough = settings(deadline=None, max_examples=150, database=None)


@pytest.fixture(scope="module", params=["local", "bytes", "fetched", "compressed"])
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[zt.Reader]:
    data = model_bytes(ARRAYS, compress=request.param == "compressed")
    if request.param == "local":
        path = tmp_path_factory.mktemp("selection") / "model.zt"
        path.write_bytes(data)
        reader = zt.open(path)
    else:
        reader = zt.open(data if request.param == "bytes" else in_memory(data))
    with reader:
        yield reader


def index_arrays(size: int) -> st.SearchStrategy[Any]:
    """Masks, and integer arrays of one or two dimensions, some of them as lists."""
    elements = st.integers(-size, size - 1) if size else st.nothing()
    shapes = hnp.array_shapes(max_dims=2, max_side=4) if size else st.just(0)
    positions = hnp.arrays(np.int64, shapes, elements=elements)
    arrays = positions | positions.map(lambda array: array.astype(np.int16)) | masks(size)
    return arrays | arrays.map(lambda array: array.tolist())


def masks(size: int) -> st.SearchStrategy[Any]:
    return hnp.arrays(np.bool_, size)


def integers(size: int) -> st.SearchStrategy[Any]:
    """Positions, also those just out of bounds, as the kinds of integers that people have."""
    plain = st.integers(-size - 1, size)
    return plain | plain.map(np.int64) | plain.map(lambda position: np.array(position))


@st.composite
def keys(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """Index expressions of all kinds that are supported."""
    basic = hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)
    if not shape or draw(st.booleans()):
        return draw(basic)
    before = draw(st.sampled_from([(), (None,), (None, None)]))
    first = draw(index_arrays(shape[0]) | integers(shape[0]))
    rest = draw(hnp.basic_indices(shape[1:], allow_newaxis=True, allow_ellipsis=True))
    return (*before, first, *(rest if isinstance(rest, tuple) else (rest,)))


def outcome(array: Any, key: Any) -> Any:
    try:
        return array[key]
    except IndexError:
        return IndexError


@thorough
@given(st.data())
def test_any_index_gives_what_numpy_gives(model: zt.Reader, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(ARRAYS)))
    key = data.draw(keys(ARRAYS[name].shape))
    wanted, actual = outcome(ARRAYS[name], key), outcome(model[name], key)
    assert actual is wanted or same(actual, wanted), (name, key)


@thorough
@given(st.data())
def test_bytes_are_fetched_once_and_only_where_some_are_needed(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from(SHAPES))
    width = data.draw(st.sampled_from([1, 2, 4, 16]))
    numbered = np.arange(math.prod(shape)).reshape(shape)
    key = data.draw(keys(shape))
    wanted = outcome(numbered, key)
    if wanted is IndexError:
        with pytest.raises(IndexError):
            select(shape, width * 8, key)
        return
    selection = select(shape, width * 8, key)
    needed = np.zeros(numbered.size * width, np.bool_)
    needed.reshape(-1, width)[np.ravel(wanted)] = True
    fetched = np.zeros(needed.size, np.int64)
    for start, stop in byte_runs(selection):
        fetched[start:stop] += 1
        assert needed[start] and needed[stop - 1]
        assert longest_gap(needed[start:stop]) < CLOSE
    assert fetched[needed].all() and fetched.max(initial=0) <= 1
    assert selection.nbytes == fetched.sum()
    elements = numbered.ravel()[fetched[::width] > 0].reshape(selection.shape)
    assert same(elements[selection.index], wanted)


@thorough
@given(st.data())
def test_other_orders_than_that_of_c(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from(SHAPES))
    numbered = np.arange(math.prod(shape)).reshape(shape)
    array = numbered.transpose(data.draw(st.permutations(range(len(shape)))))
    is_dense = data.draw(st.booleans())
    if not is_dense:  # with gaps, and with elements that are there many times
        step = data.draw(st.integers(1, 3))
        array = np.broadcast_to(array[..., None, None], (*array.shape, 3, 2))[..., ::step, :]
        array = array.swapaxes(0, -1)[:, ::step]
    strides = tuple(by // numbered.itemsize for by in array.strides)
    key = data.draw(keys(array.shape))
    wanted = outcome(array, key)
    if wanted is IndexError:
        with pytest.raises(IndexError):
            select(array.shape, 32, key, strides)
        return
    selection = select(array.shape, 32, key, strides)
    places = [np.arange(start, stop, 4) // 4 for start, stop in byte_runs(selection)]
    fetched = np.concatenate([np.empty(0, np.int64), *places])
    assert selection.nbytes == 4 * len(fetched)
    if is_dense:
        assert len(fetched) == len(set(fetched.tolist()))
        needed = np.isin(np.arange(numbered.size), np.ravel(wanted))
        for start, stop in byte_runs(selection):
            assert longest_gap(np.repeat(needed[start // 4 : stop // 4], 4)) < CLOSE
    memory = fetched.astype(np.uint32)
    by = selection.strides
    elements = (
        memory.reshape(selection.shape)
        if by is None or not memory.size
        else np.lib.stride_tricks.as_strided(memory, selection.shape, [4 * n for n in by])
    )
    assert same(elements[selection.index].astype(wanted.dtype), wanted)


@thorough
@given(st.data())
def test_what_was_cut_out_of_an_array_is_read_without_the_rest(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(5, 300), (3, 4, 200), (40,), (2, 3, 2, 150), (1, 5, 300)]))
    parent = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    parts = [
        slice(data.draw(st.integers(0, size - 1)), size, data.draw(st.integers(1, 3)))
        for size in shape
    ]
    array = parent[tuple(parts)]
    array = array[..., : data.draw(st.integers(1, array.shape[-1]))]
    array = array.transpose(data.draw(st.permutations(range(array.ndim))))
    first = int(array.ravel()[0])
    strides = tuple(by // 8 for by in array.strides)
    key = data.draw(keys(array.shape))
    wanted = outcome(array, key)
    if wanted is IndexError:
        return
    selection = select(array.shape, 64, key, strides)
    places = [np.arange(start, stop, 8) // 8 for start, stop in byte_runs(selection)]
    fetched = np.concatenate([np.empty(0, np.int64), *places]) + first
    assert fetched.max(initial=0) <= array.max(initial=0), "behind the last element"
    by = selection.strides or tuple(n // 8 for n in np.empty(selection.shape).strides)
    elements = np.lib.stride_tricks.as_strided(fetched, selection.shape, [8 * n for n in by])
    assert same(elements[selection.index].astype(wanted.dtype), wanted)


def test_columns_of_a_stored_matrix_cost_no_more_than_themselves() -> None:
    whole = select((100, 10), 32, ..., (1000, 1))
    assert whole.nbytes == 100 * 10 * 4 and len(whole.runs.lengths) == 100
    some = select((10, 100), 32, np.s_[2:4, ::50], (1, 1000))
    assert some.nbytes == 2 * 2 * 4
    odd = select((5, 3), 32, ..., (7, 4))  # overlaps in no row of anything
    assert odd.nbytes == (4 * 7 + 2 * 4 + 1) * 4


def byte_runs(selection: Selection) -> Iterator[tuple[int, int]]:
    runs = selection.runs
    yield from zip(runs.offsets.tolist(), (runs.offsets + runs.lengths).tolist(), strict=True)


def longest_gap(needed: np.ndarray[Any, np.dtype[np.bool_]]) -> int:
    return int(np.diff(np.flatnonzero(needed)).max(initial=1)) - 1


@thorough
@given(st.data())
def test_packed_elements_are_fetched_by_rows_or_as_a_whole(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from(SHAPES))
    key = data.draw(keys(shape))
    wanted = outcome(np.empty(shape), key)
    if wanted is IndexError:
        return
    selection = select(shape, 4, key)
    whole = (math.prod(shape) + 1) // 2
    row = shape[-1] // 2 if shape and shape[-1] % 2 == 0 else whole
    assert 0 <= selection.nbytes <= whole
    assert bool(selection.nbytes) == bool(wanted.size)
    assert all(start % row == stop % row == 0 for start, stop in byte_runs(selection))


class TestRuns:
    def test_of_rows_are_one(self) -> None:
        assert [*byte_runs(select((100, 8, 4), 32, slice(10, 20)))] == [(1280, 2560)]

    def test_of_far_columns_are_one_a_row(self) -> None:
        assert [*byte_runs(select((3, 1000), 32, (..., slice(4, 6))))] == [
            (16, 24),
            (4016, 4024),
            (8016, 8024),
        ]

    def test_of_far_steps_leave_out_what_lies_between(self) -> None:
        assert [*byte_runs(select((1_000_000,), 32, slice(None, None, 400_000)))] == [
            (0, 4),
            (1_600_000, 1_600_004),
            (3_200_000, 3_200_004),
        ]

    def test_of_close_steps_are_one(self) -> None:
        assert [*byte_runs(select((1000,), 32, slice(5, 500, 2)))] == [(20, 2000)]

    def test_stay_few_enough_to_be_listed(self) -> None:
        selection = select((2048, 1024, 2), 8, (..., slice(1)))
        assert len(selection.runs.offsets) <= 1 << 20
        assert selection.nbytes <= 2048 * 1024 * 2


class TestErrors:
    @pytest.mark.parametrize(
        "key",
        [
            5,
            -6,
            (0, 6),
            (0, 0, 0),
            (..., ...),
            1.0,
            "0",
            b"0",
            {0},
            (0, 1.0),
            [5],
            [0.5],
            [[True]],
            np.array([True, False]),
            np.array([0.0]),
            np.array(1.5),
            np.ones((5, 6), np.bool_),
        ],
        ids=repr,
    )
    def test_what_is_no_index_or_out_of_bounds(self, model: zt.Reader, key: Any) -> None:
        with pytest.raises(IndexError):
            model["float32(5, 6)"][key]

    @pytest.mark.parametrize("key", [True, False, np.True_], ids=repr)
    def test_booleans_are_not_integers(self, model: zt.Reader, key: Any) -> None:
        with pytest.raises(IndexError):
            model["float32(5, 6)"][key]

    @pytest.mark.parametrize("key", [(0, [1]), (slice(None), np.ones(6, bool)), (..., [0, 0])])
    def test_arrays_on_other_axes_say_what_to_do(self, model: zt.Reader, key: Any) -> None:
        with pytest.raises(zt.InvalidInputError, match="read the rows, then index the result"):
            model["float32(5, 6)"][key]

    def test_a_zero_step(self, model: zt.Reader) -> None:
        with pytest.raises(ValueError, match="step"):
            model["float32(5, 6)"][::0]
