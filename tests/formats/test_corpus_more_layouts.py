"""Layouts of version 2: what the manifest must say at open, what the data must say at decode."""

from __future__ import annotations

from typing import Any

import pytest

import ztensor_remote as zt
from tests.formats.build import dense_2, file_2, one_2, part_2, root_2
from tests.formats.test_corpus_more import rule_of


def _dense(shape: list[int], length: int, **fields: Any) -> bytes:
    return file_2(dense_2(shape, blob=[4096, length], **fields), {4096: bytes(length)})


DENSE_SIZES = {
    "u8": ([8], "u8", None, 8),
    "bf16": ([3, 2], "bf16", None, 12),
    "f64": ([2], "f64", None, 16),
    "scalar": ([], "i32", None, 4),
    "no elements": ([3, 0, 2], "f64", None, 0),
    "bool": ([5], "u8", "bool", 5),
    "f8": ([5], "u8", "f8_e8m0", 5),
    "f4 of odd count": ([5], "u8", "f4_e2m1", 3),
    "f4 of even count": ([2, 3], "u8", "f4_e2m1", 3),
    "f4 scalar": ([], "u8", "f4_e2m1", 1),
    "complex64": ([2], "f32", "complex64", 16),
    "complex128": ([2], "f64", "complex128", 32),
}


@pytest.mark.parametrize("name", DENSE_SIZES)
def test_dense_sizes(name: str) -> None:
    shape, dtype, logical, length = DENSE_SIZES[name]
    fields: dict[str, Any] = {"dtype": dtype, "type": logical or ...}
    assert rule_of(_dense(shape, length, **fields)) is None
    assert rule_of(_dense(shape, length + 1, **fields)) == "DenseSize"
    if length:
        assert rule_of(_dense(shape, length - 1, **fields)) == "DenseSize"
    encoded = fields | {"encoding": "x/1", "blob": [4096, 3]}
    assert rule_of(file_2(dense_2(shape, decoded_length=length, **encoded))) is None
    assert rule_of(file_2(dense_2(shape, decoded_length=length + 1, **encoded))) == "DenseSize"


def test_dense_has_one_part_named_data() -> None:
    for parts in (
        {"values": part_2()},
        {"data": part_2(), "more": part_2()},
        {"data": part_2(), "data ": part_2()},
    ):
        assert rule_of(file_2(one_2(parts=parts))) == "LayoutRule"


# --- presenting data ------------------------------------------------------------------------------


def test_bools_are_0_and_1() -> None:
    good = file_2(dense_2([3], blob=[4096, 3], type="bool"), {4096: b"\0\1\1"})
    with zt.open(good) as reader:
        assert reader["t"].numpy().tolist() == [False, True, True]
        reader.verify()
    bad = file_2(dense_2([3], blob=[4096, 3], type="bool"), {4096: b"\0\1\2"})
    with zt.open(bad) as reader:
        assert reader["t"].components["data"].read() == b"\0\1\2"
        _refuses_at_verify(reader)


def test_the_last_nibble_is_zero() -> None:
    def f4(stored: bytes, shape: list[int]) -> zt.Reader:
        fields = {"blob": [4096, len(stored)], "type": "f4_e2m1"}
        return zt.open(file_2(dense_2(shape, **fields), {4096: stored}))

    with f4(bytes.fromhex("214305"), [5]) as reader:
        assert reader["t"].numpy().astype(float).tolist() == [0.5, 1, 1.5, 2, 3]
        assert reader["t"][1:4].astype(float).tolist() == [1, 1.5, 2]
        reader.verify()
    with f4(bytes.fromhex("214315"), [5]) as reader:
        assert reader["t"].components["data"].read().hex() == "214315"
        _refuses_at_verify(reader)
    with f4(bytes.fromhex("2143f5"), [2, 3]) as reader:
        assert reader["t"].numpy()[1].astype(float).tolist() == [2, 3, -6]
        reader.verify()


def _refuses_at_verify(reader: zt.Reader) -> None:
    with pytest.raises(zt.FormatError) as caught:
        reader.verify()
    assert caught.value.rule == "LayoutData"
    assert caught.value.tensor == "t"


def test_unknown_types_are_bytes_only() -> None:
    with zt.open(file_2(dense_2([999], type="x.later/1"))) as reader:
        tensor = reader["t"]
        assert tensor.components["data"].read() == b"\xab" * 8
        for read in (tensor.numpy, tensor.scipy, lambda: tensor[...], lambda: tensor.dtype):
            with pytest.raises(zt.UnsupportedError):
                read()
        assert "x.later/1" in repr(tensor)
        assert reader.verify() == zt.Verification(0, 1)


@pytest.mark.parametrize("layout", ["x/1", "", "zt.sparse_csr/2", "DENSE"])
def test_unknown_layouts_are_parts_only(layout: str) -> None:
    with zt.open(file_2(one_2(layout=layout, parts={"p": part_2()}))) as reader:
        tensor = reader["t"]
        assert tensor.format == layout
        assert tensor.components["p"].numpy().tolist() == [0xAB] * 8
        for read in (tensor.numpy, tensor.scipy):
            with pytest.raises(zt.UnsupportedError):
                read()
        assert reader.verify() == zt.Verification(0, 1)


def test_unknown_encodings_spoil_their_own_part_only() -> None:
    strange = part_2(encoding="x/1", decoded_length=8)
    root = root_2(
        {
            "a": {"shape": [8], "layout": "dense", "parts": {"data": strange}},
            "b": {"shape": [8], "layout": "x", "parts": {"p": part_2(), "q": strange}},
        }
    )
    with zt.open(file_2(root)) as reader:
        assert reader["b"].components["p"].read() == b"\xab" * 8
        with pytest.raises(zt.UnsupportedError):
            reader["b"].components["q"].read()
        with pytest.raises(zt.UnsupportedError):
            reader["a"].numpy()
        with pytest.raises(zt.UnsupportedError):
            reader["a"][2:4]


# --- digests --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "digest", ["xxh3:0", "xxh3:0123456789abcdef0", "sha256:00", "xxh3:" + "0" * 16]
)
def test_a_digest_of_another_length_is_a_mismatch(digest: str) -> None:
    data = file_2(dense_2([8], digest=digest))
    with zt.open(data) as reader:
        for check in (reader["t"].numpy, reader.verify):
            with pytest.raises(zt.DigestError) as caught:
                check()
            assert caught.value.rule == "Digest"
    with zt.open(data, verify=False) as reader:
        assert reader["t"].numpy().tobytes() == b"\xab" * 8
        with pytest.raises(zt.DigestError):
            reader.verify()


@pytest.mark.parametrize("algorithm", ["blake9", "crc32c"])
def test_an_unknown_digest_decodes_and_cannot_be_verified(algorithm: str) -> None:
    with zt.open(file_2(dense_2([8], digest=f"{algorithm}:00"))) as reader:
        assert reader["t"].numpy().tobytes() == b"\xab" * 8
        with pytest.raises(zt.UnsupportedError):
            reader.verify()
