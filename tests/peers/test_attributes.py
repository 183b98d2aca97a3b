"""Attributes that we write, of tensors and of files, as published packages see them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ztensor_remote as zt

from .comparison import PEERS_1_2, check
from .programs.answering import jsonable
from .samples import ATTRIBUTES, Sample, append_ours, attributed, dense, noise, write_ours
from .worker import Peer, PeerError

pytestmark = pytest.mark.peers
the_1_2_3 = pytest.mark.parametrize("peer", ["1.2.3"], indirect=True)
the_2_1_2 = pytest.mark.parametrize("peer", ["2.1.2"], indirect=True)

BYTES = {"blob": b"\x00\xff", "nested": {"list": [b"", b"abc"]}}
TEXTS = {"license": "MIT", "größe": "☃", "empty": ""}
WIDE = {"most": (1 << 64) - 1, "least": -(1 << 64), "inf": float("inf"), "small": 1e-310}


def as_json(value: Any) -> str:
    """Return a text that tells 1, 1.0 and True apart."""
    plain = {key: dict(part) if isinstance(part, Mapping) else part for key, part in value.items()}
    return json.dumps(plain, sort_keys=True, default=jsonable)


@the_1_2_3
def test_tensor_attributes(peer: Peer, tmp_path: Path) -> None:
    samples = [*attributed(), dense("bytes", noise("int8", (3,)), attributes=BYTES)]
    path = write_ours(tmp_path / "a.zt", samples, "1.2", file_attributes=ATTRIBUTES | BYTES)
    seen = peer.read(path)
    for sample in samples:
        if sample.attributes is None:
            assert not seen[sample.name]["attributes"]
        else:
            assert as_json(seen[sample.name]["attributes"]) == as_json(sample.attributes)
    check(peer, path, samples)


@the_1_2_3
def test_file_attributes_survive_its_rewriting(peer: Peer, tmp_path: Path) -> None:
    """The package shows attributes of the file to nobody, but copies what it understood."""
    source = write_ours(tmp_path / "a.zt", attributed(), "1.2", file_attributes=ATTRIBUTES)
    target = tmp_path / "b.zt"
    peer.ask("remove", source=str(source), target=str(target), names=["without"])
    with zt.open(target) as ours:
        assert "without" not in ours
        assert as_json(ours.attributes) == as_json(ATTRIBUTES)
        for sample in attributed()[:-1]:
            assert as_json(ours[sample.name].attributes) == as_json(sample.attributes)
            assert (ours[sample.name].numpy() == sample.array).all()


@pytest.mark.parametrize("peer", PEERS_1_2, indirect=True)
def test_texts_of_the_file_and_anything_of_tensors(peer: Peer, tmp_path: Path) -> None:
    path = write_ours(tmp_path / "a.zt", attributed(), "1.2", file_attributes=TEXTS)
    check(peer, path, attributed())
    more = dense("more", noise("int8", (3,)), attributes=BYTES)
    append_ours(path, [more])
    check(peer, path, [*attributed(), more])


@pytest.mark.parametrize("peer", ["1.0.2", "1.1.1"], indirect=True)
def test_before_1_2_other_values_of_the_file_are_refused(peer: Peer, tmp_path: Path) -> None:
    """A limit of these versions that SPEC.md states (§8.3): loud, not silent."""
    path = write_ours(tmp_path / "a.zt", attributed(), "1.2", file_attributes={"step": 7})
    with pytest.raises(PeerError, match="CBOR"):
        peer.read(path)


@pytest.mark.parametrize("peer", ["1.0.1"], indirect=True)
def test_texts_of_a_1_0_file(peer: Peer, tmp_path: Path) -> None:
    samples = [replace(sample, attributes=None) for sample in attributed()]
    path = write_ours(tmp_path / "a.zt", samples, "1.0", file_attributes=TEXTS)
    check(peer, path, samples)


@the_2_1_2
def test_file_attributes_of_2(peer: Peer, tmp_path: Path) -> None:
    attributes = ATTRIBUTES | BYTES | WIDE
    path = write_ours(tmp_path / "a.zt", attributed(), "2", file_attributes=attributes)
    assert as_json(peer.read(path)["attributes"]) == as_json(attributes)
    check(peer, path, attributed())
    append_ours(path, [dense("more", noise("int8", (3,)))])
    assert as_json(peer.read(path)["attributes"]) == as_json(attributes)


@the_2_1_2
def test_tensor_attributes_of_2(peer: Peer, tmp_path: Path) -> None:
    """2.1.2 shows them to nobody in Python; what it copies is what it understood."""
    samples: list[Sample] = [
        *attributed(),
        dense("wide", noise("int8", (3,)), attributes=WIDE | BYTES),
    ]
    source = write_ours(tmp_path / "a.zt", samples, "2")
    target = tmp_path / "b.zt"
    peer.ask("rewrite", source=str(source), target=str(target))
    with zt.open(target) as ours:
        for sample in samples:
            assert as_json(ours[sample.name].attributes) == as_json(sample.attributes or {})
