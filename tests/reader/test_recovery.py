"""What a file full of footers costs before the search for a whole generation is given up."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

import ztensor_remote as zt
from tests.formats.build import MAGIC_1, cbor, lay_out, object_1_2, part_1, root_1_2
from ztensor_remote.reader import recovery

MIB = 1 << 20


def with_footers(start: bytes, manifest: bytes, count: int) -> bytes:
    """Return a file of many generations behind each other, whose end is torn."""
    generation = manifest + struct.pack("<Q", len(manifest)) + MAGIC_1
    return start + generation * count + b"torn"


def counted(monkeypatch: pytest.MonkeyPatch, name: str, argument: int) -> list[int]:
    """Return the sizes of what is passed to a function of the search, as it goes on."""
    sizes: list[int] = []
    real = getattr(recovery, name)

    def count(*arguments: Any, **options: Any) -> Any:
        sizes.append(len(arguments[argument]))
        return real(*arguments, **options)

    monkeypatch.setattr(recovery, name, count)
    return sizes


def test_manifests_that_are_none_are_parsed_up_to_a_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "model.zt"
    parsed = counted(monkeypatch, "parse_manifest", 0)
    almost = cbor([0] * (MIB // 2)) + b"\xff"
    path.write_bytes(with_footers(MAGIC_1.ljust(64, b"\0"), almost, 20))
    with pytest.raises(zt.FormatError):
        zt.open(path)
    assert 4 * MIB < sum(parsed) < 5 * MIB


def test_blobs_are_compared_up_to_a_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "model.zt"
    compared = counted(monkeypatch, "check_digest", 1)
    part = part_1(dtype="u8", length=MIB, digest=f"sha256:{'0' * 64}")
    root = root_1_2({"t": object_1_2(shape=[MIB], components={"data": part})})
    path.write_bytes(with_footers(bytes(lay_out(MAGIC_1, {64: bytes(MIB)})), cbor(root), 200))
    with zt.open(path) as model, pytest.raises(zt.DigestError):
        model["t"].numpy()
    assert sum(compared) == 16 * MIB
