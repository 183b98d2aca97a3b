"""Several objects that are read as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .local import BytesSource
from .location import Location
from .source import Identity, Stats


@dataclass(frozen=True)
class Gathering:
    """Where the files of one model lie.

    Attributes
    ----------
    url : str
        Of them all, as it may be shown.
    files : mapping of str to Location
        By names that tell them apart.
    indexes : sequence of Location
        What names them.
    """

    url: str
    files: Mapping[str, Location]
    indexes: Sequence[Location] = ()


class GatheredSource(BytesSource):
    """What stands for several objects as a whole: it has no bytes of its own.

    Parameters
    ----------
    url : str
    files : mapping of str to Identity
        The versions that were opened.
    stats : Stats
        What it cost to find them.
    """

    def __init__(self, url: str, files: Mapping[str, Identity], stats: Stats) -> None:
        super().__init__(b"")
        self.url = url
        self.identity = Identity.of_files(files)
        self.stats = stats
