"""Container 2: our canonical files are 2.1.2's, and so are the content digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xxhash

import ztensor_remote as zt
from ztensor_remote.manifest.schema_2 import content_value

from .comparison import check
from .samples import (
    ATTRIBUTES,
    PLAIN,
    Sample,
    append_ours,
    attributed,
    dense,
    logical,
    noise,
    plain_dense,
    renamed,
    sparse,
    write_ours,
)
from .worker import GetPeer, Peer

pytestmark = pytest.mark.peers


def tied() -> list[Sample]:
    weight = noise("float32", (70_000,))
    return [
        dense("a/other", noise("float32", (4, 4))),
        dense("embed", weight.reshape(700, 100)),
        dense("head", weight.reshape(100, 700)),
        dense("head as integers", weight.view("int32")),
        dense("z", weight[::-1]),
    ]


def nothings() -> list[Sample]:
    return [
        dense("a", noise("uint8", (5,))),
        dense("b", noise("float32", (0, 3))),
        dense("c", noise("uint8", (5,), seed=1)),
        dense("d", noise("int64", (0,))),
        dense("e", noise("uint8", (9,))),
    ]


def only_nothings() -> list[Sample]:
    return [dense("b", noise("float32", (0, 3))), dense("d", noise("int64", (0,)))]


def raw_sparse() -> list[Sample]:
    return [replace(sample, compress=False) for sample in sparse()]


def raw_logical() -> list[Sample]:
    return [replace(sample, compress=False) for sample in logical()]


def names() -> list[Sample]:
    """Return names whose order by bytes, by code points, and by length differ."""
    spelled = [
        "b",
        "aa",
        "é",
        "z" * 30,
        "z" * 24,
        "z" * 23,
        "\uffee",
        "🎉",
        "Ω/層",
        " ",
        "~",
        "é" * 512,
    ]
    return [dense(name, noise("int8", (1,), seed)) for seed, name in enumerate(spelled)]


def many_parts() -> list[Sample]:
    parts = {name: noise("int16", (3,), seed) for seed, name in enumerate(["zz", "b", "aa", "é"])}
    return [*raw_sparse()[:2], Sample("o", (3,), parts, "quantized_group")]


@pytest.fixture
def peer(get_peer: GetPeer) -> Peer:
    """The package of container 2."""
    return get_peer("2.1.2")


SETS: dict[str, Callable[[], list[Sample]]] = {
    "dtypes": lambda: [dense(name, noise(name, (3, 5))) for name in PLAIN],
    "dense": plain_dense,
    "logical": raw_logical,
    "tied": tied,
    "nothings": nothings,
    "only nothings": only_nothings,
    "empty": list,
    "sparse": raw_sparse,
    "names": names,
    "many parts": many_parts,
    "attributes": lambda: [replace(sample, compress=False) for sample in attributed()],
}
each_set = pytest.mark.parametrize("name", SETS)


def in_order(samples: list[Sample]) -> list[Sample]:
    return sorted(samples, key=lambda sample: sample.name.encode())


def theirs(peer: Peer, path: Path, samples: list[Sample], **options: Any) -> Path:
    """Let 2.1.2 write."""
    peer.ask("write", path=str(path), tensors=[sample.sent_2() for sample in samples], **options)
    return path


def content_digests(path: Path) -> dict[str, str]:
    """Return what names the model in a file, by our reading of SPEC.md §10.5."""
    with zt.open(path) as ours:
        return digests_of(content_value(ours.manifest))


def digests_of(content: bytes | None) -> dict[str, str]:
    assert content is not None
    return {
        "sha256": "sha256:" + hashlib.sha256(content).hexdigest(),
        "xxh3": "xxh3:" + xxhash.xxh3_64_hexdigest(content),
    }


# --- bytes ----------------------------------------------------------------------------------


@each_set
def test_canonical_bytes(peer: Peer, name: str, tmp_path: Path) -> None:
    samples = in_order(SETS[name]())
    published = theirs(peer, tmp_path / "theirs.zt", samples)
    ours = write_ours(tmp_path / "ours.zt", samples, "2", canonical=True)
    assert ours.read_bytes() == published.read_bytes()


@pytest.mark.parametrize("attributes", [ATTRIBUTES, {"wide": (1 << 64) - 1, "x": [1e300, 0.1]}])
def test_canonical_bytes_with_attributes_of_the_file(
    peer: Peer, attributes: dict[str, Any], tmp_path: Path
) -> None:
    samples = in_order(plain_dense())
    published = theirs(peer, tmp_path / "theirs.zt", samples, attributes=attributes)
    ours = write_ours(
        tmp_path / "ours.zt", samples, "2", canonical=True, file_attributes=attributes
    )
    assert ours.read_bytes() == published.read_bytes()


@each_set
def test_theirs_made_canonical_from_ours(peer: Peer, name: str, tmp_path: Path) -> None:
    """What they copy from an ordinary file of ours is our canonical file."""
    samples = SETS[name]()
    source = write_ours(tmp_path / "source.zt", samples[: len(samples) // 2], "2")
    append_ours(source, samples[len(samples) // 2 :])
    target = tmp_path / "target.zt"
    peer.ask("rewrite", source=str(source), target=str(target))
    ours = write_ours(tmp_path / "ours.zt", in_order(samples), "2", canonical=True)
    assert ours.read_bytes() == target.read_bytes()


@pytest.mark.parametrize("dedup", [False, True])
@each_set
def test_ordinary_bytes(peer: Peer, name: str, dedup: bool, tmp_path: Path) -> None:
    """2.1.2 always shares equal blobs; with dedup= ours is the same file."""
    samples = SETS[name]()
    published = theirs(peer, tmp_path / "theirs.zt", samples, canonical=False)
    ours = write_ours(tmp_path / "ours.zt", samples, "2", dedup=dedup)
    if dedup:
        assert ours.read_bytes() == published.read_bytes()
    assert content_digests(ours) == content_digests(published)


@each_set
def test_canonical_files_are_read_and_verified(peer: Peer, name: str, tmp_path: Path) -> None:
    samples = in_order(SETS[name]())
    path = write_ours(tmp_path / "ours.zt", samples, "2", canonical=True)
    check(peer, path, samples)
    parts = sum(len(sample.parts) for sample in samples)
    assert peer.ask("verify", path=str(path), deep=True) == [parts, 0]


def test_streamed_canonical_bytes(peer: Peer, tmp_path: Path) -> None:
    array = noise("float32", (300, 100))
    published = theirs(peer, tmp_path / "theirs.zt", [dense("a", array), dense("b", array[:7])])
    path = tmp_path / "ours.zt"
    with zt.Writer(path, version="2", canonical=True) as writer:
        for name, whole in (("a", array), ("b", array[:7])):
            with writer.stream_tensor(name, whole.shape, whole.dtype) as part:
                for row in whole:
                    part.write(row)
    assert path.read_bytes() == published.read_bytes()


# --- content digests ------------------------------------------------------------------------


@each_set
def test_content_digest_does_not_depend_on_who_wrote_how(
    peer: Peer, name: str, tmp_path: Path
) -> None:
    samples = SETS[name]()
    digests = content_digests(theirs(peer, tmp_path / "theirs.zt", in_order(samples)))
    squeezed = [replace(sample, compress=7) for sample in reversed(samples)]
    assert content_digests(write_ours(tmp_path / "zstd.zt", squeezed, "2")) == digests
    grown = write_ours(tmp_path / "grown.zt", samples[:1], "2")
    assert content_digests(append_ours(grown, samples[1:])) == digests


def test_content_digest_depends_on_content(peer: Peer, tmp_path: Path) -> None:
    samples = [replace(sample, compress=False) for sample in attributed()]
    digests = content_digests(theirs(peer, tmp_path / "theirs.zt", in_order(samples)))
    others = [
        samples[:-1],
        renamed(samples, "x"),
        [*samples[:-1], replace(samples[-1], attributes={"k": 1})],
        [*samples[:-1], dense("without", noise("float32", (2,), seed=1))],
        [*samples[:-1], dense("without", noise("float32", (2,)).view("int32"))],
        [*samples[:-1], dense("without", noise("float32", (2,)).reshape(2, 1))],
    ]
    for other in others:
        path = write_ours(tmp_path / "other.zt", other, "2")
        assert content_digests(path).items().isdisjoint(digests.items())
        path.unlink()


FIXTURES = Path(__file__).parents[1] / "data" / "fixtures"
KNOWN = json.loads((FIXTURES / "2.1.2-content-digests.json").read_text())


@pytest.mark.parametrize("name", sorted(path.name for path in (FIXTURES / "2.1.2").glob("*.zt")))
def test_content_digest_of_published_files(name: str) -> None:
    """As the published command line printed them."""
    path = FIXTURES / "2.1.2" / name
    with zt.open(path) as ours:
        content = content_value(ours.manifest)
        is_data_shard = ours.manifest.is_data_shard
    if KNOWN[name] is None:
        assert content is None or is_data_shard
    else:
        assert digests_of(content) == KNOWN[name]
