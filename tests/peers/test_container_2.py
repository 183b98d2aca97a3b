"""Container 2 in detail: frames, verification and appends are 2.1.2's own."""

from __future__ import annotations

import shutil
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import xxhash

import ztensor_remote as zt
from ztensor_remote.container import Footer, Generation, build_footer
from ztensor_remote.manifest import ZSTD_SEEKABLE, encode_manifest, manifest_hash

from .comparison import check
from .samples import (
    MIB,
    Sample,
    append_ours,
    attributed,
    compressed,
    dense,
    logical,
    noise,
    plain_dense,
    sparse,
    text_like,
    write_ours,
)
from .worker import GetPeer, Peer, PeerError

pytestmark = pytest.mark.peers


@pytest.fixture
def peer(get_peer: GetPeer) -> Peer:
    """The package of container 2."""
    return get_peer("2.1.2")


def theirs(peer: Peer, path: Path, samples: list[Sample], **options: object) -> Path:
    sent = [sample.sent_2() for sample in samples]
    peer.ask("write", path=str(path), tensors=sent, canonical=False, **options)
    return path


# --- verification ---------------------------------------------------------------------------


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("make", [plain_dense, sparse, compressed, logical, attributed, list])
def test_verify_counts(peer: Peer, make: type[list[Sample]], deep: bool, tmp_path: Path) -> None:
    samples = make()
    path = write_ours(tmp_path / "a.zt", samples, "2")
    parts = sum(len(sample.parts) for sample in samples)
    with zt.open(path) as ours:
        assert ours.verify() == zt.Verification(checked=parts, undigested=0)
    assert peer.ask("verify", path=str(path), deep=deep) == [parts, 0]


def test_verify_counts_what_has_no_digest(peer: Peer, tmp_path: Path) -> None:
    path = write_ours(tmp_path / "a.zt", plain_dense(), "2", checksum=None)
    append_ours(path, sparse()[:1])
    count = len(plain_dense())
    with zt.open(path) as ours:
        assert ours.verify() == zt.Verification(checked=3, undigested=count)
    assert peer.ask("verify", path=str(path), deep=True) == [3, count]


@pytest.mark.parametrize("where", ["manifest", "footer", "magic"])
def test_damage_outside_the_blobs(peer: Peer, where: str, tmp_path: Path) -> None:
    path = write_ours(tmp_path / "a.zt", plain_dense(), "2")
    data = bytearray(path.read_bytes())
    data[{"manifest": -60, "footer": -24, "magic": 3}[where]] ^= 1
    path.write_bytes(data)
    with pytest.raises(PeerError, match="ValueError"):
        peer.read(path)
    with pytest.raises(zt.FormatError):
        zt.open(path)


# --- compression ----------------------------------------------------------------------------


def test_blobs_of_1_2_decode_in_2(peer: Peer, tmp_path: Path) -> None:
    """SPEC.md §13.1: a compressed blob in 1.x has the bytes that container 2 wants."""
    samples = compressed()
    source = write_ours(tmp_path / "a.zt", samples, "1.2")
    target = tmp_path / "b.zt"
    carry_over(source, target)
    check(peer, target, samples)
    assert peer.ask("verify", path=str(target), deep=True) == [len(samples), 0]


def carry_over(source: Path, target: Path) -> None:
    """Put the stored bytes of a 1.2 file, as they are, under a manifest of version 2."""
    data, tensors = bytearray(Generation.V2.magic), {}
    stored = source.read_bytes()
    with zt.open(source) as ours:
        manifest = ours.manifest
        decoded = {name: ours[name].components["data"].read() for name in ours}
    for name, tensor in manifest.tensors.items():
        part = tensor.components["data"]
        data += bytes(-len(data) % 4096)
        is_bool = part.dtype == "bool"
        moved = replace(
            part,
            offset=len(data),
            digest=f"xxh3:{xxhash.xxh3_64_hexdigest(decoded[name])}",
            encoding=ZSTD_SEEKABLE,
            dtype="u8" if is_bool else part.dtype,
            logical="bool" if is_bool else part.logical,
        )
        data += stored[part.offset : part.offset + part.length]
        tensors[name] = replace(tensor, components={"data": moved})
    data += bytes(-len(data) % 4096)
    encoded = encode_manifest(replace(manifest, version="2", tensors=tensors))
    footer = Footer(Generation.V2, len(data), len(encoded), manifest_hash(encoded))
    target.write_bytes(data + encoded + build_footer(footer))


@pytest.mark.parametrize("nbytes", [0, 8, MIB, MIB + 8, 3 * MIB + 16])
def test_frames_are_cut_and_marked_alike(peer: Peer, nbytes: int, tmp_path: Path) -> None:
    """Blocks depend on the release of libzstd; headers, checksums and the table do not."""
    sample = dense("t", text_like("float64", nbytes), compress=True)
    ours = frames(write_ours(tmp_path / "ours.zt", [sample], "2"))
    published = frames(theirs(peer, tmp_path / "theirs.zt", [sample]))
    assert [headers for _, headers in ours] == [headers for _, headers in published]
    assert [decoded for decoded, _ in ours] == [decoded for decoded, _ in published]


def frames(path: Path) -> list[tuple[int, bytes]]:
    """Return decoded size, and frame header with content checksum, of each frame of a blob."""
    with zt.open(path) as ours:
        part = ours["t"].components["data"]
    blob = path.read_bytes()[part.offset : part.offset + part.length]
    count, descriptor, magic = struct.unpack("<IBI", blob[-9:])
    assert (descriptor, magic) == (0, 0x8F92EAB1)
    table = len(blob) - 9 - 8 * count
    assert blob[table - 8 : table] == struct.pack("<II", 0x184D2A5E, 8 * count + 9)
    found, at = [], 0
    for stored, decoded in struct.iter_unpack("<II", blob[table:-9]):
        frame = blob[at : at + stored]
        found.append((decoded, frame[:6] + frame[-4:]))
        at += stored
    assert at == table - 8
    return found


# --- appending ------------------------------------------------------------------------------


@pytest.mark.parametrize("align", [4096, 16384, 65536, 1 << 20])
def test_appended_bytes(peer: Peer, align: int, tmp_path: Path) -> None:
    """We and they make the same file of the same file (no blob twice: they store it once)."""
    first = [dense("one", noise("int8", (5000,))), dense("nothing", noise("int8", (0,)))]
    more = [
        dense("two", noise("float32", (3, 3))),
        dense("three", noise("int64", (6,)), attributes={"k": [1]}),
        sparse()[0],
    ]
    one = theirs(peer, tmp_path / "one.zt", first, align=align, attributes={"file": True})
    other = shutil.copy(one, tmp_path / "other.zt")
    for turn in range(2):
        again = [replace(sample, name=f"{turn}/{sample.name}") for sample in more]
        theirs(peer, one, again[turn:], append=True)
        append_ours(other, again[turn:])
        assert other.read_bytes() == one.read_bytes()
