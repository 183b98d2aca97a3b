"""What `add_tensor` takes, and what it refuses before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import ztensor_remote as zt
from tests.reader.models import DTYPES, IN_1_0, MEMORY, new_url, numbers, same, written

torch = pytest.importorskip("torch")

VERSIONS = ["1.0", "1.2", "2"]
# Torch says once that sparse tensors of these layouts are in beta.
pytestmark = pytest.mark.filterwarnings("ignore:Sparse CS[RC] tensor support:UserWarning")


def read_back(tensor: Any, **options: Any) -> Any:
    """Return what a file holds after a tensor was added to it."""
    with zt.open(written(lambda writer: writer.add_tensor("t", tensor), **options)) as model:
        model.verify()
        return model["t"].numpy()


class Wrapped:
    """Something of another library that turns into an array."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self.array, dtype=dtype, copy=copy)


class TestArrays:
    @pytest.mark.parametrize("compress", [False, True])
    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_of_every_dtype(self, dtype: str, version: str, compress: bool) -> None:
        array = numbers(dtype, (5, 3))
        if version == "1.0" and dtype not in IN_1_0:
            with pytest.raises(zt.UnsupportedError, match=r"1\.0 can't store"):
                read_back(array, version=version)
        else:
            assert same(read_back(array, version=version, compress=compress), array)

    @pytest.mark.parametrize("dtype", ["int16", "complex128", "bfloat16", "bool", "float4_e2m1fn"])
    @pytest.mark.parametrize(
        "view",
        [
            lambda a: a.T,
            lambda a: a[::2, ::-3],
            lambda a: a[1:, 1:-1],
            lambda a: np.asfortranarray(a),
            lambda a: np.broadcast_to(a[0], (4, *a[0].shape)),
            lambda a: a[:, 3],
            lambda a: np.moveaxis(a.reshape(7, 3, 3), 0, 2),
            lambda a: a[2, 2],
            lambda a: a[:0],
        ],
        ids=["T", "steps", "inner", "F", "broadcast", "column", "moved", "scalar", "empty"],
    )
    def test_of_any_strides(self, view: Callable[[Any], Any], dtype: str) -> None:
        array = view(numbers(dtype, (7, 9)))
        assert same(read_back(array), np.ascontiguousarray(array).reshape(np.shape(array)))

    @pytest.mark.parametrize("dtype", [">f8", ">f4", ">i2", ">u8", ">c16", "<f4", "|i1"])
    def test_of_any_byte_order(self, dtype: str) -> None:
        array = np.arange(12).astype(dtype).reshape(3, 4)
        for view in (array, array.T):
            assert same(read_back(view), np.ascontiguousarray(view).astype(dtype[1:]))

    def test_larger_than_what_is_converted_at_once(self) -> None:
        array = np.arange(1_500_000, dtype=">i4").reshape(1000, 1500).T
        assert same(read_back(array), np.ascontiguousarray(array).astype("i4"))

    @settings(deadline=None, database=None, max_examples=60)
    @given(
        hnp.arrays(
            st.sampled_from(["f4", ">f8", "i1", ">u2", "?"]),
            hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
        ),
        st.sampled_from(VERSIONS),
    )
    def test_of_any_shape(self, array: Any, version: str) -> None:
        assert same(
            read_back(array.T, version=version), array.T.astype(array.dtype.newbyteorder("="))
        )

    @pytest.mark.parametrize("value", [3.5, True, 7, [1, 2], [[1.5], [2]], (), range(4)])
    def test_of_python_numbers(self, value: Any) -> None:
        assert same(read_back(value), np.asarray(value))

    def test_of_read_only_memory(self) -> None:
        array = np.frombuffer(bytes(range(16)), np.uint8)
        assert same(read_back(array), array)

    def test_that_other_objects_turn_into(self) -> None:
        array = np.arange(6).reshape(2, 3)
        assert same(read_back(Wrapped(array)), array)
        with zt.open(written(lambda writer: writer.add_tensor("t", array))) as model:
            assert same(read_back(model["t"]), array)

    def test_that_change_afterwards_do_not_change_the_file(self) -> None:
        array = np.arange(6)

        def add(writer: zt.Writer) -> None:
            writer.add_tensor("before", array)
            array[:] = 0

        with zt.open(written(add)) as model:
            assert model["before"].numpy().tolist() == [0, 1, 2, 3, 4, 5]

    def test_booleans_of_other_memory_are_stored_as_zero_and_one(self) -> None:
        array = np.array([0, 1, 2, 255], np.uint8).view(bool)
        for tensor in (array, array[::-1], torch.from_numpy(array)):
            found = read_back(tensor)
            assert found.view(np.uint8).tolist() in ([0, 1, 1, 1], [1, 1, 1, 0])


