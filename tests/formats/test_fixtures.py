"""Files by the published packages decode to what those packages put in."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

import ztensor_remote as zt
from tests.formats.expected import DATA, FIXTURES, LOGICAL, Expected, Part
from ztensor_remote.codecs import Hasher
from ztensor_remote.manifest.schema_2 import content_value

every_file = pytest.mark.parametrize(
    ("place", "path"),
    [
        pytest.param(place, path, id=f"{place}-{path.parent.name}-{path.stem}")
        for path in FIXTURES
        for place in ("local", "bytes", "memory")
        # Bytes in memory have no neighbours to find shards among.
        if place != "bytes" or not Expected(path).needs_shards
    ],
)


@pytest.fixture
def expected(path: Path) -> Expected:
    return Expected(path)


@pytest.fixture
def opened(place: str, path: Path) -> Iterator[zt.Reader]:
    """The file on this machine's disk, in memory, and on a filesystem that can't be mapped."""
    if place == "local":
        reader = zt.open(path)
    elif place == "bytes":
        reader = zt.open(path.read_bytes())
    else:
        fs = fsspec.filesystem("memory")
        for neighbour in path.parent.glob(f"{path.stem}*.zt"):
            fs.pipe_file(f"/fixtures/{path.parent.name}/{neighbour.name}", neighbour.read_bytes())
        reader = zt.open(f"memory://fixtures/{path.parent.name}/{path.name}")
    with reader:
        yield reader


def test_every_published_release_is_there() -> None:
    assert {path.parent.name for path in FIXTURES} == {
        *("0.1.4", "1.0.0", "1.0.1", "1.0.2", "1.1.1", "1.2.3", "2.1.2")
    }
    assert len(FIXTURES) > 110


@every_file
def test_the_manifest_says_what_the_json_says(opened: zt.Reader, expected: Expected) -> None:
    assert opened.version == expected.version
    assert _same(dict(opened.attributes), expected.attributes)
    assert set(opened) == set(expected.tensors)
    for name, fields in expected.tensors.items():
        tensor = opened[name]
        assert tensor.shape == tuple(fields["shape"])
        assert tensor.format == fields["format"]
        assert _same(dict(tensor.attributes), expected.tensor_attributes(name))
        assert set(tensor.components) == set(fields["components"])
    assert repr(opened)


@every_file
def test_tensors_are_in_file_order(opened: zt.Reader, expected: Expected) -> None:
    if "order" in expected.json:
        assert opened.tensor_names == list(dict.fromkeys(expected.json["order"]))


@every_file
def test_components_say_what_the_json_says(opened: zt.Reader, expected: Expected) -> None:
    for part in expected.parts():
        component = opened[part.tensor].components[part.role]
        assert component.dtype == part.storage
        assert component.logical_type == part.logical
        assert (component.offset, component.length) == (
            part.fields["offset"],
            part.fields["length"],
        )
        assert component.encoding == part.encoding
        assert component.digest == part.fields.get("digest")
        assert component.shard == part.fields.get("shard")
        assert component.decoded_length in (part.fields["decoded_nbytes"], None)


@every_file
def test_components_decode_to_the_bytes_that_went_in(opened: zt.Reader, expected: Expected) -> None:
    for part in expected.parts():
        decoded = opened[part.tensor].components[part.role].read()
        assert len(decoded) == part.fields["decoded_nbytes"]
        assert hashlib.sha256(decoded).hexdigest() == part.fields["decoded_sha256"]
        if part.values is not None:
            _check_values(decoded, part)


def _check_values(decoded: bytes, part: Part) -> None:
    stored = np.frombuffer(decoded, part.storage.newbyteorder("<"))
    values = np.array(part.values, part.storage)
    assert stored.tobytes() == values.tobytes()


@every_file
def test_whole_tensors(opened: zt.Reader, expected: Expected) -> None:
    for name, fields in expected.tensors.items():
        tensor = opened[name]
        decoded = {role: part.read() for role, part in tensor.components.items()}
        layout = fields["format"]
        if layout == "dense":
            _check_dense(tensor, fields, decoded["data"])
        elif layout in ("sparse_csr", "sparse_coo", "zt.sparse_csr/1", "zt.sparse_coo/1"):
            _check_sparse(tensor, fields, decoded)
        else:
            with pytest.raises(zt.UnsupportedError):
                tensor.numpy()


def _check_dense(tensor: zt.LazyTensor, fields: dict[str, Any], decoded: bytes) -> None:
    part = Part(tensor.name, "data", fields["components"]["data"])
    if part.logical is not None and part.logical not in LOGICAL:
        with pytest.raises(zt.UnsupportedError):
            tensor.numpy()
        return
    array = tensor.numpy()
    assert array.shape == tuple(fields["shape"])
    assert array.dtype == (LOGICAL[part.logical] if part.logical else part.storage)
    assert array.tobytes() == (_nibbles(decoded, array.size) if _is_packed(part) else decoded)
    assert tensor[...].tobytes() == array.tobytes()
    with pytest.raises(zt.UnsupportedError):
        tensor.scipy()


def _is_packed(part: Part) -> bool:
    return part.logical == "f4_e2m1"


def _nibbles(packed: bytes, count: int) -> bytes:
    halves = itertools.chain.from_iterable((byte & 15, byte >> 4) for byte in packed)
    return bytes(itertools.islice(halves, count))


def _check_sparse(tensor: zt.LazyTensor, fields: dict[str, Any], decoded: dict[str, bytes]) -> None:
    arrays = {
        role: np.frombuffer(decoded[role], Part("", role, part).storage)
        for role, part in fields["components"].items()
    }
    dense = np.zeros(fields["shape"], arrays["values"].dtype)
    for position, value in zip(_positions(arrays, dense.ndim), arrays["values"], strict=True):
        dense[position] += value
    assert np.array_equal(tensor.numpy(), dense)
    if dense.dtype.name in ("float16", "bfloat16"):
        with pytest.raises(zt.UnsupportedError):
            tensor.scipy()
        return
    sparse = tensor.scipy()
    assert sparse.shape == dense.shape
    assert sparse.nnz == len(arrays["values"])
    assert np.array_equal(sparse.toarray(), dense)


def _positions(arrays: dict[str, Any], rank: int) -> Iterator[tuple[int, ...]]:
    if "coords" in arrays:
        yield from map(tuple, arrays["coords"].reshape(rank, -1).T.tolist())
        return
    for row, (start, stop) in enumerate(itertools.pairwise(arrays["indptr"].tolist())):
        for column in arrays["indices"][start:stop].tolist():
            yield row, column


@every_file
def test_verify_finds_nothing(opened: zt.Reader, expected: Expected) -> None:
    digests = [part.fields.get("digest") for part in expected.parts()]
    found = opened.verify(deep=True)
    assert found.checked == sum(digest is not None for digest in digests)
    assert found.undigested == sum(digest is None for digest in digests)


def test_shards_of_bytes_in_memory_cannot_be_found() -> None:
    for path in FIXTURES:
        expected = Expected(path)
        reader = zt.open(path.read_bytes())
        for part in expected.parts():
            if "shard" in part.fields:
                with pytest.raises(zt.InvalidInputError):
                    reader[part.tensor].components[part.role].read()


def test_content_digests() -> None:
    stated = json.loads((DATA / "fixtures" / "2.1.2-content-digests.json").read_text("utf-8"))
    for name, digests in stated.items():
        path = DATA / "fixtures" / "2.1.2" / name
        if not path.exists():
            continue
        with zt.open(path) as reader:
            content = content_value(reader.manifest)
        for algorithm, digest in (digests or {}).items():
            assert content is not None
            hasher = Hasher(algorithm)
            hasher.update(content)
            assert hasher.text() == digest, name


def _same(actual: Any, wanted: Any) -> bool:
    """Equality that tells 1 from 1.0 and True, and takes NaN for NaN."""
    if isinstance(wanted, dict):
        return (
            isinstance(actual, dict)
            and {(type(key), key) for key in actual} == {(type(key), key) for key in wanted}
            and all(_same(actual[key], wanted[key]) for key in wanted)
        )
    if isinstance(wanted, list):
        return (
            isinstance(actual, list)
            and len(actual) == len(wanted)
            and all(map(_same, actual, wanted))
        )
    if isinstance(wanted, float):
        if not isinstance(actual, float):
            return False
        sign = math.copysign(1, actual) == math.copysign(1, wanted)
        return (math.isnan(wanted) and math.isnan(actual)) or (actual == wanted and sign)
    return type(actual) is type(wanted) and bool(actual == wanted)
