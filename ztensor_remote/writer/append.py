"""Add tensors to a file that is already there."""

from __future__ import annotations

from typing import Any

from ..container import Generation, alignment_of
from ..errors import UnsupportedError
from ..manifest import Manifest
from ..reader import Opened, open_file
from ..stores import locate, open_sink
from ..types import StorageOptions
from .assembly import DEFAULT, Assembly, Options
from .rules import Checksum, Rules, rules_of
from .stream import Writer


def append(
    location: Any,
    *,
    storage_options: StorageOptions | None = None,
    fs: Any = None,
    compress: bool | int = False,
    checksum: Checksum | str | None = DEFAULT,
) -> Writer:
    """Open a file to add tensors; the old ones stay, and the new ones appear all at once.

    The new blobs, a whole manifest and a footer follow the old end of the file (SPEC.md §13.2).
    On S3 the old bytes are copied inside the store; elsewhere they pass through this process.

    Parameters
    ----------
    location, storage_options, fs
        As for `open`.
    compress, checksum
        As for `Writer`, for the tensors that are added.

    Returns
    -------
    Writer

    Raises
    ------
    UnsupportedError
        A version-0.1 file: convert it first.
    FormatError, StoreError
    """
    place = locate(location, storage_options=storage_options, fs=fs)
    opened = open_file(place)
    try:
        rules = _rules_for(opened)
        sink = open_sink(place, base=opened.source)
    finally:
        opened.source.close()
    file = Assembly(
        sink,
        rules,
        Options(compress, checksum),
        base=opened.manifest,
        offset=opened.source.identity.size,
    )
    return Writer._continuing(file)


def _rules_for(opened: Opened) -> Rules:
    manifest = opened.manifest
    if manifest.version == "0.1" or manifest.is_data_shard:
        what = "a data shard" if manifest.is_data_shard else "version 0.1"
        raise UnsupportedError(f"{what} can't be appended to; write a new file from it")
    rules = rules_of("1.2" if manifest.version == "1.1" else manifest.version)
    if rules.generation is not Generation.V2:
        return rules
    return rules.aligned(_observed_alignment(manifest, opened.footer.manifest_offset))


def _observed_alignment(manifest: Manifest, manifest_offset: int) -> int:
    offsets = [
        part.offset
        for tensor in manifest.tensors.values()
        for part in tensor.components.values()
        if part.shard is None
    ]
    return alignment_of([*offsets, manifest_offset], floor=4096, ceiling=65536)
