"""Stream tensors into a file of another format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...codecs import too_short
from ...errors import located
from ...stores import CopyingSink, Location, Sink, aborting, open_sink
from ...writer.blob import Output
from ..copying import Chosen
from ..feed import Feed, StoredBlob
from ..runs import MOST, SHORTEST
from ..stored import StoredElements, rearranged
from .form import PLANNERS
from .item import LEAVE_OUT, Item, Write, item_of, refuse

Announce = Callable[[int], Callable[[int], object]]
"""Told the stored bytes that are to be read; returns what is told those that were."""


def export(
    place: Location,
    chosen: Sequence[Chosen],
    attributes: Mapping[str, Any],
    *,
    form: str,
    drop_attributes: bool,
    overwrite: bool,
    announce: Announce,
) -> Output:
    """Write a file of another format; the tensors pass in memory that does not grow with them.

    Parameters
    ----------
    form : str
        A key of `PLANNERS`.
    drop_attributes : bool
        Whether to leave them out, of the file and of tensors, instead of refusing them.
    announce : callable

    Returns
    -------
    Output
        Whose offset is the size of the file.

    Raises
    ------
    UnsupportedError, LimitError
        The format can't hold a tensor or an attribute; nothing was written.
    CopyRefusedError, FormatError, DigestError, StoreError
        Nothing appeared.
    """
    items = [item_of(each, form) for each in chosen]
    if not drop_attributes:
        for item in items:
            _refuse_attributes(item, form)
    with located(url=place.url):
        plan = PLANNERS[form](items, {} if drop_attributes else attributes)
    tell = announce(sum(item.part.length for item in plan.items))
    output = Output(open_sink(place, create=not overwrite), 0)
    with aborting(output.sink):
        copied = set() if plan.reads_all else _copied(plan.items, output.sink)
        fed = [item for item in plan.items if item.name not in copied and not item.is_rearranged]
        feed = Feed((StoredBlob(item.chosen.blobs, item.part) for item in fed), tell=tell)
        try:
            plan.write(output, _Tensors(feed, tell, copied))
        finally:
            feed.close()
        output.commit()
    return output


def _refuse_attributes(item: Item, form: str) -> None:
    if item.chosen.tensor.attributes:
        raise refuse(item, f"{form} has no attributes of tensors; {LEAVE_OUT}")


def _copied(items: Sequence[Item], sink: Sink) -> set[str]:
    """Return the names of the tensors that the store copies as they are stored."""
    if not isinstance(sink, CopyingSink) or sink.copies_whole:
        return set()
    large = [
        item
        for item in items
        if item.part.is_raw
        and not item.is_rearranged
        and not item.part.big_endian
        and item.part.length >= SHORTEST
        and sink.copies_from(item.chosen.blobs.source_of(item.part))
    ]
    large.sort(key=lambda item: -item.part.length)
    return {item.name for item in large[:MOST]}


@dataclass(frozen=True, slots=True)
class _Tensors:
    feed: Feed
    tell: Callable[[int], object]
    copied: set[str]

    def pour(self, item: Item, write: Write) -> None:
        """Hand on the decoded bytes of a tensor."""
        tensor, blobs = item.chosen.tensor, item.chosen.blobs
        count = 0

        def counted(data: memoryview) -> None:
            nonlocal count
            count += len(data)
            write(data)

        with located(url=blobs.source.url, tensor=tensor.name, component=item.role):
            if item.is_rearranged:
                for piece in rearranged(tensor, item.role):
                    counted(piece)
                self.tell(item.part.length)
            else:
                lazy = tensor.components[item.role]
                StoredElements.of(lazy, blobs, item.part, self.feed).decode(counted)
            if count != item.nbytes:
                raise too_short(count, item.nbytes)

    def add_to(self, output: Output, item: Item) -> None:
        """Write them to a file, or have the store copy them."""
        if item.name not in self.copied:
            self.pour(item, output.write)
            return
        part = item.part
        source = item.chosen.blobs.source_of(part)
        output.copy_from(source, part.offset, part.offset + part.length)
        self.tell(part.length)
