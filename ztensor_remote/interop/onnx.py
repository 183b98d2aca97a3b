"""ONNX: the initializers of a model's graph, in the file and in others beside it.

https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NoReturn

from ..errors import FormatError, UnsupportedError
from ..manifest import VARINTS, Component, Manifest, Shard, Tensor
from ..manifest.dtypes import dtype_of
from ..manifest.fields import MAX_RANK, element_count, shown
from ..manifest.validate import check_expansion
from .peek import Peek
from .protobuf import Field, Fields
from .unread import SPARSE

_TEXT = 1 << 16
"""Bytes of a name, or another short text."""

_IR_VERSION, _PRODUCER, _GRAPH, _METADATA = 1, 2, 7, 14  # ModelProto
_INITIALIZER, _SPARSE_INITIALIZER = 5, 15  # GraphProto
_VALUES, _INDICES, _SPARSE_DIMS = 1, 2, 3  # SparseTensorProto
_KEY, _VALUE = 1, 2  # StringStringEntryProto
_DIMS, _TYPE, _SEGMENT, _NAME, _RAW, _EXTERNAL, _LOCATION = 1, 2, 3, 8, 9, 13, 14  # TensorProto
_FLOATS, _INT32, _STRINGS, _INT64, _DOUBLES, _UINT64 = 4, 5, 6, 7, 10, 11
_ELEMENTS = (_FLOATS, _INT32, _INT64, _DOUBLES, _UINT64)

# Storage type, logical type, and the field that elements are in where they are not raw.
_TYPES: dict[int, tuple[str, str | None, int]] = {
    1: ("f32", None, _FLOATS),
    2: ("u8", None, _INT32),
    3: ("i8", None, _INT32),
    4: ("u16", None, _INT32),
    5: ("i16", None, _INT32),
    6: ("i32", None, _INT32),
    7: ("i64", None, _INT64),
    9: ("bool", None, _INT32),
    10: ("f16", None, _INT32),
    11: ("f64", None, _DOUBLES),
    12: ("u32", None, _UINT64),
    13: ("u64", None, _UINT64),
    14: ("f32", "complex64", _FLOATS),
    15: ("f64", "complex128", _DOUBLES),
    16: ("bf16", None, _INT32),
    17: ("u8", "f8_e4m3fn", _INT32),
    18: ("u8", "f8_e4m3fnuz", _INT32),
    19: ("u8", "f8_e5m2", _INT32),
    20: ("u8", "f8_e5m2fnuz", _INT32),
    23: ("u8", "f4_e2m1", _INT32),
    24: ("u8", "f8_e8m0", _INT32),
}
_UNREAD = {
    8: "string",
    21: "uint4",
    22: "int4",
    25: "uint2",
    26: "int2",
    27: "float6_e2m3",
    28: "float6_e3m2",
}


@dataclass
class _Proto:
    """What a TensorProto says."""

    dims: list[int] = field(default_factory=list)
    kind: int = 0
    name: str = ""
    is_external: bool = False
    external: dict[str, str] = field(default_factory=dict)
    spans: dict[int, Field] = field(default_factory=dict)

    def add(self, elements: Field) -> None:
        """Take note of where elements are."""
        if not elements.is_span or elements.number in self.spans:
            raise UnsupportedError(
                "its elements are stored one by one; load and save the model with onnx",
                tensor=self.name or None,
            )
        self.spans[elements.number] = elements


def parse(peek: Peek) -> Manifest:
    """Return what an ONNX file says of the initializers of its graph.

    Raises
    ------
    FormatError, LimitError, UnsupportedError, StoreError
    """
    return _Model(Fields(peek), peek.size).manifest()


class _Model:
    def __init__(self, fields: Fields, size: int) -> None:
        self._fields = fields
        self._size = size
        self._tensors: dict[str, Tensor] = {}
        self._shards: dict[str, Shard] = {}

    def manifest(self) -> Manifest:
        version, producer = 0, None
        attributes: dict[str, str] = {}
        has_graph = False
        for each in self._fields.of(0, self._size):
            if each.number == _IR_VERSION:
                version = each.value or 0
            elif each.number == _PRODUCER:
                producer = self._text(each)
            elif each.number == _METADATA:
                key, value = self._pair(each)
                attributes[key] = value
            elif each.number == _GRAPH:
                has_graph = True
                self._add_graph(each)
        if not version or not has_graph:
            reject("it has no version, or no graph")
        return Manifest(
            "onnx",
            self._tensors,
            attributes,
            self._shards,
            version_text=str(version),
            generator=producer,
        )

    def _add_graph(self, graph: Field) -> None:
        for each in self._inside(graph):
            if each.number == _INITIALIZER:
                self._keep(self._tensor(self._proto(each)))
            elif each.number == _SPARSE_INITIALIZER:
                self._keep(self._sparse(each))

    def _keep(self, tensor: Tensor) -> None:
        if tensor.name in self._tensors:
            reject(f"there are two tensors named {shown(tensor.name)}")
        self._tensors[tensor.name] = tensor

    def _inside(self, message: Field) -> Iterator[Field]:
        if not message.is_span:
            reject(f"there is no message at {message.start}")
        return self._fields.of(message.start, message.stop)

    def _text(self, each: Field) -> str:
        return self._fields.text(each, _TEXT)

    def _pair(self, message: Field) -> tuple[str, str]:
        texts = {each.number: self._text(each) for each in self._inside(message)}
        return texts.get(_KEY, ""), texts.get(_VALUE, "")

    def _proto(self, message: Field) -> _Proto:
        proto = _Proto()
        for each in self._inside(message):
            if each.number == _DIMS:
                proto.dims += self._integers(each)
            elif each.number == _TYPE:
                proto.kind = each.value or 0
            elif each.number == _NAME:
                proto.name = self._text(each)
            elif each.number == _LOCATION:
                proto.is_external = each.value == 1
            elif each.number == _EXTERNAL:
                key, value = self._pair(each)
                proto.external[key] = value
            elif each.number in (_RAW, _SEGMENT, *_ELEMENTS):
                proto.add(each)
        return proto

    def _integers(self, each: Field) -> list[int]:
        return list(islice(self._fields.integers(each), MAX_RANK + 1))

    def _tensor(self, proto: _Proto) -> Tensor:
        try:
            shape = _shape(proto.dims)
            return self._made(proto, shape)
        except (FormatError, UnsupportedError) as error:
            raise error.at(tensor=proto.name) from None

    def _made(self, proto: _Proto, shape: tuple[int, ...]) -> Tensor:
        if proto.kind not in _TYPES:
            layout = f"onnx.{_UNREAD.get(proto.kind, proto.kind)}"
            raw = proto.spans.get(_RAW)
            parts = {} if raw is None else {"data": _raw(raw)}
            return Tensor(proto.name, shape, layout, parts)
        storage, logical, number = _TYPES[proto.kind]
        nbytes = dtype_of(storage, logical).nbytes(element_count(shape))
        if proto.is_external:
            part = self._external(proto, storage, logical, nbytes)
        else:
            part = _inside_file(proto, storage, logical, number, nbytes)
        return Tensor(proto.name, shape, "dense", {"data": part})

    def _external(self, proto: _Proto, storage: str, logical: str | None, nbytes: int) -> Component:
        """Return elements in another file, in the model's folder or in one below it."""
        file = _below(proto.external.get("location", ""))
        offset = _number(proto.external.get("offset", "0"))
        length = _number(proto.external.get("length", str(nbytes)))
        if length != nbytes:
            reject(f"the elements take {nbytes} bytes, not {length}")
        name = file.replace("/", ":")  # what has a slash is a shard of one of several files
        known = self._shards.get(name)
        size = max(offset + length, 0 if known is None else known.size)
        self._shards[name] = Shard(size, "", file, is_bare=True)
        return Component(storage, offset, length, logical, shard=name)

    def _sparse(self, message: Field) -> Tensor:
        protos: dict[int, _Proto] = {}
        dims: list[int] = []
        for each in self._inside(message):
            if each.number in (_VALUES, _INDICES):
                protos[each.number] = self._proto(each)
            elif each.number == _SPARSE_DIMS:
                dims += self._integers(each)
        if protos.keys() != {_VALUES, _INDICES}:
            reject("a sparse tensor has no values, or no indices")
        name = protos[_VALUES].name
        parts = {
            role: self._tensor(proto).components["data"]
            for role, proto in (("values", protos[_VALUES]), ("indices", protos[_INDICES]))
            if proto.kind in _TYPES
        }
        return Tensor(name, _shape(dims), SPARSE, parts)


