"""What each version that we write wants: placement, spellings, defaults, refusals (SPEC.md §12)."""

from __future__ import annotations

import operator
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..container import Generation
from ..errors import FormatError, InvalidInputError, UnsupportedError
from ..manifest import ZSTD, ZSTD_SEEKABLE, Component, Tensor, is_misnamed
from ..manifest.cbor import encode
from ..manifest.dtypes import BY_LOGICAL, DType
from ..manifest.schema_1_0 import check_storable
from ..manifest.schema_2 import check_name
from ..manifest.validate import check_layout

WritableVersion = Literal["1.0", "1.2", "2"]
Checksum = Literal["crc32c", "sha256", "xxh3"]

_TENSOR_DEPTH = 3
_FILE_DEPTH = 1


@dataclass(frozen=True, slots=True)
class Rules:
    """One version, from the writer's side.

    Attributes
    ----------
    version : {"1.0", "1.2", "2"}
    generation : Generation
    alignment : int
        Of each blob, in bytes.
    checksums : tuple of str
        Algorithms a published reader understands, the default first.
    zstd : str
        Name of the zstd encoding.
    csr, coo, quantized : str
        Layout ids.
    """

    version: WritableVersion
    generation: Generation
    alignment: int
    checksums: tuple[Checksum, ...]
    zstd: str
    csr: str = "sparse_csr"
    coo: str = "sparse_coo"
    quantized: str = "quantized_group"

    @property
    def digests_cover_decoded(self) -> bool:
        """Whether a digest is over the bytes before or after encoding."""
        return self.version == "2"

    def aligned(self, alignment: int) -> Rules:
        """Return the same rules with another placement."""
        return replace(self, alignment=alignment)

    def storage(self, element: DType) -> tuple[str, str | None]:
        """Return storage type and logical type of an element type."""
        if self.version == "2" and element.name == "bool":
            element = BY_LOGICAL["bool"]
        return element.storage, element.logical

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        layout: str,
        parts: Mapping[str, Component],
        attributes: Mapping[str, Any] | None,
    ) -> Tensor:
        """Return a tensor as a file of this version says it."""
        misnamed = is_misnamed(layout, self.version)
        return Tensor(name, shape, layout, parts, attributes, is_misnamed=misnamed)

    def check_checksum(self, checksum: Checksum | None) -> None:
        """Refuse an algorithm that readers of this version don't know."""
        if checksum is not None and checksum not in self.checksums:
            raise InvalidInputError(
                f"version {self.version} has no {checksum!r} digests; use one of "
                f"{', '.join(self.checksums)}, or None"
            )

    def check_tensor(self, tensor: Tensor) -> None:
        """Refuse a tensor that the manifest has no form for, or whose parts don't fit together."""
        if self.version == "1.0":
            check_storable(tensor)
        try:
            check_layout(tensor)
        except FormatError as error:
            raise InvalidInputError(error.message) from None

    def check_attributes(self, attributes: Mapping[str, Any], *, of_tensor: bool) -> None:
        """Refuse attributes that a reader of this version would refuse.

        Raises
        ------
        InvalidInputError, UnsupportedError
        """
        if not isinstance(attributes, Mapping):
            raise InvalidInputError(f"attributes are a mapping, not {attributes!r}")
        for key, value in attributes.items():
            check_written_name(key, "an attribute")
            if self.version == "1.0" and not isinstance(value, str):
                raise UnsupportedError(
                    f"attribute {key!r}: version 1.0 stores text only; write version '1.2' or '2'"
                )
        depth = _TENSOR_DEPTH if of_tensor else _FILE_DEPTH
        try:
            encode(dict(attributes), sort_keys=True, depth=depth)
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"an attribute is no valid Unicode: {error}") from None


_RULES = {
    "1.0": Rules("1.0", Generation.V1_0, 64, ("crc32c",), ZSTD),
    "1.2": Rules("1.2", Generation.V1_1, 64, ("crc32c", "sha256"), ZSTD),
    "2": Rules(
        "2",
        Generation.V2,
        65536,
        ("xxh3", "sha256"),
        ZSTD_SEEKABLE,
        "zt.sparse_csr/1",
        "zt.sparse_coo/1",
        "zt.quant_group/1",
    ),
}


def rules_of(version: str) -> Rules:
    """Return the rules of a version that we write.

    Raises
    ------
    InvalidInputError
    """
    if version not in _RULES:
        raise InvalidInputError(
            f"version {version!r} can't be written; use one of {', '.join(_RULES)}"
        )
    return _RULES[version]


def check_written_name(name: Any, what: str) -> None:
    """Refuse a name that some reader would refuse (SPEC.md §9.5).

    Raises
    ------
    InvalidInputError
    """
    try:
        check_name(name)
    except (FormatError, UnicodeEncodeError) as error:
        raise InvalidInputError(f"{what} can't have this name: {error}") from None


def is_normal(name: str) -> bool:
    """Whether a name is in Unicode normalization form C, as canonical files want it."""
    return unicodedata.is_normalized("NFC", name)


def compression_level(compress: bool | int | None) -> int | None:
    """Return the zstd level, or None for raw.

    Raises
    ------
    InvalidInputError
    """
    if compress is None or compress is False:
        return None
    try:
        level = 3 if compress is True else operator.index(compress)
    except TypeError:
        level = 0
    if not 1 <= level <= 22:
        raise InvalidInputError(f"compress={compress!r}: use True, False or a level from 1 to 22")
    return level
