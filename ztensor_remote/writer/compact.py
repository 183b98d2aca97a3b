"""Write a file anew without the bytes that nothing in it refers to."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

from ..container import align_up
from ..manifest import Manifest, encode_manifest
from ..stores import BasedSink, CopyRefusedError, aborting, locate, open_rewrite
from ..types import StorageOptions
from .append import Base, open_base
from .assembly import write_ending
from .blob import Output
from .live import Run, live_runs, moved


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a file has shrunk by.

    Attributes
    ----------
    before, after : int
        Size of the file in bytes; the same where it had nothing to drop.
    """

    before: int
    after: int


def compact(
    location: Any, *, storage_options: StorageOptions | None = None, fs: Any = None
) -> Compaction:
    """Drop the manifests and blobs that earlier generations have left in a file.

    The tensors' bytes are copied as they are, in S3 inside the store where a run of them is 5 MiB
    or more, and the new file takes the place of the old one at once. A file that others refer to
    as their shard must stay as it is.

    Parameters
    ----------
    location, storage_options, fs
        As for `open`.

    Raises
    ------
    ConcurrentWriteError
        Another writer came first; nothing was changed.
    UnsupportedError, FormatError, StoreError
    """
    place = locate(location, storage_options=storage_options, fs=fs)
    base = open_base(place)
    with closing(base.source):
        runs = live_runs(base.manifest, base.rules.alignment)
        manifest = _moved(base, runs)
        size = _size(base, runs, manifest)
        if size >= base.size:
            return Compaction(base.size, base.size)
        try:
            _write(open_rewrite(place, base.source), base, runs, manifest)
        except CopyRefusedError:  # now that it is known not to copy inside
            _write(open_rewrite(place, base.source), base, runs, manifest)
        return Compaction(base.size, size)


def _moved(base: Base, runs: list[Run]) -> Manifest:
    tensors = {
        name: moved(tensor, runs, base.rules.alignment)
        for name, tensor in base.manifest.tensors.items()
    }
    return Manifest(
        base.rules.version,
        tensors,
        attributes=base.manifest.attributes,
        shards=base.manifest.shards,
    )


def _size(base: Base, runs: list[Run], manifest: Manifest) -> int:
    end = runs[-1].end if runs else 8
    if base.rules.version == "2":
        end = align_up(end, base.rules.alignment)
    return end + len(encode_manifest(manifest)) + base.rules.generation.footer_size


def _write(sink: BasedSink, base: Base, runs: list[Run], manifest: Manifest) -> None:
    output = Output(sink, 0)
    with aborting(sink):
        output.write(base.rules.generation.magic)
        for run in runs:
            output.write(bytes(run.target - output.offset))
            sink.copy(run.start, run.stop)
            output.offset = run.end
        write_ending(output, base.rules, manifest)
        output.commit()
