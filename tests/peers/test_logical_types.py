"""Types that a package has no array for: read as what is stored or refused, and never disturbing."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ztensor_remote as zt
from ztensor_remote.container import Footer, Generation, build_footer
from ztensor_remote.manifest import encode_manifest

from .comparison import PEERS_1_2, check, differences
from .samples import (
    LOGICAL,
    PLAIN,
    Sample,
    append_ours,
    compressed,
    csr,
    dense,
    little_endian,
    logical,
    noise,
    packed,
    plain_dense,
    renamed,
    sparse,
    write_ours,
)
from .worker import Peer

pytestmark = pytest.mark.peers
every_1_2 = pytest.mark.parametrize("peer", PEERS_1_2, indirect=True)

LONG = {short: long for long, short in PLAIN.items()}


def strangers() -> list[Sample]:
    """Return every logical type in every shape, all under names of their own."""
    smallest = [
        *(dense(f"{name}/one", noise(name, (1,))) for name in LOGICAL),
        *(dense(f"{name}/scalar", noise(name, ())) for name in LOGICAL),
    ]
    return renamed([*logical(), *smallest], "stranger/")


def bystanders() -> list[Sample]:
    """Return tensors that every package reads, to stand among the strangers."""
    wanted = ("csr", "coo", "csr/zstd")
    few = [sample for sample in sparse() if sample.name in wanted]
    return [*plain_dense(), *few, *renamed(compressed()[:4], "zstd/")]


def mixed() -> list[Sample]:
    """Return both kinds by turns."""
    ours, theirs = bystanders(), strangers()
    return [sample for pair in zip(ours, theirs, strict=False) for sample in pair] + [
        *ours[len(theirs) :],
        *theirs[len(ours) :],
    ]


def wrong_reads(answer: dict[str, Any], samples: list[Sample]) -> dict[str, Any]:
    """Return reads that gave something else than the stored elements, without an error."""
    wrong = {}
    for sample in samples:
        reads = answer[sample.name].get("reads", {})
        for way, read in reads.items():
            if "error" not in read and not is_what_is_stored(read, sample):
                wrong[sample.name, way] = read
    return wrong


def is_what_is_stored(read: dict[str, Any], sample: Sample) -> bool:
    """Whether a read gave the storage elements, all of them and no others."""
    array = sample.parts["data"]
    storage = LONG[LOGICAL[array.dtype.name][0]]
    stored = packed(array)
    return (
        read["dtype"] == storage
        and math.prod(read["shape"]) == len(stored) // noise(storage, ()).itemsize
        and read["sha256"] == hashlib.sha256(stored).hexdigest()
    )


@every_1_2
def test_the_others_are_read(peer: Peer, tmp_path: Path) -> None:
    path = write_ours(tmp_path / "a.zt", mixed(), "1.2")
    answer = peer.read(path)
    names = {sample.name for sample in strangers()}
    assert names <= answer.keys()
    others = {name: seen for name, seen in answer.items() if name not in names}
    assert differences(peer.version, others, bystanders()) == {}


@every_1_2
def test_strangers_are_never_wrong_without_an_error(peer: Peer, tmp_path: Path) -> None:
    path = write_ours(tmp_path / "a.zt", strangers(), "1.2")
    answer = peer.read(path)
    assert wrong_reads(answer, strangers()) == {}
    for sample in strangers():
        seen = answer[sample.name]
        assert seen["shape"] == list(sample.shape)
        if sample.parts["data"].dtype.name.startswith("float8"):  # as many bytes as elements
            assert all("error" not in read for read in seen["reads"].values())
        if peer.version == "1.2.3":
            assert seen["type"] == LOGICAL[sample.parts["data"].dtype.name][1]


@every_1_2
@pytest.mark.parametrize("size", [(2,), (3,), (16,), (5, 7), (4, 0), (64, 33)])
def test_packed_elements_are_stored_raw(peer: Peer, tmp_path: Path, size: tuple[int, ...]) -> None:
    """SPEC.md §13.3: of compressed ones, published readers would fill half with zeros."""
    array = noise("float4_e2m1fn", size)
    path = tmp_path / "a.zt"
    with zt.Writer(path, compress=22, dedup=True) as writer:
        writer.add_tensor("added", array, compress=True)
        writer.add_tensor("same bytes", noise("uint8", (3,)), compress=True)
        with writer.stream_tensor("streamed", size, "float4_e2m1fn", compress=True) as part:
            part.write(array)
    append_ours(path, [dense("appended", array, compress=True)], compress=True)
    samples = [dense(name, array) for name in ("added", "streamed", "appended")]
    with zt.open(path) as ours:
        assert {ours[sample.name].components["data"].encoding for sample in samples} == {"raw"}
    answer = peer.read(path)
    assert wrong_reads(answer, samples) == {}
    if array.size > 1:
        reads = [read for sample in samples for read in answer[sample.name]["reads"].values()]
        assert all("reshape" in read["error"]["message"] for read in reads)


@every_1_2
def test_compressed_packed_elements_would_be_wrong(peer: Peer, tmp_path: Path) -> None:
    """The control: were they compressed, the tests above would see it."""
    array = noise("float4_e2m1fn", (3, 6))
    path = write_ours(tmp_path / "a.zt", [byte_twin(array)], "1.2")
    relabel(path, shape=(3, 6), logical="f4_e2m1")
    with zt.open(path) as ours:
        assert (ours["t"].numpy() == array).all()
    assert wrong_reads(peer.read(path), [dense("t", array)])


@every_1_2
def test_strangers_in_sparse_tensors(peer: Peer, tmp_path: Path) -> None:
    samples = []
    for name in ("float8_e4m3fn", "float8_e8m0fnu", "complex64", "float4_e2m1fn"):
        matrix = csr(name, plain_matrix())
        values = noise(name, matrix.parts["values"].shape)
        samples.append(replace(matrix, parts={**matrix.parts, "values": values}))
    path = write_ours(tmp_path / "a.zt", [*samples, *bystanders()], "1.2")
    answer = peer.read(path)
    for sample in samples:
        reads = answer.pop(sample.name)["reads"]
        values = reads.pop("values")
        assert values["sha256"] == hashlib.sha256(packed(sample.parts["values"])).hexdigest()
        wanted = {role: described_index(sample, role) for role in ("indices", "indptr")}
        assert {role: reads[role]["sha256"] for role in wanted} == wanted
    assert differences(peer.version, answer, bystanders()) == {}


@pytest.mark.parametrize("peer", ["2.1.2"], indirect=True)
def test_2_knows_them_all(peer: Peer, tmp_path: Path) -> None:
    path = write_ours(tmp_path / "a.zt", mixed(), "2")
    check(peer, path, mixed())
    assert peer.ask("verify", path=str(path), deep=True) == [parts_in(mixed()), 0]


# --- what is made ---------------------------------------------------------------------------


def parts_in(samples: list[Sample]) -> int:
    return sum(len(sample.parts) for sample in samples)


def plain_matrix() -> Any:
    full = noise("float32", (4, 6))
    full[::2, 1:] = 0
    return full


def described_index(sample: Sample, role: str) -> str:
    return hashlib.sha256(little_endian(sample.parts[role]).tobytes()).hexdigest()


def byte_twin(array: Any) -> Sample:
    """Return a compressed u8 tensor of the bytes that packed elements would take."""
    stored = bytearray(packed(array))
    return dense("t", memoryview(stored), compress=True)


def relabel(path: Path, *, shape: tuple[int, ...], logical: str) -> None:
    """Say in a file's manifest that its tensor is of another shape and type."""
    with zt.open(path) as ours:
        manifest = ours.manifest
    tensor = manifest.tensors["t"]
    part = replace(tensor.components["data"], logical=logical)
    changed = replace(
        manifest, tensors={"t": replace(tensor, shape=shape, components={"data": part})}
    )
    data = path.read_bytes()[: part.offset + part.length]
    encoded = encode_manifest(changed)
    footer = build_footer(Footer(Generation.V1_1, len(data), len(encoded), None))
    path.write_bytes(data + encoded + footer)