class TestTorch:
    @pytest.mark.parametrize("dtype", [d for d in DTYPES if hasattr(torch, d)])
    def test_every_dtype(self, dtype: str) -> None:
        array = numbers(dtype, (4, 6))
        tensor = torch.from_numpy(array.view(f"u{min(array.itemsize, 8)}").copy())
        tensor = tensor.view(torch.uint8).view(getattr(torch, dtype)).reshape(4, 6)
        assert same(read_back(tensor), array)
        assert same(read_back(tensor.T), np.ascontiguousarray(array.T))
        assert same(read_back(tensor[::2, 1]), np.ascontiguousarray(array[::2, 1]))

    def test_gradients_are_left_behind(self) -> None:
        tensor = torch.ones(3, requires_grad=True)
        assert same(read_back(tensor), np.ones(3, np.float32))
        assert same(read_back(torch.nn.Parameter(tensor * 2)), np.full(3, 2, np.float32))

    def test_lazy_conjugates_and_negatives(self) -> None:
        tensor = torch.tensor([1 + 2j, 3 - 4j])
        assert read_back(tensor.conj()).tolist() == [1 - 2j, 3 + 4j]
        assert read_back(tensor.conj().imag).tolist() == [-2, 4]

    def test_scalars_and_empty_ones(self) -> None:
        assert same(read_back(torch.tensor(2.5)), np.array(2.5, np.float32))
        assert read_back(torch.empty(0, 3, dtype=torch.bfloat16)).shape == (0, 3)

    @pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental:UserWarning")
    @pytest.mark.parametrize(
        ("make", "advice"),
        [
            (lambda: torch.empty(3, device="meta"), r"tensor\.cpu\(\)"),
            (lambda: torch.eye(3).to_sparse_csc(), r"to_sparse_csr\(\)"),
            (lambda: torch.zeros(3, dtype=torch.complex32), "complex32"),
        ],
    )
    def test_others_are_refused_with_advice(self, make: Callable[[], Any], advice: str) -> None:
        with pytest.raises(zt.InvalidInputError, match=advice):
            read_back(make())


SPARSE = sp.random_array((6, 5), density=0.4, rng=np.random.default_rng(3)).astype(np.float32)


class TestSparse:
    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
    @pytest.mark.parametrize("family", ["array", "matrix"])
    def test_of_scipy(self, kind: str, family: str, version: str) -> None:
        matrix = getattr(sp, f"{kind}_{family}")(SPARSE)
        url = written(lambda writer: writer.add_tensor("t", matrix), version=version)
        with zt.open(url) as model:
            assert model["t"].layout == ("sparse_coo" if kind == "coo" else "sparse_csr")
            assert same(model["t"].numpy(), SPARSE.toarray())
            model.verify()

    @pytest.mark.parametrize("version", VERSIONS)
    def test_of_torch(self, version: str) -> None:
        dense = torch.from_numpy(SPARSE.toarray())
        assert same(read_back(dense.to_sparse_csr(), version=version), dense.numpy())
        assert same(read_back(dense.to_sparse_coo(), version=version), dense.numpy())

    @pytest.mark.parametrize("version", VERSIONS)
    def test_of_arrays(self, version: str) -> None:
        csr, coo = sp.csr_array(SPARSE), sp.coo_array(SPARSE)

        def add(writer: zt.Writer) -> None:
            writer.add_sparse_csr("csr", csr.data, csr.indices, csr.indptr, csr.shape)
            writer.add_sparse_csr("csr whole", csr)
            writer.add_sparse_coo("coo", coo.data, np.stack(coo.coords), coo.shape)
            writer.add_sparse_coo("coo flat", coo.data, np.concatenate(coo.coords), coo.shape)
            writer.add_sparse_coo("coo whole", coo)

        with zt.open(written(add, version=version)) as model:
            assert all(same(tensor.numpy(), SPARSE.toarray()) for tensor in model.values())
            assert {model[name].components["values"].dtype for name in model} == {SPARSE.dtype}
            assert model["coo"].components["coords"].dtype == np.uint64
            model.verify()

    def test_unsorted_rows_are_sorted_only_where_they_must_be(self) -> None:
        unsorted = sp.csr_array((np.array([1.0, 2.0]), [2, 0], [0, 2]), shape=(1, 3))
        url = written(lambda writer: writer.add_tensor("t", unsorted))
        with zt.open(url) as model:
            assert model["t"].components["indices"].numpy().tolist() == [2, 0]
        url = written(lambda writer: writer.add_tensor("t", unsorted), version="2")
        with zt.open(url) as model:
            assert model["t"].components["indices"].numpy().tolist() == [0, 2]
        assert unsorted.indices.tolist() == [2, 0]

    @pytest.mark.parametrize(
        "arguments",
        [
            (np.ones(2), [0, 9], [0, 1, 2], (2, 3)),
            (np.ones(2), [0, -1], [0, 1, 2], (2, 3)),
            (np.ones(2), [0.0, 1.0], [0, 1, 2], (2, 3)),
            (np.ones(2), [0, 1], [0, 2, 1], (2, 3)),
            (np.ones(2), [0, 1], [0, 2], (2, 3)),
            (np.ones(3), [0, 1], [0, 1, 2], (2, 3)),
            (np.ones((2, 1)), [0, 1], [0, 1, 2], (2, 3)),
            (np.ones(2), [0, 1], [0, 1, 2], (2, 3, 1)),
            (np.ones(2), [0, 1], [0, 1, 2], None),
            (np.ones(2), [0, 1], None, (2, 3)),
            (np.ones(2), None, None, None),
        ],
    )
    def test_csr_that_does_not_fit_together(self, arguments: Any) -> None:
        refuses(lambda writer: writer.add_sparse_csr("t", *arguments))

    @pytest.mark.parametrize(
        "arguments",
        [
            (np.ones(2), [[0, 9], [0, 1]], (2, 3)),
            (np.ones(2), [[0, -1], [0, 1]], (2, 3)),
            (np.ones(2), [[0.5, 1], [0, 1]], (2, 3)),
            (np.ones(3), [[0, 1], [0, 1]], (2, 3)),
            (np.ones(2), [[0, 1]], (2, 3)),
            (np.ones(2), [0, 1, 2], (2, 3)),
            (np.ones((2, 1)), [[0, 1], [0, 1]], (2, 3)),
            (np.ones(2), [[0, 1], [0, 1]], None),
            (np.ones(1), np.zeros((0, 1), int), ()),
        ],
    )
    def test_coo_that_does_not_fit_together(self, arguments: Any) -> None:
        refuses(lambda writer: writer.add_sparse_coo("t", *arguments))

    def test_rules_of_version_2(self) -> None:
        twice = (np.ones(2), [[0, 0], [1, 1]], (2, 3))
        refuses(lambda writer: writer.add_sparse_coo("t", *twice), version="2")
        unsorted = (np.ones(2), [1, 0], [0, 2], (1, 3))
        refuses(lambda writer: writer.add_sparse_csr("t", *unsorted), version="2")


