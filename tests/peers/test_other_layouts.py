"""Quantized groups, microscaling and layouts of our own naming, in both containers that have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ztensor_remote as zt

from .comparison import check, differences
from .programs.answering import described
from .samples import Array, Sample, dense, noise, plain_dense, write_ours
from .worker import Peer

pytestmark = pytest.mark.peers

GROUP = {"bits": 4, "group_size": 32, "packing": "8_per_i32"}
PACKING_2 = {"word": "u32", "order": "lsb_first", "per_word": 8}
GROUP_2 = {
    "bits": 4,
    "group_size": 32,
    "packing": PACKING_2,
    "axis": 1,
    "scale_form": "f16_factors",
    "zero_point": {"form": "tensor", "packing": "same_as_data"},
}


def quantized() -> dict[str, Array]:
    """Return a matrix of 6 × 64 in 4 bits."""
    return {
        "packed_weight": noise("int32", (6 * 64 // 8,)),
        "scales": noise("float16", (6 * 2,)),
        "zeros": noise("int32", (6 * 2 // 4,)),
    }


def write_quantized(path: Path, parts: dict[str, Array], **options: Any) -> None:
    with zt.Writer(path) as writer:
        writer.add_quantized_group("q", **parts, shape=(6, 64), **GROUP, **options)  # type: ignore[arg-type]
        for sample in plain_dense():
            sample.add_to(writer)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("with_zeros", [False, True])
@pytest.mark.parametrize("peer", ["1.2.3"], indirect=True)
def test_quantized_group(peer: Peer, tmp_path: Path, with_zeros: bool, compress: bool) -> None:
    parts = quantized()
    if not with_zeros:
        del parts["zeros"]
    path = tmp_path / "q.zt"
    write_quantized(path, parts, compress=compress, attributes={"more": [1]})
    answer = peer.read(path)
    seen = answer["q"]
    assert seen["attributes"] == {**GROUP, "more": [1]}
    encoding = "zstd" if compress else "raw"
    assert {part["encoding"] for part in seen["components"].values()} == {encoding}
    sample = Sample("q", (6, 64), parts, "quantized_group")
    assert differences(peer.version, answer, [sample, *plain_dense()]) == {}


@pytest.mark.parametrize("peer", ["1.0.2", "1.1.1"], indirect=True)
def test_quantized_group_does_not_disturb_the_others(peer: Peer, tmp_path: Path) -> None:
    path = tmp_path / "q.zt"
    write_quantized(path, quantized())
    answer = peer.read(path)
    assert answer.pop("q")["layout"] == "quantized_group"
    assert differences(peer.version, answer, plain_dense()) == {}


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("peer", ["2.1.2"], indirect=True)
def test_quantized_group_of_2(peer: Peer, tmp_path: Path, compress: bool) -> None:
    parts = {**quantized(), "packed_weight": noise("uint32", (6 * 64 // 8,))}
    parts["zeros"] = noise("uint32", (2,))
    rest = {key: value for key, value in GROUP_2.items() if key not in GROUP}
    path = tmp_path / "q.zt"
    with zt.Writer(path, version="2", compress=compress) as writer:
        writer.add_quantized_group(
            "q", *parts.values(), shape=(6, 64), bits=4, group_size=32, packing=PACKING_2,
            attributes=rest,
        )  # fmt: skip
    parts["data"] = parts.pop("packed_weight")
    check(peer, path, [Sample("q", (6, 64), parts, "quantized_group", compress)])
    assert peer.ask("verify", path=str(path), deep=True) == [3, 0]
    if not compress:
        target = tmp_path / "copy.zt"
        peer.ask("rewrite", source=str(path), target=str(target))
        with zt.open(target) as ours:
            assert dict(ours["q"].attributes) == GROUP_2


@pytest.mark.parametrize("peer", ["2.1.2"], indirect=True)
def test_microscaling_of_2(peer: Peer, tmp_path: Path) -> None:
    parts = {"data": noise("float4_e2m1fn", (4 * 64,)), "scales": noise("float8_e8m0fnu", (8,))}
    path = tmp_path / "mx.zt"
    with zt.Writer(path, version="2") as writer:
        attributes = {"block_size": 32, "scale_form": "e8m0_exponent"}
        writer.add_object("mx", parts, shape=(4, 64), format="zt.mx/1", attributes=attributes)
    seen = peer.read(path)["tensors"]["mx"]
    assert seen["layout"] == "zt.mx/1"
    wanted = {"data": ("u8", "f4_e2m1", True), "scales": ("u8", "f8_e8m0", True)}
    assert {
        role: (part["dtype"], part["type"], part["verified"])
        for role, part in seen["parts"].items()
    } == wanted


@pytest.mark.parametrize("version,peer", [("1.2", "1.2.3"), ("2", "2.1.2")], indirect=["peer"])
def test_a_layout_of_our_own_naming(peer: Peer, version: str, tmp_path: Path) -> None:
    parts = {"codes": noise("uint8", (10,)), "table": noise("float32", (4,))}
    path = write_ours(tmp_path / "a.zt", [dense("d", parts["codes"])], version)
    with zt.append(path) as writer:
        writer.add_object("o", parts, shape=(5, 8), format="vendor.codebook/1")
    answer = peer.read(path)
    seen = (answer["tensors"] if version == "2" else answer)["o"]
    assert (seen["layout"], seen["shape"]) == ("vendor.codebook/1", [5, 8])
    found = seen["parts"] if version == "2" else seen["reads"]
    for role, array in parts.items():
        assert found[role]["sha256"] == described(array)["sha256"]
