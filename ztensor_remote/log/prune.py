"""Drop steps, and the blobs that no step needs any more."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from ..errors import InvalidInputError, NotFoundError
from ..reader import open_file
from ..stores import Entry, Folder, run_all
from .names import data_name, root_name, step_of_data, steps_among

_ABANDONED = 24 * 3600
"""Seconds after which blobs that no step refers to are not those of a step being written."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What pruning did.

    Attributes
    ----------
    steps : tuple of int
        Steps that are gone.
    bytes : int
        Bytes that were freed.
    """

    steps: tuple[int, ...]
    bytes: int


def kept_steps(
    steps: Iterable[int], *, keep_last: int | None, keep_every: int | None
) -> frozenset[int]:
    """Return the steps that stay.

    Raises
    ------
    InvalidInputError
        Neither of the two, or one that is not positive.
    """
    if keep_last is None and keep_every is None:
        raise InvalidInputError("say what to keep: keep_last=, keep_every=, or both")
    if any(given is not None and given < 1 for given in (keep_last, keep_every)):
        raise InvalidInputError("keep_last= and keep_every= are 1 or more")
    ordered = sorted(steps)
    last = ordered[-keep_last:] if keep_last else []
    every = [step for step in ordered if keep_every and step % keep_every == 0]
    return frozenset([*last, *every])


def prune(folder: Folder, *, keep_last: int | None, keep_every: int | None) -> Pruned:
    """Delete the other steps' roots first, then the blobs that no root refers to.

    A writer that refers to an earlier step looks, once its own root is there, whether that step's
    root still is. If so, the listing after the deletions below has seen the new root.
    """
    entries = folder.entries()
    steps = steps_among(entries)
    gone = set(steps) - kept_steps(steps, keep_last=keep_last, keep_every=keep_every)
    roots = [root_name(step) for step in sorted(gone)]
    folder.delete(roots)
    after = folder.entries()
    unneeded = _unneeded(after, gone, needed=_needed(folder, after))
    folder.delete(unneeded)
    freed = sum(entries[name].size for name in roots) + sum(after[name].size for name in unneeded)
    return Pruned(tuple(sorted(gone)), freed)


def _needed(folder: Folder, entries: dict[str, Entry]) -> set[str]:
    """Return the files that the roots refer to."""
    steps = steps_among(entries)
    return set().union(*run_all([partial(_references, folder, step) for step in steps]))


def _references(folder: Folder, step: int) -> set[str]:
    try:
        opened = open_file(folder.location.child(root_name(step)))
    except NotFoundError:  # pruned by somebody else
        return set()
    opened.source.close()
    shards = opened.manifest.shards.items()
    return {shard.file or data_name(step, name) for name, shard in shards}


def _unneeded(entries: dict[str, Entry], gone: set[int], *, needed: set[str]) -> list[str]:
    """Return the blobs to delete; of steps that are not gone, only what was left behind."""
    now = time.time()
    return [
        entry.name
        for entry in entries.values()
        if (step := step_of_data(entry.name)) is not None
        and entry.name not in needed
        and (step in gone or (entry.modified or now) < now - _ABANDONED)
    ]
