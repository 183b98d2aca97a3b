"""What a published package must see in a file, and where it sees something else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from pprint import pformat
from typing import Any

from .programs.answering import described
from .samples import LAYOUT_2, LOGICAL, PLAIN, Array, Sample, little_endian, packed
from .worker import Peer

CONTAINER = {"1.0.1": "1.0", "1.0.2": "1.2", "1.1.1": "1.2", "1.2.3": "1.2", "2.1.2": "2"}
"""The newest container that each version reads."""

PEERS = list(CONTAINER)
PEERS_1 = [version for version in PEERS if version != "2.1.2"]
PEERS_1_2 = ["1.0.2", "1.1.1", "1.2.3"]
"""Those that read container 1.2."""


def differences(version: str, answer: Any, samples: Iterable[Sample]) -> dict[str, Any]:
    """Return what a package sees and should see, where they differ; empty if all is well.

    Parameters
    ----------
    version : str
        Of the package.
    answer : dict
        What it answers to ``read``.
    samples : iterable of Sample
        All that is in the file.
    """
    seen = answer["tensors"] if version == "2.1.2" else answer
    wanted = {sample.name: expected(version, sample) for sample in samples}
    found = {name: _pick(seen.get(name), like=want) for name, want in wanted.items()}
    found |= {name: "not in the file" for name in seen.keys() - wanted.keys()}
    return {
        name: {"seen": value, "expected": wanted.get(name)}
        for name, value in found.items()
        if value != wanted.get(name)
    }


def check(peer: Peer, path: Path, samples: Iterable[Sample], **options: Any) -> None:
    """Compare all that a package sees in a file with all that it should see."""
    found = differences(peer.version, peer.read(path, **options), samples)
    assert not found, pformat(found, width=120)


def expected(version: str, sample: Sample) -> dict[str, Any]:
    """Return what a package must see of a tensor."""
    if version == "2.1.2":
        return _expected_2(sample)
    reads = _dense_reads if sample.layout == "dense" else _sparse_reads
    return {
        "layout": sample.layout,
        "shape": list(sample.shape),
        "reads": reads(version, sample),
    }


def _pick(seen: Any, *, like: dict[str, Any]) -> Any:
    """Return the fields that are compared; a failure as a whole."""
    if not isinstance(seen, dict) or "error" in seen:
        return seen
    return {key: seen.get(key) for key in like}


def _dense_reads(version: str, sample: Sample) -> dict[str, Any]:
    array = described(little_endian(sample.parts["data"]))
    if version == "1.0.1":
        return {"read_tensor": array}
    if version != "1.2.3":
        return {"read_tensor": array, "read_tensors": array}
    # 1.2.3 gives a scalar out as an array of one element.
    given = array | {"shape": array["shape"] or [1]}
    return {"item": given, "read": given, "read_numpy": given, "read_into": array}


def _sparse_reads(version: str, sample: Sample) -> dict[str, Any]:
    reads = {role: described(array) for role, array in sample.parts.items()}
    if version in ("1.0.2", "1.1.1") and len(sample.shape) == 2:
        reads["scipy"] = described(sample.array)
    return reads


def _expected_2(sample: Sample) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        "layout": LAYOUT_2[sample.layout],
        "shape": list(sample.shape),
        "parts": {role: _part_2(array) for role, array in sample.parts.items()},
    }
    array = sample.parts.get("data")
    if sample.layout == "dense" and array is not None and _has_dlpack(array, sample):
        given = described(little_endian(array))
        wanted["dlpack"] = given | {"shape": given["shape"] or [1]}
    return wanted


def _part_2(array: Array) -> dict[str, Any]:
    name = array.dtype.name
    storage, meaning = LOGICAL.get(name) or (PLAIN[name], None)
    if name == "bool":
        storage, meaning = "u8", "bool"
    return {
        "dtype": storage,
        "type": meaning,
        "sha256": hashlib.sha256(packed(array)).hexdigest(),
        "verified": True,
    }


def _has_dlpack(array: Array, sample: Sample) -> bool:
    """Whether NumPy can take the tensor from 2.1.2 without a copy."""
    return array.dtype.name in PLAIN and array.dtype.kind in "biufc" and not sample.compress
