"""Add tensors to a file that is there: a new generation behind the old one (SPEC.md §13.2)."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ..container import Generation, align_up, alignment_of
from ..errors import (
    ConcurrentWriteError,
    DuplicateNameError,
    InvalidInputError,
    NotFoundError,
    ObjectChangedError,
    StoreError,
    TensorNotFoundError,
    UnsupportedError,
)
from ..manifest import Manifest, Tensor
from ..reader import Opened, open_file
from ..reader.show import version_text
from ..stores import Guarantees, Location, Source, guarantees_of, open_append
from .assembly import Assembly, Options, write_ending
from .blob import Output
from .rules import Rules, rules_of
from .spool import Spool

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Base:
    """The file that is added to, as it was at one moment.

    Attributes
    ----------
    source : Source
    manifest : Manifest
    rules : Rules
        For what is added.
    """

    source: Source
    manifest: Manifest
    rules: Rules

    @property
    def size(self) -> int:
        """Bytes that the new generation follows."""
        return self.source.identity.size

    @property
    def in_place(self) -> bool:
        """Whether a new generation that is not whole can be told from one that is."""
        return self.rules.generation is not Generation.V1_0


def open_base(place: Location) -> Base:
    """Open a file that is to be added to.

    Raises
    ------
    UnsupportedError, FormatError, StoreError
    """
    opened = open_file(place)
    try:
        return Base(opened.source, opened.manifest, _rules_for(opened))
    except BaseException:
        opened.source.close()
        raise


class Appending(Assembly):
    """The next generation of a file.

    Without retries it is streamed to the store as it is made. With them it waits in a temporary
    file until the end, and is put behind whatever the file has become by then.

    Parameters
    ----------
    place : Location
    version : str or None
        What the file's version must be.
    options : Options
    dedup : bool
        Among what is added.
    retries : int
        How often to begin again where another writer came first.
    """

    def __init__(
        self,
        place: Location,
        version: str | None,
        options: Options,
        *,
        dedup: bool,
        retries: int,
    ) -> None:
        self._place = place
        self._retries = retries
        if retries and not self.guarantees.exclusive:
            raise UnsupportedError(
                f"several writers can't add to it: {self.guarantees.reason}; leave retries= out "
                "where there is one writer at a time",
                url=place.url,
            )
        base = open_base(place)
        self._base = base.manifest
        self._spool = Spool(place.url) if retries else None
        with closing(base.source):
            if version not in (None, base.rules.version):
                raise InvalidInputError(
                    f"it is a version-{base.rules.version} file and stays one; leave version= out",
                    url=place.url,
                )
            sink = self._spool or open_append(place, base.source, in_place=base.in_place)
        start = 0 if retries else base.size
        super().__init__(sink, base.rules, options, dedup=dedup, base=base.manifest, offset=start)

    @property
    def guarantees(self) -> Guarantees:
        """What adding to the file can promise."""
        return guarantees_of(self._place)

    def remove(self, name: str) -> None:
        """Leave a tensor out of the new generation."""
        self.check_open()
        if name not in self.tensors:
            raise TensorNotFoundError(f"no tensor is named {name!r}", url=self.url)
        del self.tensors[name]

    @contextmanager
    def replacing(self, name: str) -> Iterator[None]:
        """Remove a tensor; it comes back if the block fails to put another in its place."""
        with self._alone():
            before = dict(self.tensors)
            self.remove(name)
            try:
                yield
            except BaseException:
                self.tensors = before
                raise

    def _publish(self) -> None:
        if self._spool is None:
            super()._publish()
            return
        for attempt in range(self._retries + 1):
            if attempt:
                longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempt - 1))
                time.sleep(longest * random.uniform(0.1, 1))
            try:
                base = open_base(self._place)
            except ObjectChangedError as error:
                failure: StoreError = error
                continue
            try:
                self._publish_onto(base, self._spool)
                return
            except (ConcurrentWriteError, ObjectChangedError, NotFoundError) as error:
                failure = error  # not found: somebody aborted the upload, or removed the file
        raise failure

    def _publish_onto(self, base: Base, spool: Spool) -> None:
        with closing(base.source):
            if base.rules.version != self.rules.version:
                raise UnsupportedError(
                    f"another writer made it a version-{base.rules.version} file", url=self.url
                )
            alignment = max(self.rules.alignment, base.rules.alignment)
            start = align_up(base.size, alignment)
            merged = self._merged(base.manifest, start)
            output = Output(
                open_append(self._place, base.source, in_place=base.in_place), base.size
            )
        try:
            output.pad_to(alignment)
            spool.send(output)
            write_ending(output, base.rules, merged)
            output.commit()
        except BaseException as error:
            output.give_up(error)
            raise
        spool.commit()

    def _merged(self, fresh: Manifest, start: int) -> Manifest:
        """Return the manifest of a file that has become `fresh`, with our changes to it."""
        was = self._base.tensors
        added = {
            name: _moved(tensor, start)
            for name, tensor in self.tensors.items()
            if tensor is not was.get(name)
        }
        gone = {name for name, tensor in was.items() if self.tensors.get(name) is not tensor}
        kept = {name: tensor for name, tensor in fresh.tensors.items() if name not in gone}
        for name in added.keys() & kept.keys():
            raise DuplicateNameError(
                "another writer has added a tensor of this name", tensor=name, url=self.url
            )
        return Manifest(
            self.rules.version,
            kept | added,
            attributes=_merged_attributes(
                self._base.attributes, self.attributes.data, fresh.attributes
            ),
            shards=fresh.shards,
        )


def _moved(tensor: Tensor, start: int) -> Tensor:
    parts = {
        role: replace(part, offset=part.offset + start) for role, part in tensor.components.items()
    }
    return replace(tensor, components=parts)


def _merged_attributes(
    was: Mapping[str, Any], ours: Mapping[str, Any], fresh: Mapping[str, Any]
) -> dict[str, Any]:
    """Make the changes from `was` to `ours` to what another writer has made of them."""
    kept = {key: value for key, value in fresh.items() if key in ours or key not in was}
    return kept | {key: value for key, value in ours.items() if key not in was or was[key] != value}


def _rules_for(opened: Opened) -> Rules:
    manifest = opened.manifest
    if opened.footer is None:
        raise UnsupportedError(
            f"a {version_text(manifest.version)} file can't be appended to; "
            "write a new file from it",
            url=opened.source.url,
        )
    if manifest.version == "0.1" or manifest.is_data_shard:
        what = "a data shard" if manifest.is_data_shard else "version 0.1"
        raise UnsupportedError(
            f"{what} can't be appended to; write a new file from it", url=opened.source.url
        )
    rules = rules_of("1.2" if manifest.version == "1.1" else manifest.version)
    if rules.generation is not Generation.V2:
        return rules
    return rules.aligned(_observed_alignment(manifest, opened.footer.manifest_offset))


def _observed_alignment(manifest: Manifest, manifest_offset: int) -> int:
    offsets = [
        part.offset
        for tensor in manifest.tensors.values()
        for part in tensor.components.values()
        if part.shard is None
    ]
    return alignment_of([*offsets, manifest_offset], floor=4096, ceiling=65536)
