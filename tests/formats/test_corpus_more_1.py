"""Versions 1.0, 1.1 and 1.2, by hand: what readers accept, and at which stage they refuse."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import crc32c
import numpy as np
import pytest

import ztensor_remote as zt
from tests.formats.build import (
    EIGHT,
    MAGIC_1,
    Indefinite,
    Pairs,
    Raw,
    cbor,
    dense_1,
    file_1_0,
    file_1_2,
    head,
    object_1_2,
    part_1,
    root_1_0,
    root_1_2,
    tensor_1_0,
    wide,
)
from tests.formats.test_corpus_more import ODD_KEYS, rule_of

U64 = (1 << 64) - 1


def files(part: Any = None, **tensor: Any) -> dict[str, bytes]:
    """Return a 1.0, a 1.1 and a 1.2 file of a tensor ``t`` with these fields, its part with those."""
    part = part or {}
    old = tensor_1_0(**{"components": {"data": part_1(**part)}, **tensor})
    new = object_1_2(**{"components": {"data": part_1(**{"dtype": "u8", **part})}, **tensor})
    return of_tensors({"t": old}, {"t": new})


def of_tensors(old: Any, new: Any) -> dict[str, bytes]:
    return {
        "1.0": file_1_0(root_1_0(old)),
        "1.1": file_1_2(root_1_2(new, version="1.1.0")),
        "1.2": file_1_2(root_1_2(new)),
    }


def of_roots(change: Any) -> dict[str, bytes]:
    return {
        "1.0": file_1_0(change(root_1_0())),
        "1.1": file_1_2(change(root_1_2(version="1.1.0"))),
        "1.2": file_1_2(change(root_1_2())),
    }


def reads(cases: dict[str, bytes]) -> None:
    for version, data in cases.items():
        with zt.open(data) as reader:
            assert reader.version == version
            assert reader["t"].numpy().tobytes() == EIGHT
            reader.verify()
            assert repr(reader) and repr(reader["t"])


def opening_rules(cases: dict[str, bytes]) -> set[str | None]:
    return {rule_of(data) for data in cases.values()}


def refuses_to_decode(cases: dict[str, bytes], error: type[Exception] = zt.FormatError) -> None:
    for data in cases.values():
        with zt.open(data) as reader:
            for read in (reader["t"].numpy, lambda: reader["t"][2:4], reader.verify):
                with pytest.raises(error):
                    read()


# --- accepted -------------------------------------------------------------------------------------


def test_plain() -> None:
    reads(files())


def test_indefinite_lengths() -> None:
    def loosened(value: Any) -> Any:
        if isinstance(value, dict):
            return Indefinite({key: loosened(item) for key, item in value.items()})
        return Indefinite(value) if isinstance(value, list) else value

    reads(of_roots(loosened))
    chunks = Raw(b"\x7f" + cbor("den") + cbor("se") + b"\xff")
    reads(files(format=chunks))


def test_heads_longer_than_needed() -> None:
    shape = Raw(wide(4, 1) + wide(0, 8))
    reads(files({"offset": wide(0, 64), "length": wide(0, 8)}, shape=shape))
    reads(files(format=Raw(wide(3, 5) + b"dense")))


def test_the_self_describe_tag() -> None:
    reads(of_roots(lambda root: Raw(head(6, 55799) + cbor(root))))


def tagged(value: Any) -> Raw:
    """Return the CBOR of a value with a tag before all that is in it, but for the keys."""
    if isinstance(value, dict):
        pairs = b"".join(cbor(key) + tagged(item) for key, item in value.items())
        return Raw(head(6, 1234) + head(5, len(value)) + pairs)
    if isinstance(value, list):
        return Raw(head(6, 55799) + head(4, len(value)) + b"".join(map(tagged, value)))
    return Raw(head(6, 1) + head(6, 4000) + cbor(value))


def test_tags_before_any_value() -> None:
    """Published readers pass over all of them."""
    reads(of_roots(tagged))
    name = Raw(head(6, 1) + cbor("t"))
    reads(of_tensors({name: tensor_1_0()}, {name: object_1_2()}))
    reads(files({"digest": tagged(f"sha256:{hashlib.sha256(EIGHT).hexdigest()}")}))


def test_a_tag_makes_no_other_type_of_a_value() -> None:
    for wrong in (None, 8, [8], b"u8"):
        assert rule_of(files({"dtype": tagged(wrong)})["1.2"]) == "Schema"
        assert opening_rules(files({"offset": tagged(-64)})) == {"Schema"}


def test_any_key_order() -> None:
    reads(of_roots(lambda root: dict(reversed(root.items()))))


def test_keys_that_nobody_knows() -> None:
    more = dict.fromkeys(ODD_KEYS, [1, {"any": None}])
    reads(of_roots(lambda root: root | more))
    old, new = tensor_1_0() | more, object_1_2() | more
    reads(of_tensors({"t": old}, {"t": new}))
    old = tensor_1_0(components={"data": part_1() | more})
    new = object_1_2(components={"data": part_1(dtype="u8") | more})
    reads(of_tensors({"t": old}, {"t": new}))


def test_keys_that_only_cbor_has() -> None:
    for key in (b"\xf7", b"\xe5", b"\xf8\x20", b"\xc1\x01", b"\xd8\x63\x81\x01", b"\xf9\x7e\x00"):
        reads(of_roots(lambda root, key=key: root | {Raw(key): 1}))


def test_values_that_only_cbor_has() -> None:
    items = [b"\xf7", b"\xe5", b"\xc1\x01", b"\xc2\x42\xff\xff", b"\xd8\x1c\x01", b"\xd8\x1d\x00"]
    items += [
        b"\xc0\x01",
        b"\xd8\x23\x61(",
        b"\xd9\x01\x02\x81\x81\x01",
        b"\xc4\x82\x01\x19\xff\xff",
    ]
    for item in items:
        reads(of_roots(lambda root, item=item: root | {"attributes": {"a": Raw(item)}}))
        reads(of_roots(lambda root, item=item: root | {"later": Raw(item)}))


def test_null_where_a_field_may_be_missing() -> None:
    reads(of_roots(lambda root: root | {"attributes": None}))
    reads(files({"digest": None, "encoding": None}))
    for key in ("type", "uncompressed_length"):
        cases = files({key: None})
        del cases["1.0"]
        reads(cases)
    cases = files(attributes=None)
    reads(cases)


def test_raw_spelled_out() -> None:
    reads(files({"encoding": "raw"}))


def test_a_length_without_an_encoding_means_nothing() -> None:
    cases = files({"uncompressed_length": 3})
    del cases["1.0"]
    reads(cases)


def test_any_version_text() -> None:
    for text in ("", "1.0", "2", "9.9.9", "1.1", "1.1.7"):
        with zt.open(file_1_2(root_1_2(version=text))) as reader:
            assert reader.version == ("1.1" if text.startswith("1.1") else "1.2")
            assert reader["t"].numpy().tobytes() == EIGHT
        with zt.open(file_1_0(root_1_0(version=text))) as reader:
            assert reader.version == "1.0"


def test_any_name() -> None:
    names = ["", "\0", "n" * 5000, "a/b", "\u20ac"]
    old, new = (dict.fromkeys(names, make()) for make in (tensor_1_0, object_1_2))
    for data in of_tensors(old, new).values():
        with zt.open(data) as reader:
            assert reader.tensor_names == names
            for name in names:
                assert reader[name].numpy().tobytes() == EIGHT


def test_the_last_of_two_names_counts() -> None:
    for data in of_tensors(
        Pairs([("t", tensor_1_0(shape=[4, 2])), ("t", tensor_1_0())]),
        Pairs([("t", object_1_2(shape=[4, 2])), ("t", object_1_2())]),
    ).values():
        with zt.open(data) as reader:
            assert reader.tensor_names == ["t"]
            assert reader["t"].shape == (8,)


def test_the_last_of_two_roles_counts() -> None:
    wrong = {"length": 3}
    old = Pairs([("data", part_1(**wrong)), ("data", part_1())])
    new = Pairs([("data", part_1(dtype="u8", **wrong)), ("data", part_1(dtype="u8"))])
    reads(of_tensors({"t": tensor_1_0(components=old)}, {"t": object_1_2(components=new)}))


def test_a_second_component_of_a_dense_tensor_is_ignored() -> None:
    old = tensor_1_0(components={"data": part_1(), "more": part_1(length=0)})
    new = object_1_2(components={"data": part_1(dtype="u8"), "more": part_1(dtype="f64")})
    reads(of_tensors({"t": old}, {"t": new}))


def test_components_may_overlap() -> None:
    old = {"t": tensor_1_0(), "u": tensor_1_0(shape=[4], components={"data": part_1(length=4)})}
    part = part_1(dtype="f32", length=4)
    new = {"t": object_1_2(), "u": object_1_2(shape=[], components={"data": part})}
    reads(of_tensors(old, new))


def test_empty_files() -> None:
    for data in (file_1_0(root_1_0({}), {}), file_1_2(root_1_2({}), {})):
        with zt.open(data) as reader:
            assert len(reader) == 0
            assert reader.verify() == zt.Verification(0, 0)
    assert len(file_1_2(root_1_2({}), {})) == 48


def test_every_true_bool_is_true() -> None:
    stored = b"\0\1\2\xff"
    old = tensor_1_0(dtype="bool", shape=[4], components={"data": part_1(length=4)})
    new = object_1_2(shape=[4], components={"data": part_1(dtype="bool", length=4)})
    typed = object_1_2(shape=[4], components={"data": part_1(dtype="u8", type="bool", length=4)})
    cases = [file_1_0(root_1_0({"t": old}), {64: stored})]
    cases += [file_1_2(root_1_2({"t": fields}), {64: stored}) for fields in (new, typed)]
    for data in cases:
        with zt.open(data) as reader:
            array = reader["t"].numpy()
            assert array.view(np.uint8).tolist() == [0, 1, 1, 1]
            assert reader["t"].components["data"].read() == stored
            assert reader["t"][2:].tolist() == [True, True]
            reader.verify()


# --- refused at open ------------------------------------------------------------------------------


def test_a_key_twice_in_a_map_of_fields() -> None:
    assert opening_rules(of_roots(lambda root: Pairs([*root.items(), ("version", "1.0")]))) == {
        "CborDuplicateKey"
    }
    old, new = (Pairs([*make().items(), ("shape", [8])]) for make in (tensor_1_0, object_1_2))
    assert opening_rules(of_tensors({"t": old}, {"t": new})) == {"CborDuplicateKey"}
    twice = Pairs([*part_1(dtype="u8").items(), ("later", 1), ("later", 1)])
    components = {"components": {"data": twice}}
    cases = of_tensors({"t": tensor_1_0(**components)}, {"t": object_1_2(**components)})
    assert opening_rules(cases) == {"CborDuplicateKey"}


def test_bytes_after_the_manifest() -> None:
    for tail in (b"\0", b"\xf6", b"\xa0", b"\xff"):
        cases = of_roots(lambda root, tail=tail: Raw(cbor(root) + tail))
        assert opening_rules(cases) == {"CborSyntax"}


def test_cbor_that_is_none() -> None:
    for item in (
        b"\xff",
        b"\x1c",
        b"\xf8\x01",
        b"\x61\xff",
        b"\x9f\x01",
        b"\xbf\x01\xff",
        b"\x9b" + b"\xff" * 8,
    ):
        cases = of_roots(lambda root, item=item: Raw(cbor(root | {"zz": Raw(item)})))
        assert opening_rules(cases) == {"CborSyntax"}


def test_depth() -> None:
    for levels in (32, 100):
        nested = Raw(b"\x81" * levels + b"\0")
        reads(of_roots(lambda root, nested=nested: root | {"attributes": {"a": nested}}))
    for opener in (b"\x81", b"\xa1\x00", b"\x9f", b"\xc1", b"\xd9\xd9\xf7", b"\xa1"):
        cases = of_roots(lambda root, opener=opener: root | {"later": Raw(opener * 100_000)})
        assert opening_rules(cases) <= {"CborDepth", "CborSyntax"}


@pytest.mark.parametrize(
    "part",
    [
        {"offset": 0},
        {"offset": 8},
        {"offset": 63},
        {"offset": 64, "length": 9},
        {"offset": 128, "length": 8},
        {"offset": U64, "length": 8},
        {"offset": 64, "length": U64},
        {"offset": U64 - 63, "length": 64},
    ],
)
def test_blobs_outside_the_data(part: dict[str, int]) -> None:
    assert opening_rules(files(part)) == {"BlobBounds"}


@pytest.mark.parametrize("offset", [0, 8, 65, 128, U64])
def test_where_no_bytes_are_is_nobodys_business(offset: int) -> None:
    for data in files({"offset": offset, "length": 0}, shape=[0, 3]).values():
        with zt.open(data) as reader:
            assert reader["t"].numpy().shape == (0, 3)
            reader.verify()


@pytest.mark.parametrize(
    "part",
    [
        *({"offset": wrong} for wrong in (..., None, -64, 64.0, "64", True, [64], 1 << 64)),
        *({"length": wrong} for wrong in (..., None, -1, 8.0, "8", True, {})),
        *(
            {"encoding": wrong}
            for wrong in ("", "RAW", "gzip", "zt.zstd-seekable/1", 0, [], b"raw")
        ),
        *({"encoding": wrong} for wrong in (False, {}, 0.0)),
        *({"digest": wrong} for wrong in (0, [], {}, b"crc32c:0", False)),
    ],
    ids=repr,
)
def test_components_of_wrong_types(part: dict[str, Any]) -> None:
    cases = files(
        {key: Raw(cbor(value)) if value == 1 << 64 else value for key, value in part.items()}
    )
    assert opening_rules(cases) == {"Schema"}


@pytest.mark.parametrize(
    "part",
    [
        *({"dtype": wrong} for wrong in (..., None, 8, "uint8", "U8", "f8_e4m3", "complex64", "")),
        *({"type": wrong} for wrong in (0, [], b"bool", False)),
        *({"uncompressed_length": wrong} for wrong in (-1, 8.0, "8", [], False)),
    ],
    ids=repr,
)
def test_components_of_wrong_types_in_1_2(part: dict[str, Any]) -> None:
    cases = files(part)
    del cases["1.0"]
    assert opening_rules(cases) == {"Schema"}


@pytest.mark.parametrize(
    "tensor",
    [
        *({"shape": wrong} for wrong in (..., None, 8, "8", [8.0], [-8], [True], [None], {})),
        *({"components": wrong} for wrong in (..., None, [], "data", {"data": None}, {"data": []})),
        *({"components": wrong} for wrong in ({1: {}}, {b"data": {}}, {None: {}})),
        *({"format": wrong} for wrong in (None, 0, [], b"dense")),
    ],
    ids=repr,
)
def test_tensors_of_wrong_types(tensor: dict[str, Any]) -> None:
    assert opening_rules(files(**tensor)) == {"Schema"}


def test_more_tensors_of_wrong_types() -> None:
    for dtype in (..., None, "u8", "UINT8", 8, "float8"):
        assert rule_of(file_1_0(root_1_0({"t": tensor_1_0(dtype=dtype)}))) == "Schema"
    for attributes in (0, [], "a", False, b""):
        assert rule_of(file_1_2(root_1_2({"t": object_1_2(attributes=attributes)}))) == "Schema"
    assert rule_of(file_1_2(root_1_2({"t": object_1_2(format=...)}))) == "Schema"
    assert opening_rules(files(shape=[1 << 32, 1 << 32])) == {"Shape"}
    assert opening_rules(files(shape=[0, 1 << 32, 1 << 32])) == {None}


def test_roots_of_wrong_types() -> None:
    for key in ("tensors", "objects"):
        cases = of_roots(lambda root, key=key: {k: v for k, v in root.items() if k != key})
        assert "Schema" in opening_rules(cases)
        for wrong in (None, [], 0, "t"):
            bent = of_roots(lambda root, key=key, wrong=wrong: root | {key: wrong})
            assert rule_of(bent["1.0" if key == "tensors" else "1.2"]) == "Schema"
    for wrong in (0, [], "a", False):
        cases = of_roots(lambda root, wrong=wrong: root | {"attributes": wrong})
        assert opening_rules(cases) == {"Schema"}
    for name in (1, None, b"t", (1,)):
        cases = of_tensors({name: tensor_1_0()}, {name: object_1_2()})
        assert opening_rules(cases) == {"Schema"}
    for root in ([], 0, "root", None):
        assert rule_of(file_1_0(Raw(cbor(root)))) == "Schema"
        assert rule_of(file_1_2(Raw(cbor(root)))) == "Schema"
    assert rule_of(file_1_2(root_1_2(version=...))) == "Schema"
    assert rule_of(file_1_2(root_1_2(version=12))) == "Schema"


def test_manifest_lengths() -> None:
    for make, root in ((file_1_0, root_1_0()), (file_1_2, root_1_2())):
        size, manifest = len(make(root)), len(cbor(root))
        whole = size - 8 - (len(make(root)) - manifest - 72)  # all but the header and the footer
        assert rule_of(make(root, length=whole)) == "CborSyntax"  # starts in the padding
        for length in (whole + 1, size, 1 << 30, (1 << 30) + 1, 1 << 63, U64):
            assert rule_of(make(root, length=length)) in ("ManifestBounds", "ManifestTooLarge")
        assert rule_of(make(root, length=manifest - 1)) == "CborSyntax"
        assert rule_of(make(root, length=manifest + 1)) in ("CborSyntax", "Schema")


def test_magic_and_size() -> None:
    assert rule_of(MAGIC_1) == "FileTooSmall"
    assert rule_of(MAGIC_1 + bytes(7)) == "FileTooSmall"
    assert rule_of(MAGIC_1 + bytes(8)) == "CborSyntax"
    assert rule_of(MAGIC_1 + MAGIC_1) == "ManifestBounds"
    assert rule_of(MAGIC_1 + bytes(8) + MAGIC_1) == "CborSyntax"
    assert rule_of(b"\x7fELF" + bytes(60)) == "HeaderMagic"
    assert rule_of(b"PK\3\4" + bytes(60)) == "Zip"
    assert rule_of(b"ZTEN1001" + file_1_0(root_1_0())[8:]) == "HeaderMagic"
    assert rule_of(b"ZTEN0001" + file_1_2(root_1_2())[8:]) == "HeaderMagic"
    assert rule_of(bytes(8) + file_1_2(root_1_2())[8:]) == "HeaderMagic"


# --- refused at decode ----------------------------------------------------------------------------


def test_misaligned_blobs_open() -> None:
    for offset in (65, 72):
        blob = {64: EIGHT * 3}
        part = part_1(offset=offset, dtype="u8")
        refuses_to_decode(
            {
                "1.0": file_1_0(root_1_0({"t": tensor_1_0(components={"data": part})}), blob),
                "1.2": file_1_2(root_1_2({"t": object_1_2(components={"data": part})}), blob),
            }
        )


def test_sizes_that_the_shape_does_not_have() -> None:
    for shape in ([7], [9], [0], [2, 3], []):
        refuses_to_decode(files(shape=shape)) if shape else None
    for length in (0, 7):
        refuses_to_decode(files({"length": length}))
    new = object_1_2(shape=[3], components={"data": part_1(dtype="f32")})
    refuses_to_decode({"1.2": file_1_2(root_1_2({"t": new}))})


def test_a_dense_tensor_without_data() -> None:
    old, new = part_1(), part_1(dtype="u8")
    for roles in ({}, {"values": True}):
        cases = of_tensors(
            {"t": tensor_1_0(components={role: old for role in roles})},
            {"t": object_1_2(components={role: new for role in roles})},
        )
        refuses_to_decode(cases)
        for data in cases.values():
            with zt.open(data) as reader:
                assert repr(reader["t"])
                assert reader.metadata("t").shape == (8,)


def test_a_known_type_over_another_dtype() -> None:
    refuses_to_decode({"1.2": files({"type": "complex64"})["1.2"]})
    refuses_to_decode({"1.2": files({"type": "f8_e5m2", "dtype": "i8"})["1.2"]})


def test_an_unknown_type_is_not_presented_wrongly() -> None:
    with zt.open(files({"type": "x/1"})["1.2"]) as reader:
        assert reader["t"].components["data"].read() == EIGHT
        with pytest.raises(zt.UnsupportedError):
            reader["t"].numpy()


# --- digests --------------------------------------------------------------------------------------

CRC = f"{crc32c.crc32c(EIGHT):08X}"
SHA = hashlib.sha256(EIGHT).hexdigest()


@pytest.mark.parametrize(
    "digest",
    [
        *(f"crc32c:0x{CRC}", f"crc32c:0X{CRC}", f"crc32c:{CRC}", f"crc32c:{CRC.lower()}"),
        *(f"sha256:{SHA}", f"sha256:{SHA.upper()}"),
    ],
)
def test_digests_in_every_accepted_spelling(digest: str) -> None:
    for data in files({"digest": digest}).values():
        with zt.open(data) as reader:
            assert reader["t"].numpy().tobytes() == EIGHT
            assert reader.verify() == zt.Verification(1, 0)


@pytest.mark.parametrize(
    "digest",
    [
        *("crc32c:0x00000000", "crc32c:", "crc32c", "crc32c:0x", "crc32c:zz", f"crc32c:0x0{CRC}0"),
        *(
            f"crc32c:{CRC} ",
            f"crc32c:0x0x{CRC}",
            f"sha256:0x{SHA}",
            "sha256:",
            f"sha256:{SHA[:-1]}",
        ),
        f"sha256:{CRC}",
    ],
)
def test_digests_that_do_not_match(digest: str) -> None:
    for data in files({"digest": digest}).values():
        with zt.open(data) as reader:
            for read in (reader["t"].numpy, reader["t"].components["data"].read, reader.verify):
                with pytest.raises(zt.DigestError):
                    read()
        with zt.open(data, verify=False) as reader:
            assert reader["t"].numpy().tobytes() == EIGHT


@pytest.mark.parametrize("digest", ["", "md5:00", "xxh3:0", "CRC32C:0", "crc32:0", ":", "crc32c 0"])
def test_digests_of_unknown_algorithms_are_not_checked(digest: str) -> None:
    for data in files({"digest": digest}).values():
        with zt.open(data) as reader:
            assert reader["t"].numpy().tobytes() == EIGHT
            assert reader.verify() == zt.Verification(0, 1)


# --- sparse ---------------------------------------------------------------------------------------

INDEX_DTYPES = {
    "u64": "Q",
    "i64": "q",
    "u32": "I",
    "i32": "i",
    "u16": "H",
    "i16": "h",
    "u8": "B",
    "i8": "b",
}


def sparse_1_2(fields: dict[str, Any], arrays: dict[str, tuple[str, bytes]], **bent: Any) -> bytes:
    blobs, parts = {}, {}
    for number, (role, (dtype, stored)) in enumerate(arrays.items(), 1):
        blobs[number * 256] = stored
        part = part_1(dtype=dtype, offset=number * 256, length=len(stored))
        parts[role] = part | bent.get(role, {})
    return file_1_2(root_1_2({"t": {**fields, "components": parts}}), blobs)


VALUES = ("f32", struct.pack("<3f", 1, 2, 3))


@pytest.mark.parametrize("dtype", INDEX_DTYPES)
def test_indices_of_every_integer_dtype(dtype: str) -> None:
    form = INDEX_DTYPES[dtype]
    arrays = {
        "values": VALUES,
        "indices": (dtype, struct.pack(f"<3{form}", 2, 0, 1)),
        "indptr": ("u64", struct.pack("<3Q", 0, 2, 3)),
        "ignored": ("f64", b""),
        "data": ("u8", b"\1\2\3"),
    }
    with zt.open(sparse_1_2({"shape": [2, 3], "format": "sparse_csr"}, arrays)) as reader:
        assert reader["t"].numpy().tolist() == [[2, 0, 1], [0, 3, 0]]
        assert reader["t"].scipy().nnz == 3
        reader.verify()
    arrays = {"values": VALUES, "coords": (dtype, struct.pack(f"<6{form}", 0, 0, 1, 2, 2, 1))}
    with zt.open(sparse_1_2({"shape": [2, 3], "format": "sparse_coo"}, arrays)) as reader:
        # A cell may be named twice: it is the sum, as in SciPy.
        assert reader["t"].numpy().tolist() == [[0, 0, 3], [0, 3, 0]]
        reader.verify()


@pytest.mark.parametrize("index", [-1, 3, 127, -128])
def test_indices_outside_the_shape(index: int) -> None:
    arrays = {"values": VALUES, "coords": ("i8", struct.pack("<6b", 0, 0, 1, 2, index, 1))}
    csr = {
        "values": VALUES,
        "indices": ("i8", struct.pack("<3b", 2, index, 1)),
        "indptr": ("u64", struct.pack("<3Q", 0, 2, 3)),
    }
    for fields, parts in (("sparse_coo", arrays), ("sparse_csr", csr)):
        refuses_to_decode({"1.2": sparse_1_2({"shape": [2, 3], "format": fields}, parts)})


def test_sparse_sizes_are_checked_at_decode() -> None:
    good = {
        "values": VALUES,
        "indices": ("u64", struct.pack("<3Q", 2, 0, 1)),
        "indptr": ("u64", struct.pack("<3Q", 0, 2, 3)),
    }
    fields = {"shape": [2, 3], "format": "sparse_csr"}
    for role, length in (("values", 8), ("indices", 16), ("indices", 23), ("indptr", 16)):
        refuses_to_decode({"1.2": sparse_1_2(fields, good, **{role: {"length": length}})})
    for role in good:
        parts = {name: part for name, part in good.items() if name != role}
        refuses_to_decode({"1.2": sparse_1_2(fields, parts)})
    for role in ("indices", "indptr"):
        refuses_to_decode({"1.2": sparse_1_2(fields, good, **{role: {"dtype": "f64"}})})
    for shape in ([6], [2, 3, 1], []):
        refuses_to_decode({"1.2": sparse_1_2(fields | {"shape": shape}, good)}) if shape else None


def test_all_dtypes_in_both_spellings() -> None:
    for long, short in {"float64": "f64", "bfloat16": "bf16", "int8": "i8", "bool": "bool"}.items():
        width = {"f64": 8, "bf16": 2}.get(short, 1)
        part = {"offset": 64, "length": width}
        old = tensor_1_0(dtype=long, shape=[1], components={"data": part})
        new = object_1_2(shape=[1], components={"data": {**part, "dtype": short}})
        blob = {64: bytes(width)}
        for data in (file_1_0(root_1_0({"t": old}), blob), file_1_2(root_1_2({"t": new}), blob)):
            with zt.open(data) as reader:
                assert reader["t"].dtype.name == long


def test_compressed_sparse_components_whose_size_nobody_states() -> None:
    from tests.formats.build import frame

    stored = {
        "values": frame(VALUES[1]),
        "indices": frame(struct.pack("<3Q", 2, 0, 1)),
        "indptr": frame(struct.pack("<3Q", 0, 2, 3)),
    }
    blobs = {number * 256: blob for number, blob in enumerate(stored.values(), 1)}
    parts = {
        role: part_1(offset=offset, length=len(blob), encoding="zstd")
        for (role, blob), offset in zip(stored.items(), blobs, strict=True)
    }
    fields = {"dtype": "float32", "shape": [2, 3], "format": "sparse_csr", "components": parts}
    with zt.open(file_1_0(root_1_0({"t": fields}), blobs)) as reader:
        assert reader["t"].numpy().tolist() == [[2, 0, 1], [0, 3, 0]]
        assert reader["t"].components["values"].decoded_length is None
    assert dense_1("1.0", EIGHT, [8])  # the plain case beside it
