"""What a peer is."""

from __future__ import annotations

from typing import Any, ClassVar

from ..job import KEY, REGION, SECRET, Action, Array, Job

PART = 8 << 20
STREAMS = 4


class Peer:
    """A way to write tensors.

    Attributes
    ----------
    actions
        What it can do.
    is_file
        Whether it writes a file of tensors; others write their bytes alone.
    """

    actions: ClassVar[frozenset[Action]] = frozenset(("upload",))
    is_file: ClassVar[bool] = False

    def __init__(self, job: Job) -> None:
        self.job = job
        self.payload: Array = job.payload()
        self.view = memoryview(self.payload)

    def connect(self) -> None:
        """Import libraries and make a client."""

    def prepare(self, round: str) -> None:
        """Do what comes before a measurement."""

    def run(self) -> None:
        """Write."""
        getattr(self, self.job.action)()

    def upload(self) -> None:
        """Write a whole object."""
        raise NotImplementedError

    @property
    def s3fs_options(self) -> dict[str, Any]:
        """What s3fs takes."""
        return {
            "key": KEY,
            "secret": SECRET,
            "endpoint_url": self.job.url,
            "client_kwargs": {"region_name": REGION},
        }


def parts_of(view: memoryview) -> list[tuple[int, memoryview]]:
    """Cut memory into parts, with their numbers from 1."""
    starts = range(0, len(view), PART)
    return [(number, view[start : start + PART]) for number, start in enumerate(starts, 1)]
