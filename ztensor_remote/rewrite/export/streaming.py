"""Stream tensors into a file of another format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...codecs import too_short
from ...errors import located
from ...stores import Location, aborting, open_sink
from ...writer.blob import Output
from ..copying import Chosen
from ..feed import Feed, StoredBlob
from ..stored import StoredElements
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
    FormatError, DigestError, StoreError
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
        feed = Feed(_blobs(plan.items), tell=tell)
        try:
            plan.write(output, _Pouring(feed).pour)
        finally:
            feed.close()
        output.commit()
    return output


def _refuse_attributes(item: Item, form: str) -> None:
    if item.chosen.tensor.attributes:
        raise refuse(item, f"{form} has no attributes of tensors; {LEAVE_OUT}")


def _blobs(items: Sequence[Item]) -> Iterator[StoredBlob]:
    for item in items:
        yield StoredBlob(item.chosen.blobs, item.part)


@dataclass(frozen=True, slots=True)
class _Pouring:
    feed: Feed

    def pour(self, item: Item, write: Write) -> None:
        """Hand on the decoded bytes of a tensor."""
        tensor, blobs = item.chosen.tensor, item.chosen.blobs
        count = 0

        def counted(data: memoryview) -> None:
            nonlocal count
            count += len(data)
            write(data)

        with located(url=blobs.source.url, tensor=tensor.name, component=item.role):
            lazy = tensor.components[item.role]
            StoredElements.of(lazy, blobs, item.part, self.feed).decode(counted)
            if count != item.nbytes:
                raise too_short(count, item.nbytes)
