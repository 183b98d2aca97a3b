"""Uploads in the background, in order, with memory for two at the most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

_MOST = 2
"""Uploads that are under way or wait: one of each."""


class Uploads:
    """One thread that does uploads one after another."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._pending: list[Future[None]] = []

    def make_room(self) -> None:
        """Wait until another upload may be added; raise what went wrong with those before."""
        while len(self._pending) >= _MOST:
            wait(self._pending[:1])
            self.check()
        self.check()

    def check(self) -> None:
        """Raise the first failure of an upload that has ended; once."""
        ended = [future for future in self._pending if future.done()]
        self._pending = [future for future in self._pending if future not in ended]
        for future in ended:
            future.result()

    def add(self, upload: Callable[[], None]) -> Future[None]:
        """Start an upload as soon as those before it have ended."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="ztensor-log")
        future = self._pool.submit(upload)
        self._pending.append(future)
        return future

    def finish(self) -> None:
        """Wait for all; raise the first failure."""
        wait(self._pending)
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        self.check()


def snapshot(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return copies that no later change of the tensors reaches."""
    return {name: _copied(tensor) for name, tensor in tensors.items()}


def _copied(tensor: Any) -> Any:
    if hasattr(tensor, "detach"):
        return tensor.detach().clone()
    copied = getattr(tensor, "copy", None)
    return copied() if callable(copied) else np.array(tensor)
