"""Range I/O and uploads on any fsspec filesystem. The only package that imports fsspec.

Nothing here knows what the bytes mean.
"""

from .execute import fetch, run_all
from .limits import Limits
from .location import Location, locate
from .open import open_sink, open_source
from .plan import Runs
from .sink import Sink
from .source import Identity, Source, Stats
from .upload_generic import MemorySink

__all__ = [
    "Identity",
    "Limits",
    "Location",
    "MemorySink",
    "Runs",
    "Sink",
    "Source",
    "Stats",
    "fetch",
    "locate",
    "open_sink",
    "open_source",
    "run_all",
]
