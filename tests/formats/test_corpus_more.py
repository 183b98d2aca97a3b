"""Version-2 files like those of the corpus that are not in it: each opening rule, on both sides."""

from __future__ import annotations

from typing import Any

import pytest

import ztensor_remote as zt
from tests.formats.build import (
    EIGHT,
    MAGIC_1,
    MAGIC_2,
    Raw,
    cbor,
    dense_2,
    file_2,
    footer_2,
    head,
    object_2,
    one_2,
    part_2,
    root_2,
)

U64 = (1 << 64) - 1
DIGEST = "xxh3:0123456789abcdef"
SHARD = {"size": 8192, "digest": DIGEST}


def rule_of(data: bytes) -> str | None:
    """Return the rule that keeps the file from opening; None where it opens."""
    try:
        zt.open(data).close()
    except zt.FormatError as error:
        assert error.rule, error
        return error.rule
    return None


def nested(levels: int) -> Raw:
    return Raw(b"\x81" * levels + b"\0")


def with_key(key: Any, **where: Any) -> dict[Any, Any]:
    return {**where, key: [1, {"any": None}]}


ODD_KEYS = ["later", 7, -1, 1.5, None, True, b"\0", (1, (2,)), Raw(cbor({1: [2]}))]


OPENS = {
    # --- container
    "empty": file_2(root_2({}), {}),
    "data shard": file_2(Raw(b""), {}, at=0, digest=0)[:8] + footer_2(0, b"", digest=0),
    "data shard with a blob": (MAGIC_2 + bytes(5000) + footer_2(0, b"", digest=0)),
    "reserved field set": file_2(root_2(), reserved=1 << 31),
    "gap before the footer": file_2(root_2(), gap=b"\x5a" * 333),
    "padding that is not zero": file_2(root_2(), {8: b"\xff" * 4088, 4096: EIGHT}),
    "manifest before the blob": file_2(dense_2([8], blob=[8192, 8]), {8192: EIGHT}, at=4096),
    # --- names
    "name of 1024 bytes": file_2(root_2({"n" * 1024: object_2()})),
    "name of 1024 bytes in 342 letters": file_2(root_2({"\u20ac" * 341 + "n": object_2()})),
    "part name of 1024 bytes": file_2(one_2(layout="x", parts={"p" * 1024: part_2()})),
    "attribute name of 1024 bytes": file_2(root_2(attributes={"a" * 1024: 1})),
    "attribute of an object of 1024 bytes": file_2(one_2(attributes={"a" * 1024: 1})),
    "nested keys are free": file_2(
        root_2(attributes={"a": dict.fromkeys([*ODD_KEYS, "", "\0", "k" * 2000], 1)})
    ),
    # --- shapes
    "rank 64": file_2(dense_2([1] * 63 + [8])),
    "product 2**64 - 1": file_2(one_2(layout="x", shape=[(1 << 32) - 1, (1 << 32) + 1])),
    "one dimension of 2**64 - 1": file_2(one_2(layout="x", shape=[U64])),
    "zero before the overflow": file_2(dense_2([0, 1 << 40, 1 << 40], blob=[4096, 0])),
    # --- optional fields and keys that nobody knows
    "no attributes": file_2(root_2(attributes={})),
    "no shards": file_2(root_2(shards={})),
    "encoding with its length": file_2(dense_2([8], encoding="x/1", decoded_length=8)),
    "unknown type": file_2(dense_2([999], type="x.later/1")),
    "unknown layout": file_2(one_2(layout="")),
    "unknown digest algorithm": file_2(dense_2([8], digest="blake9:00")),
    "digest of few digits": file_2(dense_2([8], digest="xxh3:0")),
    "digest of odd algorithm digits": file_2(dense_2([8], digest="0:0")),
    # --- blobs
    "blob up to the data's end": file_2(dense_2([8], blob=[8192, 8]), {8192: EIGHT}, at=4096),
    "zero-length blobs share an offset": file_2(
        root_2(
            {
                "a": object_2(shape=[0], parts={"data": part_2(blob=[4096, 0])}),
                "b": object_2(shape=[0, 3], parts={"data": part_2(blob=[4096, 0], dtype="f64")}),
                "t": object_2(),
            }
        )
    ),
    "zero-length blob inside another": file_2(
        root_2(
            {
                "a": object_2(shape=[0], parts={"data": part_2(blob=[8192, 0])}),
                "t": object_2(shape=[8192], parts={"data": part_2(blob=[4096, 8192])}),
            }
        ),
        {4096: bytes(8192)},
    ),
    "identical blobs": file_2(root_2({"a": object_2(), "b": object_2(shape=[2, 4])})),
    # --- shards
    "shard name of 64 letters": file_2(root_2(shards={"s" * 64: SHARD})),
    "shard name of every sort": file_2(root_2(shards={"aZ09._-": SHARD})),
    "shard name that starts with a dash": file_2(root_2(shards={"-": SHARD})),
    "smallest shard": file_2(root_2(shards={"s": {"size": 48, "digest": DIGEST}})),
    "blob up to the shard's end": file_2(
        one_2(parts={"data": part_2(blob=[4096, 8], shard="s")})
        | {"shards": {"s": {"size": 4096 + 8 + 40, "digest": DIGEST}}}
    ),
    "same range in two files": file_2(
        root_2(
            {
                "a": object_2(shape=[8], parts={"data": part_2(shard="s")}),
                "b": object_2(shape=[9], parts={"data": part_2(blob=[4096, 9], shard="r")}),
                "t": object_2(),
            },
            shards={"s": SHARD, "r": SHARD},
        )
    ),
} | {
    f"key {key!r} in the {where}": file_2(root)
    for key in ODD_KEYS
    for where, root in {
        "root": with_key(key, **root_2()),
        "object": root_2({"t": with_key(key, **object_2())}),
        "part": one_2(parts={"data": with_key(key, **part_2())}),
        "shard": root_2(shards={"s": with_key(key, **SHARD)}),
    }.items()
}


