"""What published packages write is what we read, byte for byte."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import ztensor_remote as zt

from .comparison import CONTAINER, PEERS, PEERS_1, PEERS_1_2, check
from .samples import (
    ATTRIBUTES,
    LAYOUT_2,
    Array,
    Sample,
    append_ours,
    attributed,
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
every_peer = pytest.mark.parametrize("peer", PEERS, indirect=True)
the_1_2_3 = pytest.mark.parametrize("peer", ["1.2.3"], indirect=True)
the_2_1_2 = pytest.mark.parametrize("peer", ["2.1.2"], indirect=True)

# How each says of itself what it writes; UPSTREAM.md of 1.0.2: a snapshot on the way to 1.1.
WRITES = {"1.0.1": "1.0", "1.0.2": "1.1", "1.1.1": "1.1", "1.2.3": "1.2", "2.1.2": "2"}


def write_theirs(peer: Peer, path: Path, samples: Iterable[Sample], **options: Any) -> Path:
    """Write a file with a published package."""
    if peer.version == "2.1.2":
        options.setdefault("canonical", False)
        sent = [sample.sent_2() for sample in samples]
    else:
        sent = [sample.sent() for sample in samples]
    peer.ask("write", path=str(path), tensors=sent, **options)
    return path


def check_ours(path: Path, samples: list[Sample], version: str) -> None:
    """Compare all that we see in a file with all that we should see."""
    with zt.open(path) as ours:
        assert ours.version == version
        assert set(ours) == {sample.name for sample in samples}
        for sample in samples:
            check_tensor(ours, sample)
        verified = ours.verify(deep=True)
        digested = sum(
            part.digest is not None
            for tensor in ours.values()
            for part in tensor.components.values()
        )
        assert verified.checked == digested


def check_tensor(ours: zt.Reader, sample: Sample) -> None:
    tensor = ours[sample.name]
    layout = sample.layout if ours.version != "2" else LAYOUT_2[sample.layout]
    assert (tensor.format, tensor.shape) == (layout, sample.shape), sample.name
    assert dict(tensor.attributes) == (sample.attributes or {}), sample.name
    for role, array in sample.parts.items():
        part = tensor.components[role]
        assert part.read() == packed(array), (sample.name, role)
        if array.size:
            assert (part.encoding != "raw") == bool(sample.compress), (sample.name, role)
    if sample.layout in ("dense", "sparse_csr", "sparse_coo"):
        assert_same(tensor.numpy(), sample.array, sample.name)
    if sample.layout == "dense" and sample.array.ndim:
        assert_same(tensor[1:], sample.array[1:], sample.name)


def assert_same(got: Array, wanted: Array, name: str) -> None:
    """Compare dtype, shape and bits; NaNs are equal when their bits are."""
    wanted = little_endian(wanted)
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape), name
    assert got.tobytes() == wanted.tobytes(), name


def as_written(peer: Peer, samples: list[Sample]) -> list[Sample]:
    """Return what a package can be given, in the form that it writes."""
    if peer.version == "2.1.2":
        return [replace(sample, compress=3 if sample.compress else False) for sample in samples]
    if peer.version == "1.2.3":
        return [sample for sample in samples if is_contiguous(sample)]
    samples = [replace(sample, attributes=None) for sample in samples]
    if peer.version == "1.0.1":
        samples = [replace(sample, compress=bool(sample.compress)) for sample in samples]
    # NumPy's scalars become one element, and sparse tensors are never compressed.
    return [
        replace(sample, compress=False)
        if sample.layout != "dense"
        else replace(sample, shape=(1,), parts={"data": sample.array.reshape(1)})
        if not sample.shape
        else sample
        for sample in samples
    ]


def is_contiguous(sample: Sample) -> bool:
    return all(array.flags.c_contiguous for array in sample.parts.values())


@every_peer
def test_dense(peer: Peer, tmp_path: Path) -> None:
    samples = as_written(peer, plain_dense())
    path = write_theirs(peer, tmp_path / "a.zt", samples)
    check_ours(path, samples, WRITES[peer.version])


@every_peer
def test_sparse(peer: Peer, tmp_path: Path) -> None:
    samples = as_written(peer, sparse())
    path = write_theirs(peer, tmp_path / "a.zt", samples)
    check_ours(path, samples, WRITES[peer.version])
    with zt.open(path) as ours:
        matrix = ours["csr"].scipy()
        assert (matrix.toarray() == ours["csr"].numpy()).all()


@every_peer
def test_zstd(peer: Peer, tmp_path: Path) -> None:
    samples = as_written(peer, compressed())
    path = write_theirs(peer, tmp_path / "a.zt", samples)
    check_ours(path, samples, WRITES[peer.version])


@every_peer
def test_nothing(peer: Peer, tmp_path: Path) -> None:
    check_ours(write_theirs(peer, tmp_path / "a.zt", []), [], WRITES[peer.version])


@every_peer
def test_as_torch(peer: Peer, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    samples = as_written(peer, [*plain_dense(), *renamed(compressed()[:5], "zstd/")])
    path = write_theirs(peer, tmp_path / "a.zt", samples)
    with zt.open(path) as ours:
        loaded = ours.load(to="torch")
    for sample in samples:
        array, tensor = little_endian(sample.array), loaded[sample.name]
        assert str(tensor.dtype) == f"torch.{array.dtype.name}"
        assert tuple(tensor.shape) == sample.shape
        assert bytes(tensor.reshape(-1).view(torch.uint8).numpy()) == array.tobytes()


@pytest.mark.parametrize("checksum", ["crc32c", "sha256"])
@the_1_2_3
def test_digests(peer: Peer, checksum: str, tmp_path: Path) -> None:
    samples = as_written(peer, [*plain_dense(), *sparse(), *renamed(compressed()[:6], "zstd/")])
    path = write_theirs(peer, tmp_path / "a.zt", samples, checksum=checksum)
    check_ours(path, samples, "1.2")
    with zt.open(path) as ours:
        parts = sum(len(sample.parts) for sample in samples)
        assert ours.verify() == zt.Verification(checked=parts, undigested=0)


@the_1_2_3
def test_attributes(peer: Peer, tmp_path: Path) -> None:
    samples = as_written(peer, attributed())
    check_ours(write_theirs(peer, tmp_path / "a.zt", samples), samples, "1.2")


@the_1_2_3
def test_sparse_indices_of_other_dtypes(peer: Peer, tmp_path: Path) -> None:
    samples = []
    for dtype in ("int32", "uint16", "int64", "uint8", "uint32"):
        matrix = csr(dtype, np.eye(5, 7, dtype=np.float32))
        parts = {
            role: array if role == "values" else array.astype(dtype)
            for role, array in matrix.parts.items()
        }
        samples.append(replace(matrix, parts=parts))
    check_ours(write_theirs(peer, tmp_path / "a.zt", samples), samples, "1.2")


@the_1_2_3
def test_quantized_group(peer: Peer, tmp_path: Path) -> None:
    parts = {
        "packed_weight": noise("int32", (48,)),
        "scales": noise("float16", (12,)),
        "zeros": noise("int32", (3,)),
    }
    group = {"bits": 4, "group_size": 32, "packing": "8_per_i32"}
    samples = [
        Sample("q", (6, 64), parts, "quantized_group", attributes=group),
        Sample("q/zstd", (6, 64), parts, "quantized_group", compress=True, attributes=group),
    ]
    check_ours(write_theirs(peer, tmp_path / "a.zt", samples), samples, "1.2")


@the_1_2_3
def test_float8(peer: Peer, tmp_path: Path) -> None:
    """It writes them as bytes under a type, which it is told."""
    arrays = {
        name: noise(name, (4, 5)) for name in ("float8_e4m3fn", "float8_e5m2", "float8_e5m2fnuz")
    }
    sent = [
        dense(name, array.view("uint8")).sent() | {"type": name.replace("float", "f")}
        for name, array in arrays.items()
    ]
    path = tmp_path / "a.zt"
    peer.ask("write", path=str(path), tensors=sent)
    with zt.open(path) as ours:
        for name, array in arrays.items():
            assert ours[name].dtype == getattr(ml_dtypes, name)
            assert_same(ours[name].numpy(), array, name)


@the_2_1_2
def test_logical_types(peer: Peer, tmp_path: Path) -> None:
    samples = as_written(peer, logical())
    check_ours(write_theirs(peer, tmp_path / "a.zt", samples), samples, "2")


@pytest.mark.parametrize("canonical", [False, True])
@the_2_1_2
def test_attributes_of_2(peer: Peer, canonical: bool, tmp_path: Path) -> None:
    samples = [replace(sample, compress=False) for sample in as_written(peer, attributed())]
    samples.sort(key=lambda sample: sample.name)
    path = tmp_path / "a.zt"
    write_theirs(peer, path, samples, attributes=ATTRIBUTES, canonical=canonical)
    check_ours(path, samples, "2")
    with zt.open(path) as ours:
        assert dict(ours.attributes) == ATTRIBUTES


# --- files that both write ------------------------------------------------------------------


@pytest.mark.parametrize("peer", ["1.2.3", "2.1.2"], indirect=True)
def test_both_append_by_turns(peer: Peer, tmp_path: Path) -> None:
    few = [*plain_dense()[-6:], *sparse()[:4], *renamed(compressed()[:6], "zstd/")]
    rounds = [as_written(peer, renamed(few, f"{turn}/")) for turn in range(4)]
    path = tmp_path / "a.zt"
    if peer.version == "1.2.3":
        attributes = {"license": "MIT", "step": 7}
    else:
        attributes = ATTRIBUTES
    write_ours(path, rounds[0], CONTAINER[peer.version], file_attributes=attributes)
    write_theirs(peer, path, rounds[1], append=True)
    append_ours(path, rounds[2])
    write_theirs(peer, path, rounds[3], append=True)
    samples = [sample for turn in rounds for sample in turn]
    check(peer, path, samples)
    check_ours(path, samples, CONTAINER[peer.version])
    with zt.open(path) as ours:
        assert dict(ours.attributes) == attributes


@pytest.mark.parametrize("peer", [*PEERS_1, "2.1.2"], indirect=True)
def test_we_append_to_theirs(peer: Peer, tmp_path: Path) -> None:
    theirs = as_written(peer, [*plain_dense(), *sparse()])
    if peer.version in ("1.0.2", "1.1.1"):  # SciPy has no bfloat16
        theirs = [sample for sample in theirs if sample.name != "csr/bfloat16"]
    path = write_theirs(peer, tmp_path / "a.zt", theirs)
    before = path.read_bytes()
    more = renamed([*theirs[:5], *compressed()[:6]], "more/")
    append_ours(path, more)
    assert path.read_bytes().startswith(before)
    check(peer, path, [*theirs, *more])
    check_ours(path, [*theirs, *more], CONTAINER[peer.version])


@pytest.mark.parametrize("peer", PEERS_1_2, indirect=True)
def test_appended_to_their_empty_file(peer: Peer, tmp_path: Path) -> None:
    path = write_theirs(peer, tmp_path / "a.zt", [])
    append_ours(path, plain_dense())
    check(peer, path, plain_dense())
