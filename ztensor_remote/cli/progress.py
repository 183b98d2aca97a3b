"""How far a long command is: bytes, rate and time left, on stderr and only in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def progress(what: str) -> Iterator[Any]:
    """Give a callback that shows itself; None where nobody would see it."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        yield _Shown(bar, what)


class _Shown:
    """What the library calls of an `fsspec.callbacks.Callback`."""

    def __init__(self, bar: Any, what: str) -> None:
        self._bar = bar
        self._task = bar.add_task(what, total=None)

    def set_size(self, size: int) -> None:
        self._bar.reset(self._task, total=size)

    def relative_update(self, inc: int = 1) -> None:
        self._bar.advance(self._task, inc)