@pytest.mark.parametrize("name", OPENS)
def test_opens(name: str) -> None:
    assert rule_of(OPENS[name]) is None


def _mistyped(fields: dict[str, Any]) -> dict[str, Any]:
    """Return each field under a name that says what is wrong: left out, null, of another type."""
    bent: dict[str, Any] = {}
    for key, value in fields.items():
        others = [None, 1.0, [], {}, "text", b"bytes", -1, True]
        wrong = [other for other in others if type(other) is not type(value) or other == -1]
        bent |= {f"{key}: {other!r}": {**fields, key: other} for other in wrong}
    return bent


_REQUIRED = {
    "root without objects": root_2(objects=...),
    "object without parts": one_2(parts=...),
    "object of no parts": one_2(parts={}),
    "object without a shape": one_2(shape=...),
    "object without a layout": one_2(layout=...),
    "part without a dtype": dense_2([8], dtype=...),
    "part without a blob": dense_2([8], blob=...),
    "shard without a size": root_2(shards={"s": {"digest": DIGEST}}),
    "shard without a digest": root_2(shards={"s": {"size": 48}}),
}
_MISTYPED = (
    {f"root {name}": root for name, root in _mistyped(root_2(attributes={}, shards={})).items()}
    | {
        f"object {name}": root_2({"t": fields})
        for name, fields in _mistyped(object_2(attributes={})).items()
    }
    | {
        f"part {name}": one_2(layout="x", parts={"data": fields}) | {"shards": {"s": SHARD}}
        for name, fields in _mistyped(
            part_2(type="x/1", digest=DIGEST, encoding="x/1", decoded_length=8, shard="s")
        ).items()
        # Any text is a type and an encoding, and an unknown shard breaks another rule.
        if name not in ("type: 'text'", "encoding: 'text'")
    }
    | {f"shard {name}": root_2(shards={"s": fields}) for name, fields in _mistyped(SHARD).items()}
)
_VALUES = {
    "root is an array": [root_2()],
    "object is text": root_2({"t": "dense"}),
    "part is an array": one_2(parts={"data": [4096, 8]}),
    "shard is a number": root_2(shards={"s": 48}),
    "object name is a number": root_2({1: object_2()}),
    "object name is bytes": root_2({b"t": object_2()}),
    "object name is an array": root_2({(1,): object_2()}),
    "part name is null": one_2(layout="x", parts={None: part_2()}),
    "attribute name is true": root_2(attributes={True: 1}),
    "attribute of an object is a number": one_2(attributes={1: 1}),
    "shape of floats": dense_2([8.0]),
    "shape of booleans": dense_2([True, 8]),
    "negative dimension": dense_2([-8]),
    "dimension of -2**64": dense_2([-(1 << 64)]),
    "dtype of version 0.1": dense_2([2], dtype="float32"),
    "dtype bool": dense_2([8], dtype="bool"),
    "dtype in capitals": dense_2([8], dtype="U8"),
    "dtype with a NUL": dense_2([8], dtype="u8\0"),
    "known type over another dtype": dense_2([8], type="f8_e5m2", dtype="i8"),
    "complex over f64": dense_2([1], type="complex64", dtype="f64"),
    "complex128 over f32": dense_2([1], type="complex128", dtype="f32"),
    "bool over i8": dense_2([8], type="bool", dtype="i8"),
    "blob of one number": dense_2([8], blob=[4096]),
    "blob of three": dense_2([8], blob=[4096, 8, 0]),
    "blob of text": dense_2([8], blob=["4096", 8]),
    "negative offset": dense_2([8], blob=[-4096, 8]),
    "encoding alone": dense_2([8], encoding="x/1"),
    "decoded length alone": dense_2([8], decoded_length=8),
    "shard of 47 bytes": root_2(shards={"s": {"size": 47, "digest": DIGEST}}),
} | {
    f"digest {digest!r}": dense_2([8], digest=digest)
    for digest in (
        *("", ":", "xxh3", "xxh3:", ":00", "XXH3:00", "xxh3:0A", "xxh3:0g", "xxh3:0x00"),
        *("xx-h3:00", "xxh3:00 ", " xxh3:00", "xxh3:00\n", "a:b:00", "xxh3:\u0663", "\xe9:00"),
    )
}
SCHEMA = _REQUIRED | _MISTYPED | _VALUES


