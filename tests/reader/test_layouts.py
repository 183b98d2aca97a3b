"""Tensors that are not dense: sparse ones, quantized ones, and layouts that nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse as sp

import ztensor_remote as zt
from tests.formats.expected import DATA
from tests.reader.models import MEMORY, in_memory, same, written

torch = pytest.importorskip("torch")

# Says that the whole of torch.sparse_csr is in beta, once a process, whoever makes a first one.
ignores_torchs_beta = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")

DENSE = np.array([[0, 1.5, 0, 0], [0, 0, 0, 0], [-2, 0, 0, 4.25]], np.float32)
VERSIONS = ["1.0", "1.2", "2"]


def add_both(writer: zt.Writer) -> None:
    writer.add_tensor("csr", sp.csr_array(DENSE))
    writer.add_tensor("coo", sp.coo_array(DENSE))


@pytest.fixture(params=VERSIONS)
def model(request: pytest.FixtureRequest) -> zt.Reader:
    return zt.open(written(add_both, version=request.param))


@pytest.mark.parametrize("name", ["csr", "coo"])
class TestSparse:
    def test_says_what_it_is(self, model: zt.Reader, name: str) -> None:
        tensor = model[name]
        assert (tensor.layout, tensor.shape, tensor.dtype) == (f"sparse_{name}", (3, 4), "f4")
        assert (tensor.ndim, tensor.size) == (2, 12)
        indices = {"csr": 3 + 4, "coo": 2 * 3}
        assert tensor.nbytes == 3 * 4 + indices[name] * 8

    def test_numpy_has_the_zeros(self, model: zt.Reader, name: str) -> None:
        assert same(model[name].numpy(), DENSE)
        assert same(np.asarray(model[name]), DENSE)
        assert same(model[name][1:, ::3], DENSE[1:, ::3])
        out = np.ones_like(DENSE)
        model[name].read_into(out)
        assert same(out, DENSE)

    def test_scipy(self, model: zt.Reader, name: str) -> None:
        found = model[name].scipy()
        assert isinstance(found, sp.csr_array if name == "csr" else sp.coo_array)
        assert same(found.toarray(), DENSE)

    def test_read_tensor_gives_scipys_matrices(self, model: zt.Reader, name: str) -> None:
        found = model.read_tensor(name)
        assert isinstance(found, sp.csr_matrix if name == "csr" else sp.coo_matrix)
        assert same(found.toarray(), DENSE)

    def test_scipy_has_arrays(self, model: zt.Reader, name: str) -> None:
        for found in (model.read_tensor(name, to="scipy"), model.load([name], to="scipy")[name]):
            assert isinstance(found, sp.csr_array if name == "csr" else sp.coo_array)
            assert same(found.toarray(), DENSE)
        part = model.load(slices={name: np.s_[1:, 3]}, to="scipy")[name]
        assert same(part, DENSE[1:, 3])

    @ignores_torchs_beta
    def test_torch(self, model: zt.Reader, name: str) -> None:
        found = model[name].torch()
        assert found.layout == (torch.sparse_csr if name == "csr" else torch.sparse_coo)
        assert same(found.to_dense().numpy(), DENSE)

    def test_can_not_go_uncopied(self, model: zt.Reader, name: str) -> None:
        with pytest.raises(ValueError, match="new memory"):
            np.asarray(model[name], copy=False)

    def test_components_are_the_arrays(self, model: zt.Reader, name: str) -> None:
        components = model[name].components
        assert components["values"].numpy().tolist() == [1.5, -2, 4.25]
        indices = {
            "csr": {"indices": [1, 0, 3], "indptr": [0, 1, 1, 3]},
            "coo": {"coords": [0, 2, 2, 1, 0, 3]},
        }[name]
        assert {*components} == {"values", *indices}
        for role, wanted in indices.items():
            assert components[role].numpy().tolist() == wanted

    def test_dense_arrays_that_are_too_large_are_refused(self, model: zt.Reader, name: str) -> None:
        url = written(lambda writer: writer.add_tensor("t", sp.coo_array((1 << 40, 1 << 20))))
        with zt.open(url) as large:
            with pytest.raises(zt.LimitError, match="as a dense array"):
                large["t"].numpy()
            assert large["t"].scipy().shape == (1 << 40, 1 << 20)


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e5m2", "float4_e2m1fn"])
@pytest.mark.parametrize("layout", ["csr", "coo"])
def test_sparse_values_of_small_floats(dtype: str, layout: str) -> None:
    values = np.array([1, 2, 3], getattr(ml_dtypes, dtype))

    def add(writer: zt.Writer) -> None:
        if layout == "csr":
            writer.add_sparse_csr("t", values, [1, 0, 3], [0, 1, 1, 3], (3, 4))
        else:
            writer.add_sparse_coo("t", values, [[0, 2, 2], [1, 0, 3]], (3, 4))

    wanted = np.zeros((3, 4), values.dtype)
    wanted[[0, 2, 2], [1, 0, 3]] = values
    with zt.open(written(add)) as model:
        assert same(model["t"].numpy(), wanted)
        with pytest.raises(zt.UnsupportedError, match="SciPy"):
            model["t"].scipy()
        model.verify()


class TestScipysForms:
    """What SciPy allows and others need not expect: unsorted columns, repeated cells, zeros."""

    UNSORTED = sp.csr_array((np.array([1.0, 2, 3]), [2, 0, 2], [0, 3, 3, 3]), shape=(3, 4))
    REPEATED = sp.coo_array((np.array([1.0, 2, 0]), ([0, 0, 1], [1, 1, 0])), shape=(2, 2))

    @pytest.mark.parametrize("version", VERSIONS)
    def test_come_back(self, version: str) -> None:
        for matrix in (self.UNSORTED, self.REPEATED):
            with zt.open(written(lambda w, m=matrix: w.add_tensor("t", m), version=version)) as r:
                found = r["t"].scipy()
            assert same(found.toarray(), matrix.toarray())
            if version == "2":  # which demands one order and no cell twice
                matrix = matrix.copy()
                matrix.sum_duplicates()
            assert same(found.data, matrix.data)

    def test_what_is_given_is_left_alone(self) -> None:
        before = self.UNSORTED.copy()
        written(lambda writer: writer.add_tensor("t", self.UNSORTED), version="2")
        assert same(self.UNSORTED.indices, before.indices)
        assert same(self.UNSORTED.data, before.data)

    @pytest.mark.parametrize("wide", [False, True])
    def test_indices_are_as_narrow_as_they_can_be(self, wide: bool) -> None:
        shape = (2, 1 << 40) if wide else (2, 4)
        csr = sp.csr_array((np.ones(1), np.array([3]), np.array([0, 1, 1])), shape=shape)

        def add(writer: zt.Writer) -> None:
            writer.add_tensor("csr", csr)
            writer.add_tensor("coo", csr.tocoo())

        with zt.open(written(add)) as model:
            dtype = np.int64 if wide else np.int32
            found = model["csr"].scipy()
            assert found.indices.dtype == found.indptr.dtype == dtype
            assert {axis.dtype for axis in model["coo"].scipy().coords} == {np.dtype(dtype)}

    @pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
    @pytest.mark.parametrize("version", VERSIONS)
    def test_nothing(self, shape: tuple[int, int], version: str) -> None:
        for kind in (sp.csr_array, sp.coo_array):
            with zt.open(
                written(lambda w, k=kind: w.add_tensor("t", k(shape)), version=version)
            ) as r:
                found = r["t"].scipy()
            assert isinstance(found, kind) and found.shape == shape and found.nnz == 0

    def test_work_in_place_whatever_is_mapped(self, tmp_path: Path) -> None:
        with zt.Writer(tmp_path / "t.zt") as writer:
            writer.add_tensor("t", self.UNSORTED)
        with zt.open(tmp_path / "t.zt") as model:
            found = model["t"].scipy()
            found.sum_duplicates()
            found *= 2
            assert found.data.tolist() == [4, 8]
            assert same(model["t"].scipy().data, self.UNSORTED.data)

    def test_one_dimension(self) -> None:
        row = np.array([0, 1.5, 0])
        with zt.open(written(lambda writer: writer.add_tensor("t", sp.coo_array(row)))) as model:
            assert same(model["t"].scipy().toarray(), row)
        with pytest.raises(zt.InvalidInputError, match=r"two dimensions.*tocoo\(\).*tensor 't'"):
            written(lambda writer: writer.add_tensor("t", sp.csr_array(row)))

    def test_halves_are_refused(self) -> None:
        halves = np.ones(2, np.float16)
        url = written(lambda w: w.add_sparse_csr("t", halves, [0, 1], [0, 1, 2], (2, 2)))
        with zt.open(url) as model:
            for read in (model["t"].scipy, lambda: model.load(to="scipy")):
                with pytest.raises(zt.UnsupportedError, match=r"can't hold float16; use .*'t'"):
                    read()
            assert same(model["t"].numpy(), np.eye(2, dtype=np.float16))


def test_dense_tensors_are_numpys_where_others_are_scipys() -> None:
    with zt.open(written(lambda writer: writer.add_tensor("t", DENSE))) as model:
        assert same(model.read_tensor("t", to="scipy"), DENSE)
        assert same(model.load(to="scipy")["t"], DENSE)


def test_cells_that_are_named_twice_add_up() -> None:
    twice = sp.coo_array((np.array([1.0, 2.0, 4.0]), ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    with zt.open(written(lambda writer: writer.add_tensor("t", twice))) as model:
        assert model["t"].numpy().tolist() == [[0, 3], [4, 0]]
        assert model["t"].torch().to_dense().tolist() == [[0, 3], [4, 0]]


def test_three_dimensions() -> None:
    coords, values = np.array([[0, 1], [2, 0], [3, 1]]), np.array([5, 6], np.int16)
    wanted = np.zeros((2, 3, 4), np.int16)
    wanted[tuple(coords)] = values
    url = written(lambda writer: writer.add_sparse_coo("t", values, coords, (2, 3, 4)))
    with zt.open(url) as model:
        assert same(model["t"].numpy(), wanted)
        assert same(model["t"].scipy().toarray(), wanted)
        assert same(model["t"].torch().to_dense().numpy(), wanted)
        with pytest.raises(zt.UnsupportedError, match="two dimensions"):
            model.read_tensor("t")


def test_nothing_but_zeros() -> None:
    empty = np.zeros((3, 0), np.float64)

    def add(writer: zt.Writer) -> None:
        writer.add_tensor("csr", sp.csr_array(empty))
        writer.add_tensor("coo", sp.coo_array(empty))

    with zt.open(written(add)) as model:
        assert same(model["csr"].numpy(), empty)
        assert same(model["coo"].numpy(), empty)


def test_a_dense_tensor_is_not_sparse() -> None:
    with zt.open(written(lambda writer: writer.add_tensor("t", DENSE))) as model:
        for read in (model["t"].sparse, model["t"].scipy):
            with pytest.raises(zt.UnsupportedError, match="not sparse"):
                read()


class TestUnknownLayouts:
    @pytest.fixture(params=["quantized_group", "acme.blocks/3"])
    def tensor(self, request: pytest.FixtureRequest) -> zt.LazyTensor:
        words, scales = np.arange(6, dtype=np.int32), np.ones(3, np.float16)

        def add(writer: zt.Writer) -> None:
            if request.param == "quantized_group":
                writer.add_quantized_group(
                    "t", words, scales, shape=(6, 8), bits=4, group_size=16, packing="8_per_i32"
                )
            else:
                writer.add_object(
                    "t", {"data": words, "scales": scales}, shape=(6, 8), format=request.param
                )

        tensor = zt.open(written(add))["t"]
        assert tensor.format == tensor.layout == request.param
        return tensor

    @pytest.mark.parametrize(
        "read",
        [
            lambda tensor: tensor.numpy(),
            lambda tensor: tensor.torch(),
            lambda tensor: tensor.scipy(),
            lambda tensor: tensor[0],
            np.asarray,
            lambda tensor: tensor.read_into(np.empty((6, 8), np.int32)),
        ],
    )
    def test_are_not_guessed(self, tensor: zt.LazyTensor, read: Callable[[Any], Any]) -> None:
        with pytest.raises(zt.UnsupportedError, match=r"layout"):
            read(tensor)

    def test_still_give_their_components(self, tensor: zt.LazyTensor) -> None:
        assert (tensor.shape, tensor.dtype, tensor.nbytes) == ((6, 8), np.int32, 6 * 4 + 3 * 2)
        assert [part.numpy().tolist() for part in tensor.components.values()] == [
            [0, 1, 2, 3, 4, 5],
            [1, 1, 1],
        ]

    def test_quantized_groups_keep_their_attributes(self) -> None:
        with zt.open(DATA / "fixtures" / "1.2.3" / "quantized_group.zt") as model:
            tensor = model["q"]
            assert dict(tensor.attributes) == {"bits": 4, "group_size": 16, "packing": "8_per_i32"}
            assert {*tensor.components} == {"packed_weight", "scales", "zeros"}


def test_damaged_indices_are_found_before_they_are_used() -> None:
    url = written(lambda writer: writer.add_tensor("t", sp.csr_array(DENSE)))
    data = bytearray(MEMORY.cat_file(url))
    with zt.open(url) as model:
        at = model["t"].components["indices"].offset
    data[at] = 200
    with zt.open(in_memory(bytes(data)), verify=False) as model:
        for read in (model["t"].numpy, model["t"].scipy, model["t"].torch):
            with pytest.raises(zt.FormatError, match="column index"):
                read()
