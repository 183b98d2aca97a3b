"""A log of checkpoints in a folder of any filesystem."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Self

from ..errors import ClosedError, ConcurrentWriteError, NotFoundError, UnsupportedError
from ..reader import Reader
from ..stores import Folder, Limits, Location, limits_of, locate
from ..types import StorageOptions
from ..writer import Writer
from ..writer.assembly import Options
from .background import Uploads, snapshot
from .names import check_step, root_name, steps_among
from .prune import Pruned, prune
from .step import Base, StepAssembly, step_exists

_LOOKS = 3


class CheckpointLog:
    """An append-only log: a step is there whole or not at all, and what is there stays.

    Each step is a version-2 root of its own; tensors that an earlier step has are referred to, not
    stored again (SPEC.md §14). Any number of processes may write different steps at once.

    Parameters
    ----------
    location : str, PathLike or UPath
        A folder, on any filesystem that can be written to and listed. It need not exist.
    storage_options, fs
        As for `open`.
    compress : bool or int, default False
        zstd for all tensors, as for `Writer`.
    single_writer : bool, default False
        The caller promises that nobody else writes to the log at the same time. Needed where the
        store can't refuse the second of two creations of one object.
    verify, limits
        For the readers that the log opens, as for `open`.

    Examples
    --------
    >>> with CheckpointLog("s3://bucket/run-42") as log:  # doctest: +SKIP
    ...     log.append(1000, {"weight": weight}, attributes={"loss": 0.25})
    >>> log.latest()["weight"][:16]  # doctest: +SKIP
    """

    def __init__(
        self,
        location: Any,
        *,
        storage_options: StorageOptions | None = None,
        fs: Any = None,
        compress: bool | int = False,
        single_writer: bool = False,
        verify: bool = True,
        limits: Limits | None = None,
    ) -> None:
        self._folder = Folder(locate(location, storage_options=storage_options, fs=fs))
        self._compress = compress
        self._single_writer = single_writer
        self._verify = verify
        self._limits = limits_of(limits)
        self._uploads = Uploads()
        self._lock = threading.Lock()
        self._base: Base | None = None
        self._is_ready = False
        self._is_closed = False

    @property
    def url(self) -> str:
        """Where the log is, without credentials."""
        return self._folder.url

    # --- reading -----------------------------------------------------------------------------

    def steps(self) -> list[int]:
        """Return the steps that are there, ascending. One listing of the folder."""
        return steps_among(self._folder.entries())

    def __getitem__(self, step: int) -> Reader:
        """Open a step.

        Raises
        ------
        NotFoundError
            The log has no such step.
        """
        try:
            return self._open(check_step(step))
        except NotFoundError:
            raise NotFoundError(
                f"the log has no step {step}; .steps() lists those it has", url=self.url
            ) from None

    def _open(self, step: int) -> Reader:
        place = self._folder.location.child(root_name(step))
        return Reader(place, verify=self._verify, limits=self._limits)

    def latest(self) -> Reader:
        """Open the step with the highest number: a listing, then a request.

        Raises
        ------
        NotFoundError
            The log has no steps.
        """
        for _ in range(_LOOKS):  # a step may be pruned between the listing and the opening
            found = self.steps()
            try:
                if found:
                    return self._open(found[-1])
            except NotFoundError:
                continue
        raise NotFoundError("the log has no steps yet", url=self.url)

    def attributes(self, step: int) -> Mapping[str, Any]:
        """Return the attributes of a step.

        Raises
        ------
        NotFoundError
        """
        with self[step] as reader:
            return reader.attributes

    def tail(
        self, *, after: int | None = None, poll: float = 1.0, timeout: float | None = None
    ) -> Iterator[int]:
        """Yield the numbers of steps as they appear.

        Parameters
        ----------
        after : int, optional
            Begin with the steps there are that follow this one; only new ones by default.
        poll : float
            Seconds between two listings.
        timeout : float, optional
            Seconds without a new step after which to end; never by default.
        """
        known = {step for step in self.steps() if after is None or step <= after}
        since = time.monotonic()
        while True:
            for step in [step for step in self.steps() if step not in known]:
                known.add(step)
                yield step
                since = time.monotonic()
            if timeout is not None and time.monotonic() - since >= timeout:
                return
            time.sleep(poll)

    def __iter__(self) -> Iterator[int]:
        return iter(self.steps())

    def __len__(self) -> int:
        return len(self.steps())

    def __contains__(self, step: object) -> bool:
        return isinstance(step, int) and self._folder.exists(root_name(step))

    # --- writing -----------------------------------------------------------------------------

    def append(
        self,
        step: int,
        tensors: Mapping[str, Any],
        *,
        attributes: Mapping[str, Any] | None = None,
        wait: bool = True,
        copy: bool = True,
    ) -> Future[None]:
        """Store a step.

        Parameters
        ----------
        step : int
            From 0 up; in any order.
        tensors : mapping of str to array
            Whatever `Writer.add_tensor` takes.
        attributes : mapping, optional
            Of the step as a whole.
        wait : bool
            With False, return at once and store it in the background. At most one step waits while
            another is stored; a third waits for room here. What goes wrong is raised by the future,
            and by the next call or `close`.
        copy : bool
            With ``wait=False``: copy the tensors first. False if they won't be changed before the
            future is done.

        Returns
        -------
        concurrent.futures.Future
            Done when the step is there; already so with ``wait=True``.

        Raises
        ------
        StepExistsError
            The log has a step of this number; it stays as it is.
        InvalidInputError, UnsupportedError, StoreError
            Nothing was stored.
        """
        number = check_step(step)
        self._check_open()
        if wait:
            self._uploads.finish()
            self._append(number, tensors, attributes)
            done: Future[None] = Future()
            done.set_result(None)
            return done
        self._uploads.make_room()
        kept = snapshot(tensors) if copy else dict(tensors)
        return self._uploads.add(partial(self._append, number, kept, attributes))

    def _append(
        self, step: int, tensors: Mapping[str, Any], attributes: Mapping[str, Any] | None
    ) -> None:
        assembly = self._assembly(step)
        self._write(assembly, tensors, attributes)
        if self._is_base_gone(assembly):
            # Its blobs may go any moment. The step is there already, so it is made whole in place.
            assembly = StepAssembly(
                self._folder, step, Options(self._compress), base=None, replaces=True
            )
            self._write(assembly, tensors, attributes)
        self._keep_base(assembly)

    def _write(
        self,
        assembly: StepAssembly,
        tensors: Mapping[str, Any],
        attributes: Mapping[str, Any] | None,
    ) -> None:
        with Writer._of(assembly) as writer:
            writer.attributes.update(attributes or {})
            for name, tensor in tensors.items():
                writer.add_tensor(name, tensor)

    def writer(self, step: int) -> Writer:
        """Return a writer of a step, for tensors that come one by one or in pieces.

        Its ``attributes`` are the step's. The step is there when the writer is finalized, or its
        ``with`` block left.

        Raises
        ------
        StepExistsError
            Also when it is finalized, if another writer came first.
        ConcurrentWriteError
            When it is finalized: the step before was pruned meanwhile. Nothing was stored.
        InvalidInputError, UnsupportedError, StoreError
        """
        number = check_step(step)
        self._check_open()
        self._uploads.finish()
        return Writer._of(self._assembly(number, published=self._settle))

    def _settle(self, assembly: StepAssembly) -> None:
        if self._is_base_gone(assembly):
            self._folder.delete([root_name(assembly.step)])
            assembly.withdraw()
            raise ConcurrentWriteError(
                "the step it refers to was pruned while this one was written, so it was taken "
                "back; write it again",
                url=self.url,
            )
        self._keep_base(assembly)

    def _assembly(self, step: int, **options: Any) -> StepAssembly:
        self._get_ready()
        if self._folder.exists(root_name(step)):
            raise step_exists(self._folder, step)
        return StepAssembly(self._folder, step, Options(self._compress), base=self._base, **options)

    def _get_ready(self) -> None:
        """Before the first step: the folder, the store's promise, the step to refer to."""
        with self._lock:
            if self._is_ready:
                return
            self._folder.make()
            if not self._single_writer and not self._folder.is_exclusive():
                raise UnsupportedError(
                    "this store can't refuse the second of two writers of one step; if nobody else "
                    "writes to this log, open it with single_writer=True",
                    url=self.url,
                )
            found = self.steps()
            if found:
                with self[found[-1]] as reader:
                    self._base = Base(found[-1], reader.manifest)
            self._is_ready = True

    def _is_base_gone(self, assembly: StepAssembly) -> bool:
        base = assembly.base
        if base is None or not assembly.refers_to_base:
            return False
        return not self._folder.exists(root_name(base.step))

    def _keep_base(self, assembly: StepAssembly) -> None:
        with self._lock:
            self._base = Base(assembly.step, assembly.manifest)

    def prune(self, *, keep_last: int | None = None, keep_every: int | None = None) -> Pruned:
        """Delete steps, and what no other step needs of them.

        Parameters
        ----------
        keep_last : int, optional
            Keep so many of the highest numbers.
        keep_every : int, optional
            Keep the steps that are multiples of it.

        Returns
        -------
        Pruned

        Raises
        ------
        InvalidInputError, StoreError
        """
        self._check_open()
        self._uploads.finish()
        return prune(self._folder, keep_last=keep_last, keep_every=keep_every)

    # --- the object itself -------------------------------------------------------------------

    def close(self) -> None:
        """Wait for what is stored in the background.

        Raises
        ------
        ZTensorError
            The first failure that nobody was told of by a call.
        """
        self._is_closed = True
        self._uploads.finish()

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClosedError("the log is closed", url=self.url)

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        options = {
            "compress": self._compress,
            "single_writer": self._single_writer,
            "verify": self._verify,
            "limits": self._limits,
        }
        return _rebuild, (self._folder.location, options)

    def __repr__(self) -> str:
        return f"<CheckpointLog {self.url}>"


def _rebuild(location: Location, options: dict[str, Any]) -> CheckpointLog:
    return CheckpointLog(location, **options)
