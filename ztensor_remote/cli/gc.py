"""``ztensor gc``: remove what killed writers have left in a store."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import StorageOption, StorageOptionsFile, storage_options

if TYPE_CHECKING:
    from ..stores import Unfinished


def gc(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="A folder and all below it, or one file.")
    ],
    older_than: Annotated[
        float, typer.Option(metavar="HOURS", min=0, help="Only what was begun so long ago.")
    ] = 24.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List, and remove nothing.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON (schema ztensor-gc/1) and nothing else.")
    ] = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
) -> None:
    """Abort uploads, and remove temporary files, that nobody will finish.

    In S3 an unfinished upload costs money until it is aborted. Those count whose file is URL, or
    lies below it and ends in .zt, but for those with checksums of another kind than ours; give
    --older-than more hours than a writer may take.
    """
    from ..stores import discard, find_unfinished, locate
    from .render import print_json, print_line

    options = storage_options(storage_option, storage_options_file)
    latest = time.time() - older_than * 3600
    found = find_unfinished(locate(url, storage_options=options))
    old = [each for each in found if _is_old(each, latest)]
    if not dry_run:
        for each in old:
            discard(each)
    if as_json:
        print_json(
            {
                "schema": "ztensor-gc/1",
                "unfinished": [_described(each, each in old and not dry_run) for each in found],
            }
        )
        return
    for each in found:
        what = "removed" if each in old and not dry_run else "found" if each in old else "too young"
        print_line(f"{what}: {each.kind} {each.url}, begun {_time(each.begun) or 'at some time'}")
    if not found:
        print_line("nothing is unfinished there")


def _is_old(each: Unfinished, latest: float) -> bool:
    return each.begun is not None and each.begun <= latest


def _described(each: Unfinished, removed: bool) -> dict[str, Any]:
    return {"url": each.url, "kind": each.kind, "begun": _time(each.begun), "removed": removed}


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
