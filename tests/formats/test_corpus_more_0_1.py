"""Version 0.1, by hand: its array of maps, both byte orders, its sparse payloads."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import crc32c
import numpy as np
import pytest

import ztensor_remote as zt
from tests.formats.build import (
    EIGHT,
    MAGIC_0_1,
    Indefinite,
    Pairs,
    Raw,
    cbor,
    entry_0_1,
    file_0_1,
    frame,
    head,
)
from tests.formats.expected import LONG_NAMES, STORAGE
from tests.reader.models import in_memory
from tests.formats.test_corpus_more import ODD_KEYS, rule_of

U64 = (1 << 64) - 1


def reads(*entries: Any, **fields: Any) -> None:
    with zt.open(file_0_1(list(entries) or [entry_0_1(**fields)])) as reader:
        assert reader.version == "0.1"
        assert reader["t"].numpy().tobytes() == EIGHT
        reader.verify()
        assert repr(reader) and repr(reader["t"])


# --- accepted -------------------------------------------------------------------------------------


def test_maps_of_both_lengths() -> None:
    reads()
    reads(Indefinite(entry_0_1()))
    reads(entry_0_1(name="s"), Indefinite(entry_0_1()))


def test_any_key_order_and_the_self_describe_tag() -> None:
    reads(dict(reversed(entry_0_1().items())))
    with zt.open(file_0_1(Raw(head(6, 55799) + cbor([entry_0_1()])))) as reader:
        assert reader["t"].numpy().tobytes() == EIGHT


def test_tags_before_any_value() -> None:
    tag = head(6, 1234)
    entry = {key: Raw(tag + cbor(value)) for key, value in entry_0_1().items()}
    for data in (file_0_1(Raw(tag + cbor([Raw(tag + cbor(entry))]))), file_0_1([entry])):
        with zt.open(data) as reader:
            assert reader["t"].numpy().tobytes() == EIGHT


def test_fields_that_may_be_missing() -> None:
    reads(layout=...)
    reads(encoding=...)
    reads(data_endianness=None, checksum=None)


def test_other_keys_are_attributes() -> None:
    more = {"author": "me", "deep": {"a": [1, None, b"\0"]}, 7: "seven", b"b": 1.5}
    with zt.open(file_0_1([entry_0_1() | more])) as reader:
        assert reader["t"].attributes == more
    reads(entry_0_1() | dict.fromkeys(ODD_KEYS, 1))


def test_the_first_of_two_names_counts() -> None:
    entries = [entry_0_1(), entry_0_1(name="s"), entry_0_1(shape=[4], size=4), entry_0_1(shape=[3])]
    reads(*entries)
    with zt.open(file_0_1(entries)) as reader:
        assert reader.tensor_names == ["t", "s"]
        assert reader["t"].shape == (8,)


def test_names_are_any_text_in_file_order() -> None:
    names = ["b", "", "\0", "a", "n" * 5000]
    with zt.open(file_0_1([entry_0_1(name=name) for name in names])) as reader:
        assert reader.tensor_names == names


def test_files_without_tensors() -> None:
    for data in (file_0_1([], {}), file_0_1(Indefinite([]), {}), MAGIC_0_1 + bytes(8)):
        with zt.open(data) as reader:
            assert reader.version == "0.1"
            assert len(reader) == 0


def test_a_length_of_0_in_a_longer_file_is_damage() -> None:
    """A file that was cut off inside zeros ends in a length of 0 too."""
    for data in (MAGIC_0_1 + bytes(9), MAGIC_0_1 + bytes(64), file_0_1([entry_0_1()])[:64]):
        assert rule_of(data) == "ManifestBounds"


def test_other_layouts_open() -> None:
    with zt.open(file_0_1([entry_0_1(layout="x")])) as reader:
        assert reader["t"].components["data"].read() == EIGHT
        with pytest.raises(zt.UnsupportedError):
            reader["t"].numpy()


# --- byte order -----------------------------------------------------------------------------------


@pytest.mark.parametrize("long_name", LONG_NAMES)
@pytest.mark.parametrize("place", ["bytes", "memory"])
def test_big_endian_elements(long_name: str, place: str) -> None:
    dtype = np.dtype(STORAGE[LONG_NAMES[long_name]])
    count = 6
    little = bytes((7 * index + 1) % 120 for index in range(count * dtype.itemsize))
    if long_name == "bool":
        little = b"\1\0\0\1\1\0"
    width = dtype.itemsize
    big = b"".join(little[at : at + width][::-1] for at in range(0, len(little), width))
    entry = entry_0_1(
        dtype=long_name,
        shape=[2, 3],
        size=len(big),
        data_endianness="big",
        checksum=f"crc32c:0x{crc32c.crc32c(big):08X}",
    )
    with zt.open(_put(file_0_1([entry], {64: big}), place)) as reader:
        tensor = reader["t"]
        assert tensor.dtype == dtype
        assert tensor.numpy().tobytes() == little
        assert tensor[1].tobytes() == little[3 * width :]
        assert (
            tensor[:, 1:2].tobytes() == np.frombuffer(little, dtype).reshape(2, 3)[:, 1:2].tobytes()
        )
        assert tensor.components["data"].read() == little
        out = np.empty((2, 3), dtype)
        tensor.read_into(out)
        assert out.tobytes() == little
        assert reader.verify() == zt.Verification(1, 0)


def _put(data: bytes, place: str) -> Any:
    if place == "bytes":
        return data
    import fsspec

    fsspec.filesystem("memory").pipe_file("/big-endian/file.zt", data)
    return "memory://big-endian/file.zt"


def test_big_endian_bytes_that_are_no_whole_elements(tmp_path: Path) -> None:
    entry = entry_0_1(layout="x.other", dtype="float32", size=7, data_endianness="big")
    for place in (file_0_1([entry]), in_memory(file_0_1([entry]))):
        with zt.open(place) as reader:
            with pytest.raises(zt.FormatError, match="7 bytes are no whole big-endian elements"):
                reader["t"].components["data"].read()
            with pytest.raises(zt.FormatError, match="no whole big-endian elements"):
                zt.convert(reader, tmp_path / "m.zt")


def test_compressed_elements_are_always_little_endian() -> None:
    little = struct.pack("<4H", 1, 2, 3, 4)
    stored = frame(little)
    entry = entry_0_1(
        dtype="uint16", shape=[4], size=len(stored), encoding="zstd", data_endianness="big"
    )
    with zt.open(file_0_1([entry], {64: stored})) as reader:
        assert reader["t"].numpy().tolist() == [1, 2, 3, 4]


# --- sparse ---------------------------------------------------------------------------------------

CSR = struct.pack("<3Q3Q3f", 0, 2, 3, 2, 0, 1, 1, 2, 3)
COO = b"".join(struct.pack("<2Qf", *cell) for cell in ((0, 2, 1.0), (1, 0, 2.0), (0, 0, 3.0)))


def sparse(layout: str, payload: bytes, shape: list[int] | None = None, **fields: Any) -> bytes:
    fields = {"dtype": "float32", "size": len(payload)} | fields
    entry = entry_0_1(layout=layout, shape=shape or [2, 3], **fields)
    return file_0_1([entry], {64: payload})


@pytest.mark.parametrize("encoding", ["raw", "zstd"])
def test_sparse_payloads(encoding: str) -> None:
    pack = frame if encoding == "zstd" else bytes
    with zt.open(sparse("sparsecsr", pack(CSR), encoding=encoding)) as reader:
        assert reader["t"].layout == "sparse_csr"
        assert reader["t"].numpy().tolist() == [[2, 0, 1], [0, 3, 0]]
        assert reader["t"].scipy().toarray().tolist() == [[2, 0, 1], [0, 3, 0]]
        assert reader["t"].components["data"].read() == CSR
        reader.verify()
    with zt.open(sparse("sparsecoo", pack(COO), encoding=encoding)) as reader:
        assert reader["t"].layout == "sparse_coo"
        assert reader["t"].numpy().tolist() == [[3, 0, 1], [2, 0, 0]]
        assert reader["t"].scipy().toarray().tolist() == [[3, 0, 1], [2, 0, 0]]
        reader.verify()


def test_a_sparse_payload_of_no_dimensions() -> None:
    data = file_0_1([entry_0_1(layout="sparsecoo", shape=[], size=0)])
    with zt.open(data) as reader, pytest.raises(zt.FormatError, match="needs a dimension"):
        reader["t"].numpy()


def test_sparse_payloads_without_values() -> None:
    with zt.open(sparse("sparsecsr", bytes(24))) as reader:
        assert reader["t"].numpy().tolist() == [[0, 0, 0], [0, 0, 0]]
    with zt.open(sparse("sparsecoo", b"")) as reader:
        assert reader["t"].numpy().tolist() == [[0, 0, 0], [0, 0, 0]]


BROKEN = {
    "CSR a byte short": sparse("sparsecsr", CSR[:-1]),
    "CSR a byte long": sparse("sparsecsr", CSR + b"\0"),
    "CSR of no row pointers": sparse("sparsecsr", b""),
    "CSR of another count": sparse("sparsecsr", struct.pack("<3Q", 0, 0, 1)),
    "CSR of rank 1": sparse("sparsecsr", CSR, [6]),
    "CSR of huge rank": sparse("sparsecsr", CSR, [U64, 1]),
    "CSR column outside": sparse("sparsecsr", CSR, [2, 2]),
    "CSR that falls": sparse("sparsecsr", struct.pack("<3Q3Q3f", 0, 4, 3, 2, 0, 1, 1, 2, 3)),
    "COO a byte short": sparse("sparsecoo", COO[:-1]),
    "COO a byte long": sparse("sparsecoo", COO + b"\0"),
    "COO row outside": sparse("sparsecoo", COO, [1, 3]),
    "COO coordinate 2**64 - 1": sparse("sparsecoo", struct.pack("<2Qf", 0, U64, 1)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_sparse_payloads_open(name: str) -> None:
    with zt.open(BROKEN[name]) as reader:
        assert reader["t"].components["data"].read()[:1] in (b"", b"\0")
        for read in (reader["t"].numpy, reader["t"].scipy, reader.verify):
            with pytest.raises(zt.FormatError):
                read()


# --- refused at open ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        *(({"offset": offset}, "BlobBounds") for offset in (0, 8, 63, 192, 1 << 40, U64 - 63)),
        *(({"offset": offset}, "BlobAlignment") for offset in (65, 72)),
        *(({"size": size}, "BlobBounds") for size in (73, 1 << 62, U64)),
        # Where no bytes are is nobody's business.
        *(({"offset": offset, "size": 0}, None) for offset in (0, 8, 65, 128, U64)),
    ],
    ids=repr,
)
def test_blobs_outside_the_data(fields: dict[str, int], rule: str | None) -> None:
    data = file_0_1([entry_0_1(**fields)], {64: EIGHT * 8, 72: EIGHT * 8})
    assert rule_of(data) == rule


@pytest.mark.parametrize(
    "fields",
    [
        *({"name": wrong} for wrong in (..., None, 1, b"t", ["t"])),
        *({"offset": wrong} for wrong in (..., None, "64", -64, 64.0, True)),
        *({"size": wrong} for wrong in (..., None, "8", -8, 8.0)),
        *({"dtype": wrong} for wrong in (..., None, "u8", "UINT8", 8, "complex64", [])),
        *({"layout": wrong} for wrong in (0, [], None, b"dense")),
        *({"shape": wrong} for wrong in (..., None, 8, {}, "8", [-8], [8.0], [None], [True])),
        *({"encoding": wrong} for wrong in (0, [], None, "", "RAW", "gzip", False)),
        *({"data_endianness": wrong} for wrong in (0, [], "", "BIG", "native", False, {})),
        *({"checksum": wrong} for wrong in (0, [], {}, b"", False)),
    ],
    ids=repr,
)
def test_fields_of_wrong_types(fields: dict[str, Any]) -> None:
    assert rule_of(file_0_1([entry_0_1(**fields)])) == "Schema"


def test_manifests_of_wrong_types() -> None:
    for root in ({}, entry_0_1(), "t", 0, None):
        assert rule_of(file_0_1(root)) == "Schema"
    for entry in ([], "t", 0, None):
        assert rule_of(file_0_1([entry_0_1(), entry])) == "Schema"


def test_a_key_twice_in_an_entry() -> None:
    for key, value in (("name", "t"), ("shape", [8]), ("author", 1)):
        twice = Pairs([*entry_0_1(author=1).items(), (key, value)])
        assert rule_of(file_0_1([twice])) == "CborDuplicateKey"


def test_bytes_around_the_manifest() -> None:
    for tail in (b"\0", b"\xff", cbor([entry_0_1()])):
        assert rule_of(file_0_1(Raw(cbor([entry_0_1()]) + tail))) == "CborSyntax"
    manifest = cbor([entry_0_1()])
    for length in range(1, len(manifest)):
        assert rule_of(file_0_1(Raw(manifest[:length]))) == "CborSyntax"


def test_manifest_lengths() -> None:
    size = len(file_0_1([entry_0_1()]))
    for length in (size - 15, size, 1 << 30, (1 << 30) + 1, 1 << 63, U64):
        data = file_0_1([entry_0_1()], length=length)
        assert rule_of(data) in ("ManifestBounds", "ManifestTooLarge")
    assert rule_of(file_0_1([entry_0_1()], length=size - 16)) in ("CborSyntax", "Schema")


# --- refused at decode ----------------------------------------------------------------------------


def test_sizes_that_the_shape_does_not_have() -> None:
    for fields in ({"shape": [7]}, {"shape": [9]}, {"size": 7}, {"dtype": "uint16"}):
        with zt.open(file_0_1([entry_0_1(**fields)])) as reader:
            for read in (reader["t"].numpy, lambda: reader["t"][1:2], reader.verify):
                with pytest.raises(zt.FormatError):
                    read()


def test_a_wrong_checksum() -> None:
    with zt.open(file_0_1([entry_0_1(checksum="crc32c:0x00000000")])) as reader:
        for read in (reader["t"].numpy, reader.verify):
            with pytest.raises(zt.DigestError):
                read()
