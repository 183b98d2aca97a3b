"""Add the tensors of other files to a file that is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import DuplicateNameError
from ..interop import Format
from ..reader import Reader
from ..stores import CopyRefusedError, Location, locate
from ..types import StorageOptions
from ..writer import Writer
from ..writer.append import Appending
from ..writer.assembly import DEFAULT, Options
from ..writer.rules import Checksum
from .convert import Progress, Rewritten, check_names, in_order_of_bytes, stored_bytes
from .copying import Chosen, Copying
from .places import locate_like, opened

if TYPE_CHECKING:
    from fsspec.callbacks import Callback


class Joining(Copying, Appending):
    """The next generation of a file, into which tensors of other files are copied.

    Parameters
    ----------
    place : Location
    options : Options
        As for `Copying`.
    tell : callable
        Told the stored bytes that were read.
    """

    def __init__(self, place: Location, options: Options, *, tell: Callable[[int], object]) -> None:
        Appending.__init__(self, place, None, options, dedup=False, retries=0)
        self._begin(options, tell)


def append_from(
    target: Any,
    sources: Any,
    *,
    format: Format = "auto",
    compress: bool | int | None = None,
    checksum: Checksum | str | None = DEFAULT,
    storage_options: StorageOptions | None = None,
    from_storage_options: StorageOptions | None = None,
    callback: Callback | None = None,
) -> Rewritten:
    """Add the tensors of other files to a zTensor file that is there, all at once.

    They are streamed, and stay as they are stored where the file's version can hold them so.
    Attributes of tensors come along, those of the other files as wholes do not.

    Parameters
    ----------
    target : str, PathLike or UPath
        The file to add to.
    sources : path, URL, bytes or Reader; or a list of them
        Of any format; whatever `open` takes.
    format : str, default "auto"
        What the sources are, as for `open`.
    compress, checksum
        As for `convert`.
    storage_options : mapping, optional
        For the filesystem of `target`.
    from_storage_options : mapping, optional
        For those of `sources`; by default those of the target, if they have the same protocol.
    callback : fsspec.callbacks.Callback, optional
        Told the stored bytes to read (`set_size`) and those read (`relative_update`).

    Returns
    -------
    Rewritten
        What the file is now.

    Raises
    ------
    DuplicateNameError
        The file has a tensor of one of these names, or two sources have; nothing has changed.
    ConcurrentWriteError
        Another writer came first; nothing has changed.
    UnsupportedError, FormatError, DigestError, StoreError
    """
    place = locate(target, storage_options=storage_options)
    listed = list(sources) if isinstance(sources, list | tuple) else [sources]
    theirs = [
        each if isinstance(each, Reader) else locate_like(each, place, from_storage_options)
        for each in listed
    ]
    with opened(theirs, None, format) as readers:
        chosen = [Chosen(reader[name], name) for reader in readers for name in reader]
        check_names(chosen, place)
        progress = Progress(callback)

        def attempt() -> Rewritten:
            tell = progress.begin(stored_bytes(chosen))
            file = Joining(place, Options(compress, checksum), tell=tell)
            with Writer._of(file):
                _check_new(chosen, file)
                file.copy(in_order_of_bytes(chosen))
            return Rewritten(file.url, len(file.tensors), file.size)

        try:
            return attempt()
        except CopyRefusedError:
            return attempt()  # now that it is known not to copy


def _check_new(chosen: list[Chosen], file: Joining) -> None:
    for each in chosen:
        if each.name in file.tensors:
            raise DuplicateNameError(
                f"there is a tensor of this name, and {each.url} has another; rename one "
                "of them first",
                tensor=each.name,
                url=file.url,
            )
