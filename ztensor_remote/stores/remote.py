"""What all remote stores share: pinned ranges, each answer checked before it counts."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any

from ..errors import ObjectChangedError, StoreError
from .answer import IGNORES_RANGES, Answer, RangeNotSatisfiable, Receive
from .control import Control
from .event_loop import run
from .failures import Transient, retried, scrub, status_of
from .lane import REFUSALS, HTTPLane, HTTPStatusError
from .limits import Limits
from .link import link_to
from .location import Location
from .scatter import Scatter
from .source import Identity, Stats
from .target import NoTarget, Target


class RemoteSource(ABC):
    """An object behind a filesystem that answers range requests.

    Bytes come by a lane of our own where the filesystem can tell what a plain request needs, and
    through the filesystem's client otherwise. Retries, pinning and checks are here, so that no
    store and no way can do without them.

    Parameters
    ----------
    location : Location
    limits : Limits
    """

    pinned_by_url = False
    """Whether requests name the version, so that nothing found means that it was replaced."""

    def __init__(self, location: Location, limits: Limits) -> None:
        self.location = location
        self.url = location.url
        self.limits = limits
        self.stats = Stats()
        self.link = link_to(location.server)
        self.identity = Identity(0)
        self._lane: HTTPLane | None = HTTPLane(self.sign, timeout=limits.timeout)

    def sign(self, pin: Identity | None) -> Target:
        """Return what a plain request for the object needs.

        Raises
        ------
        NoTarget
        """
        raise NoTarget("no plain requests are known for this filesystem")

    @abstractmethod
    def get(
        self, range_header: str, receive: Receive, *, pin: Identity | None, control: Control
    ) -> None:
        """Send one GET with this Range header through the filesystem's client.

        It is conditional on `pin` where the store allows it. Fewer bytes may come than the answer
        stated.

        Raises
        ------
        RangeNotSatisfiable
        """

    def open_tail(self, window: int) -> memoryview:
        """Fetch the last `window` bytes (or all), and pin the version they came from."""
        control = Control(self.limits.deadline)
        return retried(
            lambda: self._open_tail(window, control),
            url=self.url,
            doing="open it",
            pause=control.pause,
        )

    def open_head(self, window: int) -> memoryview:
        """Fetch the first `window` bytes (or all), and pin the version they came from."""
        control = Control(self.limits.deadline)
        return retried(
            lambda: self._open_head(window, control),
            url=self.url,
            doing="open it",
            pause=control.pause,
        )

    def _open_head(self, window: int, control: Control) -> memoryview:
        head, answer = self._collect(f"bytes=0-{window - 1}", limit=window, control=control)
        if answer is None:
            self.identity = Identity(0)
            return memoryview(b"")
        first, last, size = answer.positions
        if (first, last) != (0, min(size, window) - 1):
            raise Transient(f"asked for the first bytes, got bytes {first} to {last} of {size}")
        self.identity = answer.identity
        return head

    def _open_tail(self, window: int, control: Control) -> memoryview:
        tail, answer = self._collect(f"bytes=-{window}", limit=window, control=control)
        if answer is None:  # the store refuses a suffix longer than the object
            tail, answer = self._collect(f"bytes=0-{window - 1}", limit=window, control=control)
        if answer is None:
            self.identity = Identity(0)
            return memoryview(b"")
        first, last, size = answer.positions
        if (first, last) != (max(0, size - window), size - 1):
            raise Transient(f"asked for the end, got bytes {first} to {last} of {size}")
        self.identity = answer.identity
        return tail

    def _collect(
        self, range_header: str, *, limit: int, control: Control
    ) -> tuple[memoryview, Answer | None]:
        """Fetch at most `limit` bytes of any version; None where there are no such bytes."""
        answer: Answer | None = None
        body = memoryview(b"")

        def receive(stated: Answer) -> Scatter:
            nonlocal answer, body
            if stated.length > limit:
                raise StoreError(IGNORES_RANGES)
            answer, body = stated, memoryview(bytearray(stated.length))
            return Scatter([body], control)

        try:
            self._get_all(range_header, receive, pin=None, control=control)
        except RangeNotSatisfiable:
            return body, None
        self.stats.add(len(body))
        return body, answer

    def _get_all(
        self, range_header: str, receive: Receive, *, pin: Identity | None, control: Control
    ) -> None:
        """Do one GET whose body must be as long as the memory it is received in."""
        scatter: Scatter | None = None
        begun = time.perf_counter()

        def receive_checked(stated: Answer) -> Scatter:
            nonlocal scatter, begun
            if stated.waited is not None:
                self.link.answered(stated.waited)
            begun = time.perf_counter()
            first, last, _ = stated.positions
            if last + 1 - first != stated.length:
                raise Transient(f"a body of {stated.length} bytes for bytes {first} to {last}")
            scatter = receive(stated)
            return scatter

        self._carry(range_header, receive_checked, pin=pin, control=control)
        if scatter is not None and scatter.missing:
            raise Transient(f"the body ended after {scatter.filled} of {scatter.length} bytes")
        if scatter is not None:
            self.link.streamed(scatter.length, time.perf_counter() - begun)

    def _carry(
        self, range_header: str, receive: Receive, *, pin: Identity | None, control: Control
    ) -> None:
        """Send the request by the lane, or by the client where plain requests are refused."""
        reason = ""
        begun = time.monotonic()
        while (lane := self._lane) is not None:
            try:
                lane.get(range_header, receive, pin=pin, control=control)
                return
            except NoTarget as error:
                self._leave_lane(str(error))
            except HTTPStatusError as error:
                if error.status not in REFUSALS:
                    raise
                if not lane.renew(begun):
                    reason = f"the server refused a plain request ({scrub(str(error))})"
                    break
        self.get(range_header, receive, pin=pin, control=control)
        if reason:  # the client was not refused
            self._leave_lane(reason)

    def _leave_lane(self, reason: str) -> None:
        self._lane = None
        self.stats.fallback = reason

    def run(
        self,
        fs: Any,
        call: Callable[[Receive], Coroutine[Any, Any, None]],
        receive: Receive,
        control: Control,
    ) -> None:
        """Run a call of the filesystem's client as `get` may last: while bytes come in time."""
        scatter: Scatter | None = None

        def watched(stated: Answer) -> Scatter:
            nonlocal scatter
            scatter = receive(stated)
            return scatter

        run(
            fs,
            call,
            watched,
            control=control,
            timeout=self.limits.timeout,
            progress=lambda: -1 if scatter is None else scatter.filled,
        )

    def read_into(self, offset: int, *pieces: memoryview, control: Control | None = None) -> None:
        """Fill the pieces, one after another, from one range of the pinned version.

        A failure that may pass is followed by a request for what is still missing.
        """
        control = control or Control(self.limits.deadline)
        scatter = Scatter(pieces, control)
        if not scatter.length:
            return
        first, last = offset, offset + scatter.length - 1

        def receive(stated: Answer) -> Scatter:
            self._check(stated, first + scatter.filled, last)
            return scatter

        def request() -> None:
            if not scatter.missing:  # it failed after its last byte
                return
            start = scatter.filled
            try:
                self._get_all(
                    f"bytes={first + start}-{last}", receive, pin=self.identity, control=control
                )
            except RangeNotSatisfiable:
                raise self._changed() from None
            except Exception as error:
                if self.pinned_by_url and status_of(error) == 404:
                    raise self._changed() from None
                raise
            finally:
                if scatter.filled > start:
                    self.stats.add(scatter.filled - start)

        retried(
            request,
            url=self.url,
            doing=f"read {scatter.length} bytes at {offset}",
            progress=lambda: scatter.filled,
            pause=control.pause,
        )

    def _check(self, answer: Answer, first: int, last: int) -> None:
        """Accept nothing but these bytes of the pinned version."""
        if not self.identity.matches(answer.identity):
            raise self._changed()
        start, stop, size = answer.positions
        if (start, stop) == (first, last):
            return
        if (start, stop) == (0, size - 1):
            raise StoreError(IGNORES_RANGES)
        raise Transient(f"asked for bytes {first} to {last}, got {start} to {stop}")

    def _changed(self) -> ObjectChangedError:
        return ObjectChangedError(
            "the object was replaced after it was opened; open it again", url=self.url
        )

    def view(self, offset: int, length: int) -> memoryview | None:
        """Return None: bytes have to be fetched."""
        return None

    def private_view(self, offset: int, length: int) -> memoryview | None:
        """Return None: bytes have to be fetched."""
        return None

    def close(self) -> None:  # noqa: B027 (not every store has something to close)
        """Do nothing: connections are shared."""
