"""Models in several files, and how what holds them together is mutated."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import safetensors.numpy

from tests.formats import build

from .manifests import FLOATS, NUMBERS
from .originals import Original

_FILES = ("-00001-of-00002.safetensors", "-00002-of-00002.safetensors")
_ENDING = ".safetensors.index.json"
_PARTS = (
    {"a.w": np.arange(12, dtype=np.float32).reshape(3, 4), "a.b": np.arange(5, dtype=np.int64)},
    {"b.w": np.arange(24, dtype=np.float16).reshape(2, 3, 4), "empty": np.zeros((0, 2), np.int8)},
)


def of_safetensors() -> Iterator[Original]:
    """Return an index with its files, files of several formats, and folders of both."""
    files = {
        ending: safetensors.numpy.save(arrays)
        for ending, arrays in zip(_FILES, _PARTS, strict=True)
    }
    yield Original("index/safetensors", _index(files), files, ending=_ENDING)
    yield Original("folder/indexed", _index(files), files, ending=_ENDING, is_folder=True)
    first, second = _FILES
    only = {second: files[second]}
    yield Original("folder/plain", files[first], only, ending=first, is_folder=True)
    one = build.one_2(attributes={"k": 1})
    mixed = {first: files[first], "-two.zt": build.file_2(one, {4096: build.EIGHT})}
    places = {"a.w": first, "a.b": first, "t": "-two.zt"}
    yield Original("index/mixed", _text_of(places), mixed, ending=_ENDING)


def _index(files: Mapping[str, bytes]) -> bytes:
    return _text_of({n: e for e, arrays in zip(files, _PARTS, strict=True) for n in arrays})


def _text_of(endings: Mapping[str, str]) -> bytes:
    places = {name: f"model{ending}" for name, ending in endings.items()}
    return json.dumps({"metadata": {"total_size": 1}, "weight_map": places}).encode()


def of_onnx() -> Iterator[Original]:
    """Return a model whose tensors lie in two files beside it, and in itself."""
    tensors, files = [], {}
    for ending in ("-v.bin", "-w.bin"):
        arrays = {f"x{ending[1]}": np.arange(12, dtype=np.float32).reshape(3, 4)}
        arrays |= {f"y{ending[1]}": np.arange(6, dtype=np.int64) + 1}
        files[ending] = b"".join(array.tobytes() for array in arrays.values())
        at = 0
        for name, array in arrays.items():
            tensor = onnx.numpy_helper.from_array(array, name)
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            place = {"location": f"model{ending}", "offset": at, "length": array.nbytes}
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
            at += array.nbytes
            tensors.append(tensor)
    tensors.append(onnx.numpy_helper.from_array(np.arange(3, dtype=np.int16), "inside"))
    graph = onnx.helper.make_graph([], "g", [], [], tensors)
    model = onnx.helper.make_model(graph, producer_name="fuzz")
    yield Original("onnx/external", model.SerializeToString(), files, format="onnx")


def shard_of(original: Original, ending: str) -> Original:
    """Return one of the other files, under a name that tells how to mutate it."""
    kind = "safetensors" if ending.endswith(".safetensors") else "bytes"
    return Original(f"{kind}/{original.name}", original.shards[ending])


# --- indexes bent ---------------------------------------------------------------------------------

_NAMES = (
    *(
        "",
        ".",
        "..",
        "../model",
        "/etc/passwd",
        "a//b",
        "a/../b",
        "http://127.0.0.1:1/x",
        "s3://b/k",
    ),
    *("model", "model.zt", "model.safetensors.index.json", "model-00001-of-00002.safetensors"),
    *("model-00002-of-00002.safetensors", "./model-00001-of-00002.safetensors", "a" * 300, "é"),
    *("model-00001-of-00002.safetensors?x", "model*.safetensors", "%2e%2e/x", "C:\\x", "a\0b"),
    *("\ud800", "\x1b[31m", "a::b", "sub/model-00001-of-00002.safetensors", "x\n"),
)
_JSON = (
    b"[" * 100_000,
    b'{"weight_map": ' * 5000,
    b'{"weight_map": {"a.w": "model-00001-of-00002.safetensors", "a.w": "x"}}',
    b'{"weight_map": {}}',
    b'{"weight_map": {"a": 1' + b"0" * 10_000 + b"}}",
    b'{"weight_map": NaN}',
    b'\xef\xbb\xbf{"weight_map": {"a": "b"}}',
    '{"weight_map": {"a": "b"}}'.encode("utf-16"),
    b"null",
    b"",
    b'{"weight_map": {%s}}' % b", ".join(b'"t%d": "f%d"' % (n, n) for n in range(300)),
    b'{"weight_map": {%s}}' % b", ".join(b'"t%d": "f%d"' % (n, n) for n in range(10_001)),
    b'{"weight_map": {%s}}' % b", ".join(b'"t%d": "m"' % n for n in range(50_000)),
)


def bent_index(rng: Random, data: bytes) -> tuple[bytes, str]:
    """Change what an index says, so that it still is JSON; or put in its place what is none."""
    if rng.random() < 0.08:
        text = rng.choice(_JSON)
        return text, f"{text[:30]!r}"
    root = json.loads(data)
    how = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        bend = rng.choice(_BENDS)
        bend(rng, root)
        how.append(bend.__name__.strip("_"))
    return json.dumps(root).encode(), " ".join(how)


def _map(root: dict[str, Any]) -> dict[str, Any]:
    places = root.get("weight_map")
    return places if isinstance(places, dict) and places else {"": ""}


def _another_file(rng: Random, root: dict[str, Any]) -> None:
    places = _map(root)
    places[rng.choice(sorted(places))] = rng.choice(_NAMES)


def _no_file(rng: Random, root: dict[str, Any]) -> None:
    places = _map(root)
    places[rng.choice(sorted(places))] = rng.choice((*NUMBERS[:20], *FLOATS, None, True, [], {}))


def _another_tensor(rng: Random, root: dict[str, Any]) -> None:
    places = _map(root)
    old = rng.choice(sorted(places))
    new = rng.choice(("", "x", "a.w", "\ud800", "\0", "é" * 3000, old + "2"))
    places[new] = places[old] if rng.random() < 0.4 else places.pop(old)


def _without(rng: Random, root: dict[str, Any]) -> None:
    places = rng.choice((root, _map(root)))
    if places:
        del places[rng.choice(sorted(places))]


def _exchanged(rng: Random, root: dict[str, Any]) -> None:
    places = _map(root)
    one, other = rng.choice(sorted(places)), rng.choice(sorted(places))
    places[one], places[other] = places[other], places[one]


def _at_the_top(rng: Random, root: dict[str, Any]) -> None:
    key = rng.choice(("metadata", "metadata", "weight_map", "x"))
    root[key] = rng.choice((None, [], {}, "x", 1, [[[]]] * 100, {"total_size": 1 << 70}))


_BENDS: tuple[Callable[[Random, dict[str, Any]], None], ...] = (
    *(_another_file, _another_file, _no_file, _another_tensor, _without, _exchanged, _at_the_top),
)
