"""The rules between the numbers of a manifest and the size of its file (SPEC.md §11)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NoReturn

from ..container import Footer, Generation
from ..errors import FormatError, UnsupportedError
from .dtypes import storage_width
from .fields import element_count, reject, shown
from .model import DEFLATE, LATIN_1, VARINTS, ZSTD, ZSTD_SEEKABLE, Component, Manifest, Tensor

_ZSTD_BLOCK = 128 * 1024
"""Most that one zstd block decodes to (RFC 8878 §3.1.1.2.4); the smallest takes 4 bytes."""

_DEFLATED = 1032
"""Most bytes that one byte of deflate decodes to: a match of 258 bytes takes two bits."""

_ALIGNMENT_1 = 64
_ALIGNMENT_2 = 4096


def check_manifest(manifest: Manifest, footer: Footer, size: int) -> None:
    """Check all that the format wants true before any blob is read.

    Parameters
    ----------
    manifest : Manifest
    footer : Footer
        Of the same file.
    size : int
        Of the file, in bytes.

    Raises
    ------
    FormatError
    """
    if footer.generation is Generation.V2:
        _check_2(manifest, footer, size)
    else:
        _check_1(manifest, footer)


def _check_1(manifest: Manifest, footer: Footer) -> None:
    for tensor, role, part in _parts(manifest):
        if not part.length:
            continue  # no byte of it is read, wherever it claims to be
        if part.offset < _ALIGNMENT_1 or part.offset + part.length > footer.manifest_offset:
            _reject_part(tensor, role, f"{_range(part)}, the data ends at {footer.manifest_offset}")
        if footer.generation is Generation.V0_1:
            check_alignment(part)


def check_alignment(part: Component) -> None:
    """Check that a blob of version 0.1 or 1.x begins where writers put blobs.

    In 1.x that is no condition for opening the file.

    Raises
    ------
    FormatError
    """
    if part.length and part.offset % _ALIGNMENT_1:
        reject(f"the offset {part.offset} is misaligned", rule="BlobAlignment")


def _check_2(manifest: Manifest, footer: Footer, size: int) -> None:
    own_end = size - footer.generation.footer_size
    used: dict[str | None, set[tuple[int, int]]] = {
        None: {(footer.manifest_offset, footer.manifest_length)}
    }
    for tensor, role, part in _parts(manifest):
        if part.offset % _ALIGNMENT_2 or part.offset < _ALIGNMENT_2:
            _reject_part(tensor, role, f"{_range(part)}, misaligned", rule="BlobAlignment")
        end = own_end if part.shard is None else _shard_end(manifest, tensor, role, part.shard)
        if part.offset + part.length > end:
            _reject_part(tensor, role, f"{_range(part)}, the data ends at {end}")
        if part.length:
            used.setdefault(part.shard, set()).add((part.offset, part.length))
    for tensor in manifest.tensors.values():
        if tensor.format in ("dense", "zt.sparse_csr/1"):
            check_layout(tensor)
    for shard, ranges in used.items():
        _check_disjoint(sorted(ranges), "this file" if shard is None else f"shard {shard!r}")


def _parts(manifest: Manifest) -> Iterable[tuple[Tensor, str, Component]]:
    for tensor in manifest.tensors.values():
        for role, part in tensor.components.items():
            yield tensor, role, part


def _range(part: Component) -> str:
    return f"{part.length} bytes at {part.offset}"


def _reject_part(tensor: Tensor, role: str, message: str, *, rule: str = "BlobBounds") -> NoReturn:
    raise FormatError(message, rule=rule, tensor=tensor.name, component=role)


def _shard_end(manifest: Manifest, tensor: Tensor, role: str, name: str) -> int:
    shard = manifest.shards.get(name)
    if shard is None:
        _reject_part(tensor, role, f"shard {shown(name)} is not in the table", rule="ShardRef")
    return shard.size - Generation.V2.footer_size


def _check_disjoint(ranges: list[tuple[int, int]], where: str) -> None:
    for (offset, length), (following, _) in pairwise(ranges):
        if offset + length > following:
            reject(
                f"blobs at {offset} and {following} in {where} partly overlap", rule="BlobOverlap"
            )


def check_layout(tensor: Tensor, *, exact: bool = True) -> None:
    """Check that the components of a tensor are those of its layout, in the sizes it needs.

    Sizes that the manifest does not state (zstd before 1.2) are left to the decoder.

    Parameters
    ----------
    tensor : Tensor
    exact : bool
        Whether it may have no other components; readers of 0.1 and 1.x ignore them.

    Raises
    ------
    FormatError
    """
    check = _LAYOUT_RULES.get(tensor.layout)
    if check is None:
        return
    try:
        check(tensor, exact)
    except FormatError as error:
        raise error.at(tensor=tensor.name) from None


def _check_dense(tensor: Tensor, exact: bool) -> None:
    _expect_roles(tensor, exact, "data")
    part = tensor.components["data"]
    try:
        element = part.element
    except UnsupportedError:
        return  # the size function of an unknown type is unknown too
    element_count(tensor.shape)
    needed, stated = element.nbytes(tensor.stored_count), part.stated_length
    if stated is not None and stated != needed:
        reject(
            f"{tensor.shape} of {element.name} needs {needed} bytes, the manifest has {stated}",
            rule="DenseSize",
        )


def _check_csr(tensor: Tensor, exact: bool) -> None:
    if tensor.format == "sparsecsr":  # 0.1 puts everything in one blob
        return _expect_roles(tensor, exact, "data")
    _expect_roles(tensor, exact, "values", "indices", "indptr")
    if len(tensor.shape) != 2:
        reject(f"CSR needs two dimensions, not {tensor.shape}", rule="LayoutRule")
    _expect_indices(tensor, "indices", "indptr")
    _expect_count(tensor, "indptr", tensor.shape[0] + 1)
    nnz = _index_count(tensor, "indices", 1)
    if nnz is not None:
        _expect_count(tensor, "values", nnz)


def _check_coo(tensor: Tensor, exact: bool) -> None:
    if not tensor.shape:
        reject("a COO tensor needs a dimension", rule="LayoutRule")
    if tensor.format == "sparsecoo":  # 0.1 interleaves everything in one blob
        return _expect_roles(tensor, exact, "data")
    _expect_roles(tensor, exact, "values", "coords")
    _expect_indices(tensor, "coords")
    nnz = _index_count(tensor, "coords", len(tensor.shape))
    if nnz is not None:
        _expect_count(tensor, "values", nnz)


_LAYOUT_RULES = {"dense": _check_dense, "sparse_csr": _check_csr, "sparse_coo": _check_coo}


def _expect_roles(tensor: Tensor, exact: bool, *roles: str) -> None:
    found = tensor.components.keys()
    if found != set(roles) and (exact or not found >= set(roles)):
        reject(
            f"layout {tensor.format!r} has the components {', '.join(roles)}, "
            f"not {', '.join(map(shown, found)) or 'none'}",
            rule="LayoutRule",
        )


def _expect_indices(tensor: Tensor, *roles: str) -> None:
    """Check index dtypes: version 2 has u32 and u64, alike in all roles, 1.x any integers."""
    parts = [tensor.components[role] for role in roles]
    if tensor.format.startswith("zt."):
        allowed = all(part.dtype in ("u32", "u64") for part in parts)
        allowed = allowed and len({part.dtype for part in parts}) == 1
    else:
        allowed = all(part.dtype[0] in "iu" for part in parts)
    if not allowed or any(part.logical is not None for part in parts):
        dtypes = ", ".join(part.dtype for part in parts)
        reject(f"{' and '.join(roles)} must be plain integers, not {dtypes}", rule="LayoutRule")


def _index_count(tensor: Tensor, role: str, dimensions: int) -> int | None:
    part = tensor.components[role]
    stated = part.stated_length
    if stated is None:
        return None
    count, rest = divmod(stated, storage_width(part.dtype) * dimensions)
    if rest:
        reject(f"{role!r}: {stated} bytes are no whole indices", rule="LayoutRule")
    return count


def _expect_count(tensor: Tensor, role: str, count: int) -> None:
    part = tensor.components[role]
    try:
        needed = part.element.nbytes(count)
    except UnsupportedError:
        return
    stated = part.stated_length
    if stated is not None and stated != needed:
        reject(
            f"{role!r}: {count} elements need {needed} bytes, the manifest has {stated}",
            rule="LayoutRule",
        )


def check_whole(part: Component) -> None:
    """Refuse bytes of big-endian elements that are no whole ones, and can't be swapped.

    Raises
    ------
    FormatError
    """
    if part.is_raw and part.big_endian and part.length % storage_width(part.dtype):
        reject(f"{part.length} bytes are no whole big-endian elements", rule="LayoutRule")


def check_expansion(part: Component, decoded: int, what: str) -> None:
    """Refuse a decoded size that no stream of this encoding and length could produce."""
    if part.encoding == DEFLATE:
        most = _DEFLATED * part.length - part.skipped
    elif part.encoding == LATIN_1:
        most = part.length
    elif part.encoding == VARINTS:
        most = storage_width(part.dtype) * part.length
    elif part.encoding in (ZSTD, ZSTD_SEEKABLE):
        most = _ZSTD_BLOCK * (part.length // 4 + 1)
    else:
        return
    if decoded > most:
        reject(
            f"{what} states {decoded} decoded bytes; {part.length} stored bytes can't hold them",
            rule="DecodedLength",
        )
