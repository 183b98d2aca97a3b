"""What a peer is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ..datasets import Dataset
from ..job import Job, Task

Arrays = dict[str, Any]


class Peer:
    """A way to read tensors.

    Libraries are imported in methods, never at the top: what a cold process pays is a part of the
    measurement, and the list of peers must load where they are not installed.

    Attributes
    ----------
    packages
        What pip must install; empty for those that the project depends on anyway.
    actions
        What it can do.
    written_by
        The peer that writes the format which this one reads.
    decodes
        Whether it makes something of compressed data.
    keeps
        Whether what was read can be looked at.
    trusts
        Whether it can be told to trust the certificate of a server here.
    """

    packages: ClassVar[tuple[str, ...]] = ()
    actions: ClassVar[frozenset[str]] = frozenset()
    written_by: ClassVar[str] = "ztensor_remote"
    decodes: ClassVar[bool] = False
    keeps: ClassVar[bool] = True
    trusts: ClassVar[bool] = True

    def __init__(self, job: Job) -> None:
        self.job = job
        self._out: Arrays | None = None

    @classmethod
    def can(cls, dataset: Dataset, task: Task) -> bool:
        """Return whether there is a way to do a task."""
        return task.action in cls.actions and (cls.decodes or not dataset.compressed)

    # --- what a peer brings ------------------------------------------------------------------

    def write(self, folder: Path) -> None:
        """Write the dataset in the peer's own format; by default it has none."""

    def connect(self) -> None:
        """Import libraries and make a client."""

    def open_file(self) -> None:
        """Fetch what must be known of the file."""

    def load(self, names: list[str]) -> Arrays:
        """Read tensors into fresh memory."""
        raise NotImplementedError

    def into(self, arrays: Arrays) -> None:
        """Read tensors into memory that is there."""
        raise NotImplementedError

    def rows(self, name: str, start: int, stop: int) -> Any:
        """Read rows of a tensor."""
        raise NotImplementedError

    def columns(self, name: str, start: int, stop: int) -> Any:
        """Read columns of a tensor."""
        raise NotImplementedError

    # --- what happens to it ------------------------------------------------------------------

    def prepare(self) -> None:
        """Do what is not measured."""
        task = self.job.task
        self.connect()
        if task.action == "into":
            self._out = {name: self._touched() if self.keeps else None for name in task.names}
        if task.action != "open":
            self.begin()

    def run(self) -> Arrays | None:
        """Do the task."""
        task = self.job.task
        match task.action:
            case "open":
                self.open_file()
                return None
            case "load":
                return self.load(task.names)
            case "into":
                assert self._out is not None
                self.into(self._out)
                return self._out
            case "rows":
                return {task.names[0]: self.rows(task.names[0], *task.span)}
            case "columns":
                return {task.names[0]: self.columns(task.names[0], *task.span)}

    def begin(self) -> None:
        """Do what comes before the first read."""
        self.open_file()

    def _touched(self) -> Any:
        import numpy as np

        # Not zeros: those pages would not be there before they are written.
        return np.full(self.job.dataset.shape, 1, self.job.dataset.dtype)
