"""Write the tensors of a file to several, none larger than wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..container import align_up
from ..errors import InvalidInputError
from ..reader import Reader
from ..types import StorageOptions
from ..writer.assembly import Options
from ..writer.rules import rules_of
from .convert import Rewritten, version_like, write
from .copying import Chosen
from .places import opened, place_for

if TYPE_CHECKING:
    from fsspec.callbacks import Callback


def split(
    source: Any,
    pattern: str,
    max_bytes: int,
    *,
    overwrite: bool = False,
    storage_options: StorageOptions | None = None,
    to_storage_options: StorageOptions | None = None,
    callback: Callback | None = None,
) -> list[Rewritten]:
    """Write the tensors of a file to several, in their order, as they are stored.

    Parameters
    ----------
    source
        As for `convert`.
    pattern : str
        Path or URL with ``{index}``, and ``{count}`` if wanted: both take Python's format, as in
        ``"model-{index:05}-of-{count:05}.zt"``. `index` begins at 1.
    max_bytes : int
        The most that the tensors of one file take. A larger tensor gets a file of its own.
    overwrite, storage_options, to_storage_options, callback
        As for `convert`; the callback begins anew for each file.

    Returns
    -------
    list of Rewritten

    Raises
    ------
    InvalidInputError
        One of the files is there already; nothing was written.
    UnsupportedError, FormatError, DigestError, StoreError
        The files before are there, the one that failed is not.
    """
    if max_bytes < 1:
        raise InvalidInputError(f"max_bytes={max_bytes}: a number of bytes, from 1")
    with opened(source, storage_options) as [reader]:
        groups = _groups(reader, max_bytes)
        places = [
            place_for(name, [reader], to_storage_options, overwrite=overwrite)
            for name in _names(pattern, len(groups))
        ]
        return [
            write(
                place,
                group,
                version=version_like(reader),
                attributes=dict(reader.attributes),
                options=Options(),
                overwrite=overwrite,
                callback=callback,
            )
            for place, group in zip(places, groups, strict=True)
        ]


def _names(pattern: str, count: int) -> list[str]:
    try:
        names = [pattern.format(index=index, count=count) for index in range(1, count + 1)]
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise InvalidInputError(
            f"pattern {pattern!r} can't be filled in ({error}); use {{index}} and {{count}}"
        ) from None
    if len(set(names)) < count:
        raise InvalidInputError(f"pattern {pattern!r} gives one name twice; put {{index}} in it")
    return names


def _groups(reader: Reader, max_bytes: int) -> list[list[Chosen]]:
    alignment = rules_of(version_like(reader)).alignment
    groups: list[list[Chosen]] = [[]]
    room = max_bytes
    for name in reader:
        each = Chosen(reader[name], name)
        size = sum(align_up(part.length, alignment) for part in each.parts)
        if size > room and groups[-1]:
            groups.append([])
            room = max_bytes
        groups[-1].append(each)
        room -= size
    return groups
