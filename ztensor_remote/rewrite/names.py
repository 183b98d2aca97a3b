"""Leave tensors out, or give them other names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..errors import DuplicateNameError, InvalidInputError, TensorNotFoundError
from ..types import StorageOptions
from ..writer import Writer, append
from ..writer.assembly import Options
from ..writer.rules import check_written_name
from .convert import Rewritten, version_like, write
from .copying import Chosen
from .places import opened, place_for


def remove(
    source: Any,
    names: Iterable[str],
    target: Any = None,
    *,
    overwrite: bool = False,
    storage_options: StorageOptions | None = None,
    to_storage_options: StorageOptions | None = None,
) -> None:
    """Leave tensors out of a file.

    Parameters
    ----------
    source : path or URL
        Without a `target` it gets a new manifest; `compact` then gives the room back.
    names : iterable of str
    target : path or URL, optional
        Write what stays to a new file instead.
    overwrite, storage_options, to_storage_options
        As for `convert`.

    Raises
    ------
    TensorNotFoundError
        Nothing was changed.
    UnsupportedError, StoreError
    """
    gone = _listed(names)
    if target is not None:
        _rewrite(
            source,
            target,
            dict.fromkeys(gone),
            overwrite=overwrite,
            storage_options=storage_options,
            to_storage_options=to_storage_options,
        )
        return
    with append(source, storage_options=storage_options) as writer:
        for name in gone:
            writer.remove(name)


def rename(
    source: Any,
    names: Mapping[str, str],
    target: Any = None,
    *,
    overwrite: bool = False,
    storage_options: StorageOptions | None = None,
    to_storage_options: StorageOptions | None = None,
) -> None:
    """Give tensors other names.

    Parameters
    ----------
    source, target
        As for `remove`.
    names : mapping of str to str
        Old name to new name; all change at once, so that two may change places.
    overwrite, storage_options, to_storage_options
        As for `convert`.

    Raises
    ------
    TensorNotFoundError, DuplicateNameError
        Nothing was changed.
    UnsupportedError, StoreError
    """
    if not isinstance(names, Mapping):
        raise InvalidInputError("names= is a mapping of old names to new ones")
    if target is not None:
        _rewrite(
            source,
            target,
            names,
            overwrite=overwrite,
            storage_options=storage_options,
            to_storage_options=to_storage_options,
        )
        return
    with append(source, storage_options=storage_options) as writer:
        _rename(writer, names)


def _rename(writer: Writer, names: Mapping[str, str]) -> None:
    tensors = writer._file.tensors
    renamed = _new_names(list(tensors), names, writer.url)
    for new in names.values():
        check_written_name(new, "a tensor")
    writer._file.tensors = {
        new: replace(tensors[old], name=new) for old, new in renamed.items() if new is not None
    }


def _new_names(
    present: list[str], names: Mapping[str, str | None], url: str
) -> dict[str, str | None]:
    """Return the new name of each tensor; None for those that go."""
    for name in names:
        if name not in present:
            raise TensorNotFoundError(f"no tensor is named {name!r}", url=url)
    renamed = {name: names.get(name, name) for name in present}
    seen = set()
    for new in renamed.values():
        if new is not None and new in seen:
            raise DuplicateNameError("two tensors would have this name", tensor=new, url=url)
        seen.add(new)
    return renamed


def _rewrite(
    source: Any,
    target: Any,
    names: Mapping[str, str | None],
    *,
    overwrite: bool,
    storage_options: StorageOptions | None,
    to_storage_options: StorageOptions | None,
) -> Rewritten:
    with opened(source, storage_options) as [reader]:
        renamed = _new_names(list(reader), names, reader.url)
        return write(
            place_for(target, [reader], to_storage_options, overwrite=overwrite),
            [Chosen(reader[old], new) for old, new in renamed.items() if new is not None],
            version=version_like(reader),
            attributes=dict(reader.attributes),
            options=Options(),
            overwrite=overwrite,
            callback=None,
        )


def _listed(names: Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(dict.fromkeys(names))