def refuses(add: Callable[[zt.Writer], object], **options: Any) -> None:
    """Check that a call is refused, and that the file goes on as if it had not been made."""
    url = new_url()
    with zt.Writer(url, **options) as writer:
        with pytest.raises(zt.InvalidInputError):
            add(writer)
        writer.add_tensor("t", np.arange(3))
    with zt.open(url) as model:
        assert [*model] == ["t"] and model["t"].numpy().tolist() == [0, 1, 2]
        assert model.identity.size < (400 if model.version != "2" else 1 << 18)
    MEMORY.rm_file(url)


class TestWhatIsNoTensor:
    @pytest.mark.parametrize(
        "value",
        [
            None,
            "text",
            b"bytes",
            {"a": 1},
            object(),
            [[1], [1, 2]],
            np.array([None, 1]),
            np.array(["a", "b"]),
            np.array([b"a"]),
            np.array(["2020-01-01"], "datetime64[D]"),
            np.array([1], "timedelta64[s]"),
            np.zeros(2, "i4,f4"),
            np.zeros(2, np.longdouble),
            np.zeros(2, ml_dtypes.int4),
            np.ma.masked_array([1, 2], [False, True]),
            np.ma.masked_array([1, 2]),
        ],
        ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
    )
    @pytest.mark.parametrize("version", VERSIONS)
    def test_is_refused_at_once(self, value: Any, version: str) -> None:
        refuses(lambda writer: writer.add_tensor("t", value), version=version)


class TestNames:
    @pytest.mark.parametrize("name", ["", "nul\0", "x" * 1025, "é" * 513, "\ud800", 3, None, b"t"])
    @pytest.mark.parametrize("version", VERSIONS)
    def test_that_some_reader_would_refuse(self, name: Any, version: str) -> None:
        refuses(lambda writer: writer.add_tensor(name, np.zeros(2)), version=version)

    @pytest.mark.parametrize("name", ["x" * 1024, "é" * 512, "a/b.c 🙂", "../up", "\n", "data"])
    @pytest.mark.parametrize("version", VERSIONS)
    def test_that_are_fine(self, name: str, version: str) -> None:
        url = written(lambda writer: writer.add_tensor(name, np.zeros(2)), version=version)
        with zt.open(url) as model:
            assert [*model] == [name]

    def test_of_components(self) -> None:
        for role in ("", "nul\0", 3):
            parts: Any = {role: np.zeros(2)}
            refuses(lambda w: w.add_object("t", parts, shape=(2,), format="acme/1"))  # noqa: B023

    @pytest.mark.parametrize("version", VERSIONS)
    def test_are_given_once(self, version: str) -> None:
        def add(writer: zt.Writer) -> None:
            writer.add_tensor("t", np.arange(3))
            for again in (
                lambda: writer.add_tensor("t", np.zeros(4)),
                lambda: writer.add_tensor("t", sp.csr_array(np.eye(2))),
                lambda: writer.stream_tensor("t", (2,), "f4").__enter__(),
            ):
                with pytest.raises(zt.DuplicateNameError):
                    again()
            assert writer.tensor_names == ["t"]

        with zt.open(written(add, version=version)) as model:
            assert model["t"].numpy().tolist() == [0, 1, 2]