def _shape(dims: list[int]) -> tuple[int, ...]:
    if len(dims) > MAX_RANK:
        reject(f"a tensor has more than {MAX_RANK} dimensions")
    if any(size >> 63 for size in dims):
        reject("a dimension is negative")
    shape = tuple(dims)
    element_count(shape)
    return shape


def _raw(span: Field) -> Component:
    return Component("u8", span.start, span.stop - span.start)


def _inside_file(
    proto: _Proto, storage: str, logical: str | None, number: int, nbytes: int
) -> Component:
    """Return elements that are in the model's own file."""
    if _SEGMENT in proto.spans:
        raise UnsupportedError("it is cut into segments; load and save the model with onnx")
    found = [each for each in (_RAW, *_ELEMENTS) if each in proto.spans]
    if not found and not nbytes:
        return Component(storage, 0, 0, logical)
    if found not in ([_RAW], [number]):
        reject("its elements are not there, or not where its type has them")
    span = proto.spans[found[0]]
    length = span.stop - span.start
    if found == [_RAW] or number in (_FLOATS, _DOUBLES):
        if length != nbytes:
            reject(f"the elements take {nbytes} bytes, not {length}")
        return Component(storage, span.start, length, logical)
    part = Component(storage, span.start, length, logical, VARINTS, decoded_length=nbytes)
    check_expansion(part, nbytes, "the tensor")
    return part


def _below(path: str) -> str:
    """Return a path in the model's folder, as a file that is no model's may have written it.

    Raises
    ------
    FormatError
        It leaves the folder, or could be taken for a URL.
    """
    steps = [step for step in path.split("/") if step != "."]
    is_odd = any(not char.isprintable() or char in "\\:?#%*" for char in path)
    if path.startswith("/") or is_odd or not steps or any(step in ("", "..") for step in steps):
        reject(f"the external data {shown(path)} is at no place in the model's folder")
    return "/".join(steps)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        reject(f"{shown(text)} is no number of bytes")
    return int(text)


def reject(message: str) -> NoReturn:
    """Raise FormatError."""
    raise FormatError(f"not a valid ONNX file: {message}", rule="ONNX")
