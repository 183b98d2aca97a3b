"""Tensors of PyTorch: views of storages, which lie outside of the pickle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import UnsupportedError
from ...manifest.dtypes import BY_NAME, COMPLEX32, DType
from ...manifest.fields import c_strides, element_count, shown
from .arrays import checked_sizes
from .stream import reject
from .values import Dict, Named, as_text, kind, refuse

_BYTE = BY_NAME["uint8"]

_OF_STORAGES = {
    "Double": BY_NAME["float64"],
    "Float": BY_NAME["float32"],
    "Half": BY_NAME["float16"],
    "BFloat16": BY_NAME["bfloat16"],
    "Long": BY_NAME["int64"],
    "Int": BY_NAME["int32"],
    "Short": BY_NAME["int16"],
    "Char": BY_NAME["int8"],
    "Byte": _BYTE,
    "Bool": BY_NAME["bool"],
    "ComplexFloat": BY_NAME["complex64"],
    "ComplexDouble": BY_NAME["complex128"],
}

_PAIRS_OF_F4 = "float4_e2m1fn_x2"
_OF_DTYPES = {
    **{name: dtype for name, dtype in BY_NAME.items() if not dtype.is_packed},
    _PAIRS_OF_F4: BY_NAME["float4_e2m1fn"],
    COMPLEX32.name: COMPLEX32,
}


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """What the pickle says of a storage.

    Attributes
    ----------
    key : str
        Under which its bytes are found.
    element : DType
    nbytes : int
        Of it.
    start : int
        Bytes before it, where it is a part of what lies under the key.
    whole : int
        All bytes that lie under the key.
    """

    key: str
    element: DType
    nbytes: int
    start: int
    whole: int


@dataclass(frozen=True, slots=True, eq=False)
class Strided:
    """A tensor that is a view of a storage.

    Attributes
    ----------
    storage : Storage
    element : DType
    offset : int
        Bytes of the storage before its first element.
    shape, strides : tuple of int
        In elements.
    """

    storage: Storage
    element: DType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes from its first to its last element."""
        if 0 in self.shape:
            return 0
        steps = zip(self.shape, self.strides, strict=True)
        return self.element.nbytes(1 + sum((size - 1) * by for size, by in steps))

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie one after another, in C order."""
        each = zip(self.shape, self.strides, c_strides(self.shape), strict=True)
        return 0 in self.shape or all(size == 1 or by == plain for size, by, plain in each)


@dataclass(frozen=True, slots=True, eq=False)
class Sparse:
    """A sparse tensor.

    Attributes
    ----------
    layout : {"sparse_coo", "sparse_csr"}
    shape : tuple of int
    parts : mapping of str to Strided
        By the roles that a manifest has for them.
    """

    layout: str
    shape: tuple[int, ...]
    parts: dict[str, Strided]


def storage_of(identity: Any) -> Storage:
    """Return the storage that a persistent id stands for.

    Raises
    ------
    UnsupportedError
        It stands for something else.
    """
    match identity:
        case (what, Named(value=DType() as element), key, _, int() as count, *view):
            if as_text(what) != "storage":
                refuse(f"a persistent id of the kind {as_text(what) or kind(what)}")
            start, part = _view(view, count)
            width = element.bits // 8
            return Storage(_key(key), element, part * width, start * width, count * width)
        case (what, *_):
            refuse(f"a persistent id of the kind {as_text(what) or kind(what)}")
    refuse(f"a persistent id that is a {kind(identity)}")


def _view(view: list[Any], count: int) -> tuple[int, int]:
    """Return which elements are meant; files of old versions of PyTorch have parts of storages."""
    if not 0 <= count < 1 << 62:
        reject("a storage has an impossible size")
    match view:
        case [] | [None]:
            return 0, count
        case [(_, int() as start, int() as part)] if 0 <= start <= start + part <= count:
            return start, part
    reject("a view of a storage lies outside of it")


def _key(key: Any) -> str:
    text = as_text(key)
    if text is None:
        reject("the key of a storage is no text")
    return text


# --- what makes tensors ---------------------------------------------------------------------------


def _tensor(arguments: tuple[Any, ...]) -> Strided:
    """``torch._utils._rebuild_tensor`` and ``_rebuild_tensor_v2``."""
    match arguments:
        case (Storage() as storage, offset, shape, strides, *rest):
            _check_metadata(rest[2:])
            return _strided(storage, storage.element, offset, shape, strides)
    reject("a tensor is made of something else than a storage, an offset, a shape and strides")


def _tensor_with_dtype(arguments: tuple[Any, ...]) -> Strided:
    """``torch._utils._rebuild_tensor_v3``."""
    match arguments:
        case (Storage() as storage, offset, shape, strides, _, _, Named() as dtype, *rest):
            _check_metadata(rest)
            element = _OF_DTYPES.get(dtype.name.removeprefix("torch."))
            if element is None:
                refuse(f"a tensor of {dtype.name}")
            return _strided(storage, element, offset, shape, strides)
    reject("a tensor is made of something else than a storage, an offset, a shape and strides")


def _check_metadata(metadata: list[Any]) -> None:
    """Refuse bits that change what the stored elements mean."""
    for each in metadata:
        for key, value in each.pairs if isinstance(each, Dict) else ():
            if value is not False and value is not None:
                raise UnsupportedError(
                    f"a tensor is stored with its {shown(as_text(key) or kind(key))} bit set; call "
                    ".resolve_conj() and .resolve_neg() before it is saved"
                )


def _strided(storage: Storage, element: DType, offset: Any, shape: Any, strides: Any) -> Strided:
    sizes = checked_sizes(shape, "the shape of a tensor")
    steps = checked_sizes(strides, "the strides of a tensor")
    element_count(sizes)
    if len(sizes) != len(steps) or type(offset) is not int or offset < 0:
        reject("the shape, the strides and the offset of a tensor don't fit together")
    if element.is_packed:
        # What PyTorch counts is bytes, each with two elements.
        plain = Strided(storage, _BYTE, offset, sizes, steps)
        if not sizes or not plain.is_contiguous:
            raise UnsupportedError(f"a tensor of {element.name} is not contiguous")
        sizes = (*sizes[:-1], 2 * sizes[-1])
        made = Strided(storage, element, offset, sizes, c_strides(sizes))
    else:
        made = Strided(storage, element, offset * element.bits // 8, sizes, steps)
    if made.nbytes and made.offset + made.nbytes > storage.nbytes:
        reject(
            f"a tensor has {made.nbytes} bytes at {made.offset} of the storage "
            f"{shown(storage.key)}, which has {storage.nbytes}"
        )
    return made


def _sparse(arguments: tuple[Any, ...]) -> Sparse:
    match arguments:
        case (layout, (Strided() as indices, Strided() as values, shape, *_)) if (
            as_text(layout) == "torch.sparse_coo"
        ):
            return _sparse_of("sparse_coo", shape, {"coords": indices, "values": values})
        case (layout, (Strided() as rows, Strided() as columns, Strided() as values, shape)) if (
            as_text(layout) == "torch.sparse_csr"
        ):
            parts = {"indptr": rows, "indices": columns, "values": values}
            return _sparse_of("sparse_csr", shape, parts)
        case (layout, *_) if as_text(layout):
            refuse(f"a tensor of the layout {as_text(layout)}")
    reject("a sparse tensor is made of something else than a layout and its parts")


def _sparse_of(layout: str, shape: Any, parts: dict[str, Strided]) -> Sparse:
    sizes = checked_sizes(shape, "the shape of a sparse tensor")
    is_plain = len(parts["values"].shape) == 1 and all(
        part.is_contiguous and not part.element.is_packed for part in parts.values()
    )
    if not is_plain or (layout == "sparse_csr" and len(sizes) != 2) or not sizes:
        raise UnsupportedError(
            f"a {layout} tensor with dense or batched dimensions, or with parts that are not "
            "contiguous, can't be read; save .coalesce() or .to_dense() of it"
        )
    return Sparse(layout, sizes, parts)


def _parameter(arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case (Strided() | Sparse() as data, *_):
            return data
    reject("a parameter is made of something else than a tensor")


def _of_type(arguments: tuple[Any, ...]) -> Any:
    """``torch._tensor._rebuild_from_type_v2``: a call, a class, arguments, a state."""
    match arguments:
        case (Named(name=name) as made, Named(name=cls), tuple() as rest, *_):
            if cls not in _CLASSES or made.call is None or not name.startswith("torch._utils."):
                refuse(f"{cls} made by {name}")
            return made.call(rest)
    reject("a tensor is made of something else than a call, a class and arguments")


def _size(arguments: tuple[Any, ...]) -> list[Any]:
    match arguments:
        case (tuple() | list() as sizes,):
            return list(checked_sizes(sizes, "a torch.Size"))
    reject("a torch.Size is made of something else than sizes")


def _device(arguments: tuple[Any, ...]) -> str:
    match arguments:
        case (name,) if (text := as_text(name)) is not None:
            return text
        case (name, int() as index) if (text := as_text(name)) and 0 <= index < 1 << 32:
            return f"{text}:{index}"
    reject("a torch.device is made of something else than its name")


def _layout(arguments: tuple[Any, ...]) -> str:
    match arguments:
        case (name,) if (text := as_text(name)) is not None:
            return text
    reject("a layout is no text")


_CLASSES = ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")

TENSOR_NAMES = {
    named.name: named
    for named in (
        Named("torch._utils._rebuild_tensor", _tensor),
        Named("torch._utils._rebuild_tensor_v2", _tensor),
        Named("torch._utils._rebuild_tensor_v3", _tensor_with_dtype),
        Named("torch._utils._rebuild_parameter", _parameter),
        Named("torch._utils._rebuild_parameter_with_state", _parameter),
        Named("torch._utils._rebuild_sparse_tensor", _sparse),
        Named("torch._utils._rebuild_sparse_csr_tensor", _sparse),
        Named("torch._tensor._rebuild_from_type_v2", _of_type),
        Named("torch.Size", _size),
        Named("torch.device", _device),
        Named("torch.serialization._get_layout", _layout),
        *(Named(cls) for cls in _CLASSES),
        Named("torch.storage.UntypedStorage", value=_BYTE),
        Named("torch.UntypedStorage", value=_BYTE),
        *(Named(f"torch.{name}Storage", value=element) for name, element in _OF_STORAGES.items()),
        *(Named(f"torch.{name}") for name in _OF_DTYPES),
    )
}
