"""ONNX models, as the package of that name writes them and reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import StringStringEntryProto, TensorProto, helper, numpy_helper

import ztensor_remote as zt
from tests.stores.backends import MakeBackend, Through
from ztensor_remote.codecs import VarintDecoder
from ztensor_remote.interop import protobuf
from ztensor_remote.interop.onnx import _TYPES, _UNREAD

PLAIN = np.arange(24).reshape(2, 3, 4)
RAW = [
    numpy_helper.from_array(PLAIN.astype(dtype), f"raw {dtype}")
    for dtype in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
] + [numpy_helper.from_array(PLAIN.astype(dtype), f"raw {dtype}") for dtype in ("c8", "c16")]
TYPED = [
    helper.make_tensor(f"typed {kind}", kind, [2, 4], np.arange(8) % 2)
    for kind in (*_TYPES, 21, 22)
]
OTHERS = [
    helper.make_tensor("negative", TensorProto.INT32, [3], [-1, 2, -1 << 31]),
    helper.make_tensor("long", TensorProto.INT64, [3], [-1, 1 << 62, -1 << 63]),
    helper.make_tensor("unsigned", TensorProto.UINT64, [2], [1 << 63, 5]),
    helper.make_tensor("scalar", TensorProto.FLOAT, [], [1.5]),
    helper.make_tensor("nothing", TensorProto.INT64, [0, 3], []),
    helper.make_tensor("text", TensorProto.STRING, [2], [b"a", b"b"]),
]


def model_of(tensors: list[Any], **properties: str) -> Any:
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", ["x"], ["y"], doc_string="d" * 100)
    graph = helper.make_graph([node] * 3, "g", [], [output], tensors)
    model = helper.make_model(graph, producer_name="tests")
    for key, value in properties.items():
        model.metadata_props.append(StringStringEntryProto(key=key, value=value))
    return model


def copied(tensors: list[Any]) -> list[Any]:
    """Return tensors that saving may change."""
    return [TensorProto.FromString(each.SerializeToString()) for each in tensors]


def check(model: zt.Reader, tensors: list[Any]) -> None:
    assert sorted(model) == sorted(tensor.name for tensor in tensors)
    for tensor in tensors:
        ours = model[tensor.name]
        if tensor.data_type in _UNREAD:
            with pytest.raises(zt.UnsupportedError, match=f"the array holds .*'{tensor.name}'"):
                ours.numpy()
            continue
        theirs = numpy_helper.to_array(tensor)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), tensor.name
        assert ours.numpy().tobytes() == theirs.tobytes(), tensor.name
        if theirs.ndim:
            assert ours[1:].tobytes() == theirs[1:].tobytes(), tensor.name


class TestWhatThePackageWrites:
    def test_every_type_and_way_to_store_it(self) -> None:
        tensors = RAW + TYPED + OTHERS
        data = model_of(tensors, license="MIT").SerializeToString()
        with zt.open(data, format="onnx") as model:
            assert model.version == "onnx" and model.attributes == {"license": "MIT"}
            assert model.manifest.generator == "tests"
            assert model.manifest.version_text == str(onnx.load_from_string(data).ir_version)
            check(model, tensors)
            assert len(model.load([tensor.name for tensor in RAW])) == len(RAW)
            model.verify()

    def test_the_types_are_those_of_the_package(self) -> None:
        known = {number for name, number in TensorProto.DataType.items() if number}
        assert known == {*_TYPES, *_UNREAD}

    def test_a_type_that_is_yet_to_come(self) -> None:
        tensor = TensorProto(name="new", data_type=99, dims=[2], raw_data=b"ab")
        with zt.open(model_of([tensor]).SerializeToString(), format="onnx") as model:
            assert model["new"].components["data"].read() == b"ab"
            with pytest.raises(zt.UnsupportedError, match="elements of the type 99"):
                model["new"].numpy()

    def test_sparse_initializers_are_components(self) -> None:
        sparse = onnx.SparseTensorProto(
            values=numpy_helper.from_array(np.array([1.5, 2.5]), "s"),
            indices=numpy_helper.from_array(np.array([1, 4])),
            dims=[2, 3],
        )
        made = model_of([])
        made.graph.sparse_initializer.append(sparse)
        with zt.open(made.SerializeToString(), format="onnx") as model:
            assert model["s"].shape == (2, 3)
            assert model["s"].components["values"].numpy().tolist() == [1.5, 2.5]
            assert model["s"].components["indices"].numpy().tolist() == [1, 4]
            with pytest.raises(zt.UnsupportedError, match="read its components"):
                model["s"].numpy()

    @pytest.mark.parametrize("one_file", [True, False])
    def test_external_data(self, one_file: bool, tmp_path: Path) -> None:
        onnx.save_model(
            model_of(copied(RAW)),
            tmp_path / "m.onnx",
            save_as_external_data=True,
            all_tensors_to_one_file=one_file,
            location="weights.data" if one_file else None,
            size_threshold=0,
        )
        files = {path.name for path in tmp_path.iterdir()} - {"m.onnx"}
        with zt.open(tmp_path / "m.onnx") as model:
            assert set(model.manifest.shards) == files
            check(model, RAW)
            model.verify(deep=True)
        zt.convert(tmp_path / "m.onnx", tmp_path / "m.zt")
        with zt.open(tmp_path / "m.zt") as converted:
            check(converted, RAW)

    def test_external_data_in_a_folder_below(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data/w").write_bytes(np.arange(4, dtype=np.float32).tobytes())
        (tmp_path / "m.onnx").write_bytes(external("./data/w", offset=8, length=8))
        np.savez(tmp_path / "n.npz", other=np.ones(2))
        for place in (tmp_path / "m.onnx", [tmp_path / "m.onnx", tmp_path / "n.npz"]):
            with zt.open(place) as model:
                assert model["w"].numpy().tolist() == [2, 3]

    def test_what_is_stored_as_integers_converts(self, tmp_path: Path) -> None:
        tensors = [each for each in TYPED + OTHERS if each.data_type not in _UNREAD]
        onnx.save_model(model_of(tensors), tmp_path / "m.onnx")
        zt.convert(tmp_path / "m.onnx", tmp_path / "m.zt")
        with zt.open(tmp_path / "m.zt") as model:
            check(model, tensors)
            model.verify()


class TestRequests:
    def test_a_tensor_is_what_lies_before_it_and_its_bytes(
        self, backend_of: MakeBackend, through: Through
    ) -> None:
        backend: Any = backend_of("moto")
        arrays = {f"w{n}": np.full((100, 1000), n, np.float32) for n in range(4)}
        tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
        backend.put("m.onnx", model_of(tensors).SerializeToString())
        location, proxy = through(backend, "m.onnx")
        with zt.open(location) as model:
            first, *others = [request.response_bytes for request in proxy.requests]
            assert first == 64 * 1024 + 40
            assert len(others) <= 4 and sum(others) <= 4 * 16 * 1024
            proxy.clear()
            np.testing.assert_array_equal(model["w2"].numpy(), arrays["w2"])
            np.testing.assert_array_equal(model["w3"][7:9], arrays["w3"][7:9])
            assert [r.response_bytes for r in proxy.requests] == [400_000, 8_000]

    def test_external_data_is_read_beside_it(
        self, backend_of: MakeBackend, through: Through, tmp_path: Path
    ) -> None:
        backend: Any = backend_of("moto")
        onnx.save_model(
            model_of(copied(RAW)),
            tmp_path / "m.onnx",
            save_as_external_data=True,
            location="m.data",
            size_threshold=0,
        )
        for name in ("m.onnx", "m.data"):
            backend.put(name, (tmp_path / name).read_bytes())
        location, _ = through(backend, "m.onnx")
        with zt.open(location) as model:
            check(model, RAW)


def external(location: str, **entries: Any) -> bytes:
    tensor = TensorProto(name="w", data_type=1, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.append(StringStringEntryProto(key=key, value=str(value)))
    return model_of([tensor]).SerializeToString()


def one(**fields: Any) -> bytes:
    return model_of([TensorProto(name="w", **fields)]).SerializeToString()


class TestHostileFiles:
    @pytest.mark.parametrize(
        "location",
        [
            *("", ".", "..", "/etc/passwd", "../m.data", "a/../../m.data", "a//b", "a\\b"),
            *("C:m", "s3://a/b", "a::b", "a?b", "a#b", "%2e%2e/b", "a\0b", "*"),
        ],
    )
    def test_external_data_stays_in_the_folder(self, location: str, tmp_path: Path) -> None:
        (tmp_path / "m.data").write_bytes(bytes(8))
        (tmp_path / "models").mkdir()
        (tmp_path / "models/m.onnx").write_bytes(external(location))
        with pytest.raises(zt.FormatError, match=r"no place in the model's folder.*'w'"):
            zt.open(tmp_path / "models/m.onnx")

    def test_external_data_that_is_short_or_missing(self, tmp_path: Path) -> None:
        (tmp_path / "m.onnx").write_bytes(external("m.data", offset=4))
        with zt.open(tmp_path / "m.onnx") as model:
            with pytest.raises(zt.NotFoundError, match=r"m\.data"):
                model["w"].numpy()
            (tmp_path / "m.data").write_bytes(bytes(11))
            with pytest.raises(zt.FormatError, match="has 11 bytes, there must be 12"):
                model["w"].numpy()
            (tmp_path / "m.data").write_bytes(bytes(12))
            assert model["w"].numpy().tolist() == [0, 0]
        with (
            zt.open(external("m.data"), format="onnx") as model,
            pytest.raises(zt.InvalidInputError, match="no folder"),
        ):
            model["w"].numpy()

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "no version, or no graph"),
            (b"\x08\x08", "no version, or no graph"),
            (b"\x08", "does not end"),
            (b"\x08" + b"\xff" * 20, "does not end"),
            (b"\x00\x00", "there is no field at"),
            (b"\x0b", "is of the type 3"),
            (b"\x08\x08\x3a\x05abc", "a field has 5 bytes at 4, what it is in ends at 7"),
            (b"\x08\x08\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "what it is in ends at"),
            (b"\x08\x08\x38\x05", "there is no message at"),
            (b"\x08\x08\x12\x02\xff\xff", "no UTF-8"),
            (b"\x08\x08\x10\x02", "there is no text"),
            (model_of([*RAW[:1], *RAW[:1]]).SerializeToString(), "two tensors named 'raw b1'"),
            (one(data_type=1, dims=[2], raw_data=bytes(7)), "take 8 bytes, not 7"),
            (one(data_type=1, dims=[1 << 40, 1 << 40], raw_data=b""), "overflows"),
            (one(data_type=1, dims=[-1], raw_data=b""), "is negative"),
            (one(data_type=1, dims=[1] * 65, raw_data=bytes(4)), "more than 64 dimensions"),
            (one(data_type=1, dims=[2]), "elements are not there"),
            (one(data_type=1, dims=[1], raw_data=bytes(4), float_data=[1]), "are not there"),
            (one(data_type=1, dims=[1], int32_data=[1]), "are not there"),
            (one(data_type=1, dims=[2], float_data=[1]), "take 8 bytes, not 4"),
            (one(data_type=7, dims=[1 << 40], int64_data=[1]), "can't hold them"),
            (external("a", offset=-1), "no number of bytes"),
            (external("a", offset="9" * 30), "no number of bytes"),
            (external("a", length=7), "take 8 bytes, not 7"),
        ],
    )
    def test_is_refused_with_a_reason(self, data: bytes, message: str) -> None:
        with pytest.raises(zt.FormatError, match=message):
            zt.open(data, format="onnx")

    def test_fewer_integers_than_the_shape_has(self) -> None:
        data = one(data_type=7, dims=[2], int64_data=[300])
        with (
            zt.open(data, format="onnx") as model,
            pytest.raises(zt.FormatError, match="ends after 8 of 16"),
        ):
            model["w"].numpy()

    def test_elements_one_by_one(self) -> None:
        tensor = b"\x08\x02\x10\x01" + b"\x25" + bytes(4) + b"\x25" + bytes(4)
        graph = b"\x2a" + bytes([len(tensor)]) + tensor
        data = b"\x08\x08\x3a" + bytes([len(graph)]) + graph
        with pytest.raises(zt.UnsupportedError, match="stored one by one"):
            zt.open(data, format="onnx")

    def test_fields_without_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protobuf, "_MOST_FIELDS", 5)
        with pytest.raises(zt.LimitError, match="more than 5 fields"):
            zt.open(model_of(RAW).SerializeToString(), format="onnx")


class TestIntegers:
    def test_come_in_pieces_of_any_size(self) -> None:
        numbers = [0, 1, 127, 128, 300, 1 << 31, (1 << 64) - 1, 5]
        tensor = helper.make_tensor("x", TensorProto.UINT64, [len(numbers)], numbers)
        data = tensor.SerializeToString()
        stored = data[data.index(b"\x00\x01\x7f") :]
        for step in (1, 2, 3, 100):
            found = bytearray()
            decoder = VarintDecoder(found.extend, 8)
            for at in range(0, len(stored), step):
                decoder.feed(stored[at : at + step])
            decoder.finish()
            assert np.frombuffer(found, "<u8").tolist() == numbers

    def test_that_are_too_long_or_cut_off(self) -> None:
        with pytest.raises(zt.FormatError, match="longer than ten"):
            VarintDecoder(lambda data: None, 8).feed(b"\xff" * 11)
        decoder = VarintDecoder(lambda data: None, 8)
        decoder.feed(b"\x80")
        with pytest.raises(zt.FormatError, match="cut off"):
            decoder.finish()
