"""What killed writers have left in a store: it is not visible as an object, but it costs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from ..errors import NotFoundError
from .event_loop import run
from .failures import by_client, guarded, retried
from .folder import entry_of
from .location import Location

_SUFFIX = ".zt"
_CHECKSUMS = (None, "CRC32C")
_PROBE = re.compile(r"\.ztensor-probe-[0-9a-f]{16}")
_TEMPORARY = re.compile(
    rf"\..+\.[0-9a-f]{{12}}\.tmp|.+\.[0-9a-f]{{32}}\.ztensor-tail|{_PROBE.pattern}"
)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload or a temporary file that nobody finished.

    Attributes
    ----------
    url : str
        Of the object that was to be, or of the temporary file.
    kind : {"multipart upload", "temporary file"}
    begun : float or None
        Seconds since the epoch, where the store tells.
    discard : callable
        Removes it.
    """

    url: str
    kind: str
    begun: float | None
    discard: Callable[[], object] = field(repr=False, compare=False)


def find_unfinished(location: Location) -> list[Unfinished]:
    """Return what writers have left at a place: an object, or a folder with all below it.

    S3 does not tell who began an upload, and lists none of its metadata: those count whose object
    was to be the one that is named, or one that ends in .zt, but for those with checksums of
    another kind than ours. Temporary files and probes are known by the names that we give them.
    Azure drops what was not committed by itself.

    Parameters
    ----------
    location : Location

    Raises
    ------
    StoreError
    """

    def look() -> list[Unfinished]:
        fs, path = location.resolve()
        return by_client(fs, lambda: list(_find(fs, path)))

    return retried(look, url=location.url, doing="look for what was left unfinished")


def _find(fs: Any, path: str) -> Iterator[Unfinished]:
    if any(base.__name__ == "S3FileSystem" for base in type(fs).__mro__):
        yield from _uploads(fs, path)
    yield from _files(fs, path)


def _uploads(fs: Any, path: str) -> Iterator[Unfinished]:
    bucket, key, _ = fs.split_path(path)
    marker: dict[str, str] = {}
    while True:
        call = partial(fs._call_s3, "list_multipart_uploads", Bucket=bucket, Prefix=key, **marker)
        answer = run(fs, call)
        for upload in answer.get("Uploads", []):
            if _belongs(upload["Key"], key) and upload.get("ChecksumAlgorithm") in _CHECKSUMS:
                named = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                abort = partial(fs._call_s3, "abort_multipart_upload", Bucket=bucket, **named)
                yield Unfinished(
                    f"s3://{bucket}/{upload['Key']}",
                    "multipart upload",
                    _seconds(upload.get("Initiated")),
                    partial(by_client, fs, partial(run, fs, abort)),
                )
        if not answer.get("IsTruncated"):
            return
        marker = {
            "KeyMarker": answer["NextKeyMarker"],
            "UploadIdMarker": answer["NextUploadIdMarker"],
        }


def _belongs(key: str, wanted: str) -> bool:
    if key == wanted:
        return True
    inside = not wanted or key.startswith(wanted.rstrip("/") + "/")
    is_probe = _PROBE.fullmatch(key.rpartition("/")[2])
    return inside and (key.endswith(_SUFFIX) or is_probe is not None)


def _files(fs: Any, path: str) -> Iterator[Unfinished]:
    fs.invalidate_cache()
    is_folder = fs.isdir(path)
    stem = path.rstrip("/").rpartition("/")[2]
    for found, info in fs.find(path if is_folder else fs._parent(path), detail=True).items():
        name = found.rpartition("/")[2]
        if _TEMPORARY.fullmatch(name) and (is_folder or name.lstrip(".").startswith(f"{stem}.")):
            yield Unfinished(
                fs.unstrip_protocol(found),
                "temporary file",
                entry_of(info).modified,
                partial(by_client, fs, partial(fs.rm_file, found)),
            )


def _seconds(value: Any) -> float | None:
    return value.timestamp() if isinstance(value, datetime) else None


def discard(unfinished: Unfinished) -> None:
    """Abort an upload, or remove a temporary file; one that is gone does not matter.

    Raises
    ------
    StoreError
    """
    with suppress(NotFoundError):
        guarded(unfinished.discard, url=unfinished.url, doing=f"drop a {unfinished.kind}")