@pytest.mark.parametrize("name", SCHEMA)
def test_schema(name: str) -> None:
    assert rule_of(file_2(SCHEMA[name])) == "Schema"


REJECTED = {
    # --- container
    "47 bytes": ("FileTooSmall", MAGIC_2 + footer_2(0, b"", digest=0)[1:]),
    "15 bytes": ("FileTooSmall", MAGIC_2 + MAGIC_2[1:]),
    "16 bytes": ("FileTooSmall", MAGIC_2 + MAGIC_2),
    "no bytes": ("FileTooSmall", b""),
    "another header": ("HeaderMagic", file_2(root_2(), magic=MAGIC_1)),
    "footer without magic": ("FooterMagic", file_2(root_2())[:-8] + bytes(8)),
    "footer of version 1.2": ("FooterMagic", file_2(root_2())[:-8] + MAGIC_1),
    "a beginning of 40 bytes": ("FileTooSmall", file_2(root_2())[:40]),
    "47 bytes that end as version 1.2": ("FileTooSmall", MAGIC_2 + bytes(31) + MAGIC_1),
    "a byte too many": ("FooterMagic", file_2(root_2()) + b"\0"),
    "version 1": ("Version", file_2(root_2(), version=1)),
    "version 3": ("Version", file_2(root_2(), version=3)),
    "no manifest but an offset": (
        "ManifestBounds",
        MAGIC_2 + bytes(5000) + footer_2(4096, b"", digest=0),
    ),
    "no manifest but a hash": (
        "ManifestBounds",
        MAGIC_2 + bytes(5000) + footer_2(0, b"", digest=1),
    ),
    "no manifest but the hash of nothing": ("ManifestBounds", MAGIC_2 + footer_2(0, b"")),
    "manifest one byte too long": (
        "ManifestBounds",
        file_2(root_2(), length=len(cbor(root_2())) + 1),
    ),
    "manifest of 1 GiB": ("ManifestBounds", file_2(root_2(), length=1 << 30)),
    "manifest over 1 GiB": ("ManifestTooLarge", file_2(root_2(), length=(1 << 30) + 1)),
    "manifest of 2**64 - 1": ("ManifestTooLarge", file_2(root_2(), length=U64)),
    "manifest far outside": ("ManifestBounds", MAGIC_2 + bytes(5000) + footer_2(1 << 63, b"\xa0")),
    "manifest at 0": ("BlobAlignment", MAGIC_2 + bytes(5000) + footer_2(0, b"\xa0")),
    "manifest at 4097": ("BlobAlignment", file_2(root_2({}), {}, at=4097)),
    "manifest hash": ("ManifestHash", file_2(root_2(), digest=1)),
    "manifest of other bytes": ("ManifestHash", file_2(root_2()).replace(b"layout", b"lavout")),
    # --- names
    "name of 1025 bytes": ("Name", file_2(root_2({"n" * 1025: object_2()}))),
    "name of 1025 bytes in 343 letters": (
        "Name",
        file_2(root_2({"\u20ac" * 341 + "nn": object_2()})),
    ),
    "no name": ("Name", file_2(root_2({"": object_2()}))),
    "name with a NUL": ("Name", file_2(root_2({"n\0": object_2()}))),
    "part name of 1025 bytes": ("Name", file_2(one_2(layout="x", parts={"p" * 1025: part_2()}))),
    "no part name": ("Name", file_2(one_2(layout="x", parts={"": part_2()}))),
    "part name with a NUL": ("Name", file_2(one_2(layout="x", parts={"\0": part_2()}))),
    "attribute name of 1025 bytes": ("Name", file_2(root_2(attributes={"a" * 1025: 1}))),
    "no attribute name in an object": ("Name", file_2(one_2(attributes={"": 1}))),
    # --- shapes
    "rank 65": ("Shape", file_2(dense_2([1] * 64 + [8]))),
    "product 2**64": ("Shape", file_2(one_2(layout="x", shape=[1 << 32, 1 << 32]))),
    "overflow before the zero": ("Shape", file_2(dense_2([1 << 40, 1 << 40, 0], blob=[4096, 0]))),
    # --- blobs
    "blob at 0": ("BlobAlignment", file_2(dense_2([8], blob=[0, 8]))),
    "blob at 64": ("BlobAlignment", file_2(dense_2([8], blob=[64, 8]))),
    "blob at 4095": ("BlobAlignment", file_2(dense_2([8], blob=[4095, 8]))),
    "empty blob at 0": ("BlobAlignment", file_2(dense_2([0], blob=[0, 0]))),
    "empty blob at 4097": ("BlobAlignment", file_2(dense_2([0], blob=[4097, 0]))),
    "blob one byte past the data's end": (
        "BlobBounds",
        file_2(dense_2([9], blob=[8192, 9]), {8192: EIGHT}, at=4096),
    ),
    "blob that wraps": ("BlobBounds", file_2(dense_2([8192], blob=[U64 - 4095, 8192]))),
    "blob of 2**64 - 1": (
        "BlobBounds",
        file_2(one_2(layout="x", parts={"p": part_2(blob=[4096, U64])})),
    ),
    "empty blob outside": ("BlobBounds", file_2(dense_2([0], blob=[1 << 40, 0]))),
    "blobs of one offset and two lengths": (
        "BlobOverlap",
        file_2(
            root_2(
                {"a": object_2(), "b": object_2(shape=[7], parts={"data": part_2(blob=[4096, 7])})}
            )
        ),
    ),
    "blob over the manifest": ("BlobOverlap", file_2(dense_2([9], blob=[8192, 9]))),
    "blob one byte into the manifest": ("BlobOverlap", file_2(dense_2([4097], blob=[4096, 4097]))),
    # --- shards
    "shard name of 65 letters": ("ShardName", file_2(root_2(shards={"s" * 65: SHARD}))),
    "shard name with a space": ("ShardName", file_2(root_2(shards={"a b": SHARD}))),
    "shard name with a newline at its end": ("ShardName", file_2(root_2(shards={"a\n": SHARD}))),
    "shard name with a letter of elsewhere": ("ShardName", file_2(root_2(shards={"\xe9": SHARD}))),
    "shard name with a backslash": ("ShardName", file_2(root_2(shards={"a\\b": SHARD}))),
    "shard that the table lacks": (
        "ShardRef",
        file_2(dense_2([8], shard="t") | {"shards": {"s": SHARD}}),
    ),
    "blob one byte past the shard's end": (
        "BlobBounds",
        file_2(
            dense_2([8], shard="s") | {"shards": {"s": {"size": 4096 + 7 + 40, "digest": DIGEST}}}
        ),
    ),
    "overlap in a shard": (
        "BlobOverlap",
        file_2(
            root_2(
                {
                    "a": object_2(parts={"data": part_2(shard="s")}),
                    "b": object_2(shape=[9], parts={"data": part_2(blob=[4096, 9], shard="s")}),
                },
                shards={"s": SHARD},
            )
        ),
    ),
}


