"""Our digests pass where published packages check them, and damage does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ztensor_remote as zt

from .comparison import CONTAINER, PEERS, PEERS_1, PEERS_1_2, check, differences
from .samples import Sample, append_ours, dense, noise, text_like, write_ours
from .worker import GetPeer, Peer

pytestmark = pytest.mark.peers

ALGORITHMS = {"1.0": ["crc32c"], "1.2": ["crc32c", "sha256"], "2": ["xxh3", "sha256"]}
CASES = [
    pytest.param(version, algorithm, id=f"{version}-{algorithm}")
    for version in PEERS
    for algorithm in ALGORITHMS[CONTAINER[version]]
]
each_digest = pytest.mark.parametrize("peer,algorithm", CASES, indirect=["peer"])


def samples() -> list[Sample]:
    """Return raw and compressed tensors, as many as fit in one frame and more."""
    return [
        dense("raw", noise("float32", (50, 3))),
        dense("zstd", text_like("uint8", 5000), compress=True),
        dense("frames", text_like("int16", 2_500_000), compress=True),
        dense("nothing", noise("int8", (0,))),
        dense("nothing/zstd", noise("int8", (0,)), compress=True),
    ]


@each_digest
def test_sound_files_pass(peer: Peer, algorithm: str, tmp_path: Path) -> None:
    path = written(tmp_path, peer, algorithm)
    check(peer, path, samples(), **verifying(peer))


@pytest.mark.parametrize("peer", PEERS, indirect=True)
def test_digests_of_chunks_are_passed_over(peer: Peer, tmp_path: Path) -> None:
    version = CONTAINER[peer.version]
    path = write_ours(tmp_path / "chunks.zt", samples(), version, chunk_digests=True)
    assert b"chunk_digests" in path.read_bytes()
    check(peer, path, samples(), **verifying(peer))


@each_digest
def test_appended_files_pass(peer: Peer, algorithm: str, tmp_path: Path) -> None:
    path = write_ours(tmp_path / "a.zt", samples()[:2], CONTAINER[peer.version], checksum=algorithm)
    append_ours(path, samples()[2:], checksum=algorithm)
    check(peer, path, samples(), **verifying(peer))


@each_digest
def test_a_flipped_raw_byte(peer: Peer, algorithm: str, tmp_path: Path) -> None:
    """1.2.3 compares no raw bytes with their digest, so there the damage shows in the elements."""
    path = written(tmp_path, peer, algorithm)
    flip(path, "raw", 17)
    if peer.version == "2.1.2":
        part = peer.read(path)["tensors"]["raw"]["parts"]["data"]
        assert "digest" in message(part).lower()
        return
    answer = peer.read(path, **verifying(peer))
    assert list(differences(peer.version, answer, samples())) == ["raw"]
    reads = answer["raw"]["reads"]
    if peer.version != "1.2.3":
        # In 1.0.2 and 1.1.1 only a batch compares raw bytes with their digest.
        way = "read_tensor" if peer.version == "1.0.1" else "read_tensors"
        assert "checksum" in message(reads[way]).lower()


@pytest.mark.parametrize("name", ["zstd", "frames", "nothing/zstd"])
@pytest.mark.parametrize(
    "peer,algorithm", [case for case in CASES if case.values[0] in PEERS_1], indirect=["peer"]
)
def test_a_flipped_byte_of_a_seek_table(
    peer: Peer, algorithm: str, name: str, tmp_path: Path
) -> None:
    """Decoders skip the table: if it is noticed, then because of the digest."""
    path = written(tmp_path, peer, algorithm)
    flip(path, name, -9)
    answer = peer.read(path, **verifying(peer))
    assert list(differences(peer.version, answer, samples())) == [name]
    ways = answer[name]["reads"].values()
    assert all("checksum" in message(read).lower() for read in ways)


@pytest.mark.parametrize("peer", ["1.0.2", "1.1.1"], indirect=True)
def test_without_a_check_the_seek_table_is_skipped(peer: Peer, tmp_path: Path) -> None:
    """The control of the test above: nothing else than the digest notices."""
    path = written(tmp_path, peer, "crc32c")
    flip(path, "frames", -9)
    check(peer, path, samples())


@pytest.mark.parametrize("name", ["zstd", "frames"])
@pytest.mark.parametrize("peer", PEERS, indirect=True)
def test_a_flipped_byte_of_a_frame(peer: Peer, name: str, tmp_path: Path) -> None:
    """Frames carry a checksum of their own, which guards them without digests too."""
    path = write_ours(tmp_path / "a.zt", samples(), CONTAINER[peer.version], checksum=None)
    flip(path, name, 40)
    answer = peer.read(path)
    if peer.version == "2.1.2":
        assert message(answer["tensors"][name]["parts"]["data"])
    else:
        assert list(differences(peer.version, answer, samples())) == [name]
        assert all(message(read) for read in answer[name]["reads"].values())


@pytest.mark.parametrize("algorithm", ALGORITHMS["2"])
def test_verify_of_2(get_peer: GetPeer, algorithm: str, tmp_path: Path) -> None:
    peer = get_peer("2.1.2")
    path = written(tmp_path, peer, algorithm)
    assert peer.ask("verify", path=str(path), deep=True) == [len(samples()), 0]
    flip(path, "frames", 40)
    with pytest.raises(Exception, match="(?i)zstd|decode|encoding") as caught:
        peer.ask("verify", path=str(path), deep=True)
    assert "ValueError" in caught.value.kinds


def test_the_digests_are_stated_as_they_spell_them(get_peer: GetPeer, tmp_path: Path) -> None:
    """What a package hands out as a tensor's checksum is what we hand out."""
    for version in ("1.0.1", *PEERS_1_2[:2]):
        peer = get_peer(version)
        path = written(tmp_path, peer, "crc32c")
        answer = peer.read(path)
        with zt.open(path) as ours:
            for name in ours:
                assert answer[name]["digest"] == ours.metadata(name).checksum is not None


# --- damage ---------------------------------------------------------------------------------


def written(folder: Path, peer: Peer, algorithm: str) -> Path:
    version = CONTAINER[peer.version]
    return write_ours(folder / f"{peer.version}.zt", samples(), version, checksum=algorithm)


def flip(path: Path, name: str, position: int) -> None:
    """Flip a bit of a tensor's stored bytes."""
    with zt.open(path) as ours:
        part = ours[name].components["data"]
        at = part.offset + position % part.length
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def verifying(peer: Peer) -> dict[str, Any]:
    """Return the options that make a package check digests, where it has any."""
    return {"verify": True} if peer.version in ("1.0.2", "1.1.1") else {}


def message(read: dict[str, Any]) -> str:
    """Return what the package said when it refused; fail if it did not."""
    assert "error" in read, f"the damage went unnoticed: {read}"
    return str(read["error"]["message"])
