"""Range I/O and uploads on any fsspec filesystem. The only package that imports fsspec.

Nothing here knows what the bytes mean.
"""

from .budget import Budget
from .cache import Cache, cache_at
from .control import Control
from .execute import Fetch, run_all
from .folder import Entry, Folder, delete
from .gathered import GatheredSource, Gathering
from .guarantees import Guarantees, guarantees_of
from .landing import Landing
from .limits import Limits, limits_of
from .listing import is_pattern, matching, named, names_in, url_of_all
from .local import MappedSource, copy_out
from .location import Location, locate
from .open import open_append, open_rewrite, open_sink, open_source, prepare, reopen_source
from .plan import Offsets, Request, Runs
from .sink import (
    BasedSink,
    CopyingSink,
    CopyRefusedError,
    LendingSink,
    Sink,
    aborting,
    give_up,
)
from .source import End, Identity, Source, Stats
from .transfer import fetch, fetches_of, fill, forget, plan_for, transfer
from .unfinished import Unfinished, discard, find_unfinished
from .upload_generic import MemorySink

__all__ = [
    "BasedSink",
    "Budget",
    "Cache",
    "Control",
    "CopyRefusedError",
    "CopyingSink",
    "End",
    "Entry",
    "Fetch",
    "Folder",
    "GatheredSource",
    "Gathering",
    "Guarantees",
    "Identity",
    "Landing",
    "LendingSink",
    "Limits",
    "Location",
    "MappedSource",
    "MemorySink",
    "Offsets",
    "Request",
    "Runs",
    "Sink",
    "Source",
    "Stats",
    "Unfinished",
    "aborting",
    "cache_at",
    "copy_out",
    "delete",
    "discard",
    "fetch",
    "fetches_of",
    "fill",
    "find_unfinished",
    "forget",
    "give_up",
    "guarantees_of",
    "is_pattern",
    "limits_of",
    "locate",
    "matching",
    "named",
    "names_in",
    "open_append",
    "open_rewrite",
    "open_sink",
    "open_source",
    "plan_for",
    "prepare",
    "reopen_source",
    "run_all",
    "transfer",
    "url_of_all",
]