@pytest.mark.parametrize("name", REJECTED)
def test_does_not_open(name: str) -> None:
    rule, data = REJECTED[name]
    assert rule_of(data) == rule


def test_the_manifest_may_be_a_blob_too() -> None:
    """A range that is identical to the manifest's own is no overlap."""
    length = 0
    for _ in range(3):  # until the length of the manifest is the length that it states
        root = dense_2([length], blob=[8192, length])
        length = len(cbor(root, sort=True))
    with zt.open(file_2(root)) as reader:
        assert reader["t"].numpy().tobytes() == cbor(root, sort=True)


def test_a_maximal_head_needs_its_bytes() -> None:
    for major in (2, 3, 4, 5):
        for count in (1, 23, 255, 65535, (1 << 32) - 1, (1 << 63) + 1, U64):
            assert rule_of(file_2(Raw(head(major, count)))) == "CborSyntax"
            inside = Raw(cbor("objects") + head(major, count))
            assert rule_of(file_2(Raw(b"\xa1" + inside))) == "CborSyntax"


def test_depth() -> None:
    def attributes(levels: int) -> bytes:
        # The root map is at depth 0, the map of attributes at 1, the outermost list at 2.
        return file_2(root_2(attributes={"a": nested(levels)}))

    assert rule_of(attributes(30)) is None
    assert rule_of(attributes(31)) == "CborDepth"
    assert rule_of(attributes(5000)) == "CborDepth"
    assert rule_of(file_2(root_2(attributes={"a": {nested(29): 1}}))) is None
    assert rule_of(file_2(root_2(attributes={"a": {nested(30): 1}}))) == "CborDepth"
    assert rule_of(file_2(root_2(later=nested(31)))) is None
    assert rule_of(file_2(root_2(later=nested(32)))) == "CborDepth"
