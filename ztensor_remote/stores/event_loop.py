"""Calls of asynchronous clients, from threads: each has ended when its caller goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..errors import StoreError
from .control import Control

if TYPE_CHECKING:
    import asyncio

_PATIENCE = 1.0
"""Seconds between looks at whether to go on, where nothing says how long to wait."""

_Result = TypeVar("_Result")


def run(
    fs: Any,
    call: Callable[..., Coroutine[Any, Any, _Result]],
    *args: Any,
    control: Control | None = None,
    timeout: float | None = None,
    progress: Callable[[], int] = lambda: 0,
) -> _Result:
    """Run a coroutine function on the filesystem's own event loop and wait for its result.

    See `run_on` for the parameters.
    """
    from fsspec import asyn

    if threading.current_thread() is asyn.iothread[0]:
        raise StoreError("called from fsspec's event loop, which this call would have to wait for")
    if fs.loop is None:
        raise StoreError("the filesystem was made with asynchronous=True; give a synchronous one")
    return run_on(fs.loop, lambda: call(*args), control=control, timeout=timeout, progress=progress)


def run_on(
    loop: asyncio.AbstractEventLoop,
    call: Callable[[], Coroutine[Any, Any, _Result]],
    *,
    control: Control | None = None,
    timeout: float | None = None,
    progress: Callable[[], int] = lambda: 0,
) -> _Result:
    """Run a coroutine on the event loop of another thread and wait for its result.

    Whatever ends the wait (a failure, an interrupt, the control), the coroutine has ended too: it
    does not write into memory any more.

    Parameters
    ----------
    timeout : float, optional
        Seconds without progress after which it fails.
    progress : callable
        Tells the bytes that have arrived.

    Raises
    ------
    Cancelled, StoreTimeoutError, TimeoutError
    """
    control = control or Control()
    job = _Job(loop, call)
    try:
        with control.breaking(job.cancel):
            job.wait(control, timeout, progress)
    except BaseException:
        job.cancel()
        job.ended.wait()
        raise
    control.check()
    return job.result()


class _Job(Generic[_Result]):
    """A task on the loop of another thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        call: Callable[[], Coroutine[Any, Any, _Result]],
    ) -> None:
        self.ended = threading.Event()
        self._loop = loop
        self._task: asyncio.Task[_Result] | None = None
        loop.call_soon_threadsafe(self._start, call)

    def _start(self, call: Callable[[], Coroutine[Any, Any, _Result]]) -> None:
        self._task = self._loop.create_task(call())
        self._task.add_done_callback(lambda task: self.ended.set())

    def cancel(self) -> None:
        self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        assert self._task is not None  # calls of the loop keep their order
        self._task.cancel()

    def wait(self, control: Control, timeout: float | None, progress: Callable[[], int]) -> None:
        reached = progress()
        while not self.ended.wait(control.remaining(timeout or _PATIENCE)):
            control.check()
            if timeout is not None and progress() == reached:
                raise TimeoutError
            reached = progress()

    def result(self) -> _Result:
        assert self._task is not None
        if self._task.cancelled():
            raise StoreError("the client gave the request up")
        return self._task.result()
