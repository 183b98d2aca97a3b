"""The CBOR of version 2: one encoding of each value, every other refused (SPEC.md §9.3)."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest

import ztensor_remote as zt
from tests.formats.build import Indefinite, Pairs, Raw, cbor, file_2, head, root_2, wide
from tests.formats.test_corpus_more import rule_of


def _item(item: bytes) -> dict[str, bytes]:
    """Return files that hold an item where nobody looks, and where attributes are."""
    return {
        "under an unknown key": file_2(root_2(later=Raw(item))),
        "as an attribute": file_2(root_2(attributes={"a": Raw(item)})),
        "deep in an attribute": file_2(root_2(attributes={"a": [1, {"b": Raw(item)}]})),
    }


def _float(form: str, value: float) -> bytes:
    return {"e": b"\xf9", "f": b"\xfa", "d": b"\xfb"}[form] + struct.pack(">" + form, value)


# --- what is read ---------------------------------------------------------------------------------

VALUES: dict[bytes, Any] = {
    b"\x00": 0,
    b"\x17": 23,
    b"\x18\x18": 24,
    b"\x18\xff": 255,
    b"\x19\x01\x00": 256,
    b"\x1a\x00\x01\x00\x00": 1 << 16,
    b"\x1b\x00\x00\x00\x01\x00\x00\x00\x00": 1 << 32,
    b"\x1b" + b"\xff" * 8: (1 << 64) - 1,
    b"\x20": -1,
    b"\x38\x18": -25,
    b"\x3b" + b"\xff" * 8: -(1 << 64),
    b"\xf4": False,
    b"\xf5": True,
    b"\xf6": None,
    b"\x40": b"",
    b"\x58\x18" + b"x" * 24: b"x" * 24,
    b"\x60": "",
    b"\x62\xc3\xa9": "\xe9",
    b"\x61\x00": "\0",
    b"\x64\xf0\x9f\x98\x80": "\U0001f600",
    b"\x80": [],
    b"\xa0": {},
    b"\xf9\x00\x00": 0.0,
    b"\xf9\x80\x00": -0.0,
    b"\xf9\x3c\x00": 1.0,
    b"\xf9\x7c\x00": math.inf,
    b"\xf9\xfc\x00": -math.inf,
    b"\xf9\x00\x01": 2.0**-24,
    b"\xf9\x7b\xff": 65504.0,
    b"\xfa\x47\x7f\xe1\x00": 65505.0,
    _float("f", 2.0**-149): 2.0**-149,
    _float("f", 2.0**-25): 2.0**-25,
    _float("d", 0.1): 0.1,
    _float("d", 2.0**-150): 2.0**-150,
    _float("d", 1e300): 1e300,
    b"\xa2\x01\x02\x20\x03": {1: 2, -1: 3},
    b"\xa2\x61\x61\x01\x62\x61\x61\x02": {"a": 1, "aa": 2},
    # Keys go by their encoded bytes: all integers before all text, whatever their lengths.
    b"\xa2\x19\x03\xe8\x01\x61\x61\x02": {1000: 1, "a": 2},
}


@pytest.mark.parametrize("item", VALUES, ids=lambda item: item.hex()[:24])
def test_values(item: bytes) -> None:
    with zt.open(file_2(root_2(attributes={"a": Raw(item)}))) as reader:
        value = reader.attributes["a"]
    assert type(value) is type(VALUES[item])
    assert value == VALUES[item]
    if isinstance(value, float):
        assert math.copysign(1, value) == math.copysign(1, VALUES[item])


def test_nan() -> None:
    with zt.open(file_2(root_2(attributes={"a": Raw(b"\xf9\x7e\x00")}))) as reader:
        assert math.isnan(reader.attributes["a"])


def test_long_values() -> None:
    text, data = "\u20ac" * 30_000, bytes(range(256)) * 300
    attributes = {"text": text, "data": data, "list": list(range(70_000))}
    with zt.open(file_2(root_2(attributes=attributes))) as reader:
        assert reader.attributes == attributes


def test_a_map_of_many_sizes_of_keys() -> None:
    attributes = {"a": {"k" * length: length for length in (0, 1, 23, 24, 255, 256, 70_000)}}
    with zt.open(file_2(root_2(attributes=attributes))) as reader:
        assert reader.attributes == attributes


# --- what is refused ------------------------------------------------------------------------------

SYNTAX: dict[str, bytes] = {
    **{f"tag {tag}": head(6, tag) + b"\x01" for tag in (0, 2, 28, 29, 55799, (1 << 64) - 1)},
    "indefinite text": b"\x7f\x61\x61\xff",
    "indefinite bytes": b"\x5f\x41\x61\xff",
    "indefinite array": b"\x9f\x01\xff",
    "indefinite map": b"\xbf\x01\x02\xff",
    "undefined": b"\xf7",
    "simple value 0": b"\xe0",
    "simple value 19": b"\xf3",
    "simple value 32": b"\xf8\x20",
    "false in two bytes": b"\xf8\x14",
    "break": b"\xff",
    **{f"reserved head {head:02x}": bytes([head]) for head in (0x1C, 0x3D, 0x5E, 0x7C, 0x9D, 0xBE)},
    "reserved simple head": b"\xfc",
    "text that is not UTF-8": b"\x61\xff",
    "text that ends inside a letter": b"\x61\xc3",
    "text with a surrogate": b"\x63\xed\xa0\x80",
    "text with a long form": b"\x62\xc0\x80",
    "text beyond Unicode": b"\x64\xf4\x90\x80\x80",
}
DETERMINISM: dict[str, bytes] = {
    "0 in two bytes": b"\x18\x00",
    "23 in two bytes": b"\x18\x17",
    "255 in three bytes": b"\x19\x00\xff",
    "65535 in five bytes": b"\x1a\x00\x00\xff\xff",
    "2**32 - 1 in nine bytes": wide(0, (1 << 32) - 1),
    "-1 in two bytes": b"\x38\x00",
    "long head of a text": wide(3, 1) + b"a",
    "long head of bytes": wide(2, 1) + b"a",
    "long head of an array": wide(4, 1) + b"\x01",
    "long head of a map": wide(5, 1) + b"\x01\x02",
    "1.0 as f32": _float("f", 1.0),
    "1.0 as f64": _float("d", 1.0),
    "65505 as f64": _float("d", 65505.0),
    "infinity as f32": _float("f", math.inf),
    "-infinity as f64": _float("d", -math.inf),
    "-0.0 as f64": _float("d", -0.0),
    "half's least as f32": _float("f", 2.0**-24),
    "single's least as f64": _float("d", 2.0**-149),
    "NaN with a payload": b"\xf9\x7e\x01",
    "signalling NaN": b"\xf9\x7c\x01",
    "negative NaN": b"\xf9\xfe\x00",
    "NaN as f32": b"\xfa\x7f\xc0\x00\x00",
    "NaN as f64": b"\xfb\x7f\xf8" + bytes(6),
    "keys out of order": cbor(Pairs([("b", 1), ("a", 2)])),
    "longer key first": cbor(Pairs([("aa", 1), ("b", 2)])),
    "negative key first": cbor(Pairs([(-1, 1), (1, 2)])),
    "text key before a number": cbor(Pairs([("a", 1), (1000, 2)])),
    "keys out of order in a key": cbor(Pairs([(Raw(cbor(Pairs([(2, 1), (1, 1)]))), 0)])),
}
DUPLICATE: dict[str, bytes] = {
    "text": cbor(Pairs([("a", 1), ("a", 1)])),
    "number": cbor(Pairs([(1, 1), (1, 2)])),
    "null": cbor(Pairs([(None, 1), (None, 2)])),
    "array": cbor(Pairs([((1, 2), 1), ((1, 2), 2)])),
    "third": cbor(Pairs([("a", 1), ("b", 1), ("b", 1)])),
}


@pytest.mark.parametrize("name", SYNTAX)
def test_syntax(name: str) -> None:
    assert {where: rule_of(data) for where, data in _item(SYNTAX[name]).items()} == dict.fromkeys(
        _item(b""), "CborSyntax"
    )


@pytest.mark.parametrize("name", DETERMINISM)
def test_determinism(name: str) -> None:
    found = {where: rule_of(data) for where, data in _item(DETERMINISM[name]).items()}
    assert found == dict.fromkeys(_item(b""), "CborDeterminism")


@pytest.mark.parametrize("name", DUPLICATE)
def test_duplicate_keys(name: str) -> None:
    found = {where: rule_of(data) for where, data in _item(DUPLICATE[name]).items()}
    assert found == dict.fromkeys(_item(b""), "CborDuplicateKey")


def test_keys_that_python_holds_equal_are_different_keys() -> None:
    """1, 1.0 and true are three keys of CBOR; a dict has room for one of them."""
    item = cbor({1: "int", 1.0: "float"}, sort=True)
    assert item == b"\xa1\x01\x65float"  # the test's own dict has lost one already
    item = b"\xa3\x01\x00\xf5\x01\xf9\x3c\x00\x02"
    assert rule_of(file_2(root_2(attributes={"a": Raw(item)}))) is None


@pytest.mark.parametrize("where", ["root", "objects", "object", "parts", "part"])
def test_order_and_duplicates_hold_at_every_level(where: str) -> None:
    part: Any = {"dtype": "u8", "blob": [4096, 8]}
    part = _bent(part) if where == "part" else part
    parts: Any = _bent({"data": part}) if where == "parts" else {"data": part}
    fields: Any = {"shape": [8], "layout": "dense", "parts": parts}
    fields = _bent(fields) if where == "object" else fields
    objects: Any = _bent({"t": fields}) if where == "objects" else {"t": fields}
    root: Any = _bent({"objects": objects}) if where == "root" else {"objects": objects}
    assert rule_of(file_2(root)) == "CborDuplicateKey"
    reordered = Raw(cbor(Pairs([("zz", 1), *root.items()] if isinstance(root, dict) else root)))
    assert rule_of(file_2(reordered)) in ("CborDeterminism", "CborDuplicateKey")


def _bent(fields: dict[str, Any]) -> Pairs:
    """Return a map whose last key stands there twice."""
    ordered = sorted(fields.items(), key=lambda pair: cbor(pair[0]))
    return Pairs([*ordered, ordered[-1]])


def test_the_manifest_is_one_item_and_no_more() -> None:
    manifest = cbor(root_2(), sort=True)
    assert rule_of(file_2(Raw(manifest))) is None
    for tail in (b"\0", b"\xf6", b"\xa0", manifest):
        assert rule_of(file_2(Raw(manifest + tail))) == "CborSyntax"
    for length in range(1, len(manifest)):
        assert rule_of(file_2(Raw(manifest[:length]))) == "CborSyntax"


def test_indefinite_lengths_are_refused_at_every_level() -> None:
    root = root_2()
    objects = {"t": Indefinite(root["objects"]["t"])}
    for bent in (Indefinite(root), {"objects": Indefinite(root["objects"])}, {"objects": objects}):
        assert rule_of(file_2(bent)) == "CborSyntax"
