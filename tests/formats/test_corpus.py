"""The published conformance corpus of version 2: each file does what its EXPECT.json says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.formats.expected import DATA, untagged

CORPUS = DATA / "corpus"
CASES: dict[str, dict[str, Any]] = json.loads((CORPUS / "EXPECT.json").read_text("utf-8"))["cases"]
OPENING = [name for name, case in CASES.items() if case["opens"]]
NOT_OPENING = [name for name, case in CASES.items() if not case["opens"]]
DECODED = [name for name in OPENING if "objects" in CASES[name].get("decoded", {})]
OPERATED = [name for name in OPENING if CASES[name]["op"] != "open"]


def _open(name: str) -> zt.Reader:
    return zt.open(CORPUS / CASES[name]["file"])


def test_the_files_are_the_published_ones() -> None:
    for case in CASES.values():
        data = (CORPUS / case["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == case["sha256"]


@pytest.mark.parametrize("name", NOT_OPENING)
@pytest.mark.parametrize("how", [zt.open, lambda path: zt.open(path.read_bytes())])
def test_broken_files_do_not_open(name: str, how: Callable[[Any], zt.Reader]) -> None:
    with pytest.raises(zt.FormatError) as caught:
        how(CORPUS / CASES[name]["file"])
    assert caught.value.rule == CASES[name]["rule"]


@pytest.mark.parametrize("name", DECODED)
def test_valid_files_give_what_they_hold(name: str) -> None:
    stated = CASES[name]["decoded"]
    with zt.open(CORPUS / CASES[name]["file"], verify=False) as reader:
        assert dict(reader.attributes) == untagged(stated["attributes"] or {})
        assert {
            shard: {"size": fields.size, "digest": fields.digest}
            for shard, fields in reader.manifest.shards.items()
        } == (stated["shards"] or {})
        assert set(reader) == set(stated["objects"])
        for tensor_name, fields in stated["objects"].items():
            tensor = reader[tensor_name]
            assert tensor.shape == tuple(fields["shape"])
            assert tensor.format == fields["layout"]
            assert set(tensor.components) == set(fields["parts"])
            for role, part in fields["parts"].items():
                _check_part(tensor.components[role], part)


def _check_part(component: zt.LazyComponent, part: dict[str, Any]) -> None:
    assert [component.offset, component.length] == part["blob"]
    assert component.dtype.name == {"u8": "uint8", "f32": "float32", "bf16": "bfloat16"}.get(
        part["dtype"], "uint64"
    )
    assert component.logical_type == part.get("type")
    assert component.digest == part.get("digest")
    assert component.shard == part.get("shard")
    assert component.encoding == part.get("encoding", "raw")
    if "hex" in part:
        assert component.read().hex() == part["hex"]


def test_a_data_shard_opens_without_tensors() -> None:
    with _open("data-shard") as reader:
        assert len(reader) == 0
        assert reader.manifest.is_data_shard
        assert reader.verify() == zt.Verification(0, 0)


@pytest.mark.parametrize("name", OPERATED)
def test_what_is_done_after_opening(name: str) -> None:
    case = CASES[name]
    operations: dict[str, Callable[[zt.Reader], object]] = {
        "verify": lambda reader: reader.verify([case["object"]]),
        "view": lambda reader: reader[case["object"]].components[case["part"]].read(),
        "read_csr": lambda reader: reader[case["object"]].scipy(),
    }
    with _open(name) as reader:
        if case["expect"] == "valid":
            operations[case["op"]](reader)
            return
        wanted = zt.UnsupportedError if case["expect"] == "unsupported" else zt.FormatError
        with pytest.raises(wanted) as caught:
            operations[case["op"]](reader)
        assert getattr(caught.value, "rule", None) == case.get("rule")
        assert caught.value.tensor == case["object"]


def test_verify_counts_what_the_published_reader_counts() -> None:
    for name in DECODED:
        # It does not check indices; and a missing shard kept it from opening the file.
        published = CASES[name]["pip_2.1.2"].get("verify", "")
        if published.startswith("Verification") and CASES[name]["expect"] == "valid":
            with _open(name) as reader:
                found = reader.verify()
            wanted = f"Verification(checked={found.checked}, undigested={found.undigested})"
            assert published == wanted, name


def test_missing_shards_are_missed_when_they_are_read() -> None:
    with _open("local-and-foreign-parts-together") as reader:
        assert reader["here"].numpy().tobytes() == b"\xab" * 8
        with pytest.raises(zt.NotFoundError):
            reader["there"].numpy()


def test_a_wrong_last_nibble_leaves_the_bytes_readable() -> None:
    with _open("f4-nonzero-odd-nibble") as reader:
        assert reader["t"].components["data"].read() == b"\xab" * 3
        with pytest.raises(zt.FormatError):
            reader["t"].numpy()


def test_a_wrong_index_leaves_the_components_readable() -> None:
    with _open("csr-index-out-of-cols") as reader:
        assert np.array_equal(reader["m"].components["indices"].numpy(), [0, 5, 1])
        with pytest.raises(zt.FormatError):
            reader["m"].numpy()
