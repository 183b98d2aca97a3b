"""Write tensors of one file or several to a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import DuplicateNameError, InvalidInputError, ObjectChangedError
from ..interop import Format
from ..manifest.assembled import merged_attributes
from ..reader import Reader, open
from ..stores import CopyRefusedError, Location, delete, open_sink
from ..types import StorageOptions
from ..writer import Writer
from ..writer.assembly import DEFAULT, Options
from ..writer.rules import Checksum, WritableVersion, rules_of
from .check import check_readable, check_same
from .copying import Chosen, Copying
from .export import Target, export, form_of
from .places import opened, place_for

if TYPE_CHECKING:
    from fsspec.callbacks import Callback


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A file that was written.

    Attributes
    ----------
    url : str
    tensors : int
    size : int
        Of the file, in bytes.
    """

    url: str
    tensors: int
    size: int


def convert(
    source: Any,
    target: Any,
    *,
    format: Format = "auto",
    to: Target = "auto",
    version: WritableVersion | None = "1.2",
    compress: bool | int | None = None,
    checksum: Checksum | str | None = DEFAULT,
    drop_attributes: bool = False,
    overwrite: bool = False,
    delete_original: bool = False,
    storage_options: StorageOptions | None = None,
    to_storage_options: StorageOptions | None = None,
    callback: Callback | None = None,
) -> Rewritten:
    """Write the tensors of one file, or of several, to a new one.

    They are streamed in memory that does not grow with them. Attributes, digests, sparse and
    quantized tensors are kept, and blobs that tensors share stay shared. Of several files, the
    first has the last word on attributes of the file.

    Parameters
    ----------
    source : path, URL, bytes or Reader; or a list of them
    target : str, PathLike or UPath
    format : str, default "auto"
        What the sources are, as for `open`.
    to : {"auto", "ztensor", "safetensors", "npz", "gguf"}
        What the target is to be; by default the ending of its name tells (``.safetensors``,
        ``.npz``, ``.gguf``), and any other means zTensor. The others hold what they have a form
        for: dense tensors of their dtypes, and GGUF its own quantized blocks; attributes of the
        file that are text in safetensors, anything plain in GGUF, none in npz. They are decoded,
        and have no digests.
    version : {"1.2", "1.0", "2"} or None
        None is the (first) source's own, or "1.2" where that can't be written.
    compress : bool or int, optional
        True or a zstd level compresses all, False decompresses all; by default each component
        stays as it is.
    checksum : str or None, default "default"
        Digest of each component. By default what the source states is kept where the version
        has it, and made where it is missing.
    drop_attributes : bool
        Leave out all attributes, where the target is of another format.
    overwrite : bool
        Whether the file may take the place of one that is there.
    delete_original : bool
        Delete the sources once the new file has been read back and found whole.
    storage_options, to_storage_options : mapping, optional
        For the filesystems of `source` and of `target`. The target's are the source's if they
        have the same protocol.
    callback : fsspec.callbacks.Callback, optional
        Told the stored bytes to read (`set_size`) and those read (`relative_update`).

    Returns
    -------
    Rewritten

    Raises
    ------
    InvalidInputError
        There is a file already; nothing was written.
    DuplicateNameError
        Two sources have a tensor of one name; nothing was written.
    UnsupportedError
        The target can't hold a tensor or an attribute; nothing was written.
    FormatError, DigestError, StoreError
    """
    with opened(source, storage_options, format) as readers:
        place = place_for(target, readers, to_storage_options, overwrite=overwrite)
        if delete_original:
            _check_deletable(readers, place)
        form = form_of(to, place.path)
        _check_options(form, version, drop_attributes)
        chosen = [Chosen(reader[name], name) for reader in readers for name in reader]
        written = write(
            place,
            chosen,
            form=form or "ztensor",
            drop_attributes=drop_attributes,
            version=version or version_like(readers[0]),
            attributes=merged_attributes(reader.attributes for reader in readers),
            options=Options(compress, checksum),
            overwrite=overwrite,
            callback=callback,
        )
        if delete_original:
            _check_written(chosen, place, form)
            _delete(readers)
        return written


def compress(source: Any, target: Any, level: int = 3, **options: Any) -> Rewritten:
    """Write a file anew with all tensors compressed.

    Parameters
    ----------
    source, target
        As for `convert`.
    level : int
        zstd level, from 1 (fast) to 22 (small).
    **options
        As for `convert`; `version` is the source's own by default.
    """
    return convert(source, target, **{"version": None, **options, "compress": level})


def decompress(source: Any, target: Any, **options: Any) -> Rewritten:
    """Write a file anew with no tensor compressed; `source`, `target`, `options` as `convert`."""
    return convert(source, target, **{"version": None, **options, "compress": False})


def merge(sources: Sequence[Any], target: Any, **options: Any) -> Rewritten:
    """Write the tensors of several files to one, each as it is stored.

    Parameters
    ----------
    sources : sequence
        Files that have no names in common.
    target, **options
        As for `convert`; `version` is the first source's own by default.

    Raises
    ------
    DuplicateNameError
        Two files have a tensor of one name; nothing was written.
    """
    return convert(list(sources), target, **{"version": None, **options})


def copy(
    source: Any,
    target: Any,
    names: Iterable[str] | None = None,
    *,
    overwrite: bool = False,
    storage_options: StorageOptions | None = None,
    to_storage_options: StorageOptions | None = None,
    callback: Callback | None = None,
) -> Rewritten:
    """Write some tensors of a file, or all, to a new file as they are stored.

    Parameters
    ----------
    source, target
        As for `convert`.
    names : iterable of str, optional
        All by default, in the order of the file.
    overwrite, storage_options, to_storage_options, callback
        As for `convert`.

    Raises
    ------
    TensorNotFoundError
        One is not in the file; nothing was written.
    """
    with opened(source, storage_options) as readers:
        return write(
            place_for(target, readers, to_storage_options, overwrite=overwrite),
            [
                Chosen(reader[name], name)
                for reader in readers
                for name in (reader if names is None else names)
            ],
            version=version_like(readers[0]),
            attributes=merged_attributes(reader.attributes for reader in readers),
            options=Options(),
            overwrite=overwrite,
            callback=callback,
        )


def write(
    place: Location,
    chosen: Sequence[Chosen],
    *,
    form: str = "auto",
    drop_attributes: bool = False,
    version: WritableVersion,
    attributes: Mapping[str, Any],
    options: Options,
    overwrite: bool,
    callback: Callback | None,
) -> Rewritten:
    """Write a new file of the chosen tensors; the parameters are those of `convert`.

    Raises
    ------
    ZTensorError
        Nothing appeared.
    """
    check_names(chosen, place)
    ordered, progress = in_order_of_bytes(chosen), Progress(callback)
    other = form_of(form, place.path)
    if other is not None:
        _check_plain(options, other)
    rules = rules_of(version)

    def attempt() -> Rewritten:
        if other is not None:
            output = export(
                place,
                ordered,
                attributes,
                form=other,
                drop_attributes=drop_attributes,
                overwrite=overwrite,
                announce=progress.begin,
            )
            return Rewritten(place.url, len(ordered), output.offset)
        sink = open_sink(place, create=not overwrite)
        file = Copying(sink, rules, options, tell=progress.begin(stored_bytes(chosen)))
        with Writer._of(file):
            file.attributes.update(attributes)
            file.copy(ordered)
        return Rewritten(file.url, len(file.tensors), file.size)

    try:
        return attempt()
    except CopyRefusedError:
        return attempt()  # now that it is known not to copy


def _check_options(form: str | None, version: str | None, drop_attributes: bool) -> None:
    if form is None and drop_attributes:
        raise InvalidInputError("zTensor files have attributes; leave drop_attributes= out")
    if form is not None and version not in (None, "1.2"):
        raise InvalidInputError(f"version={version!r} is for zTensor files, and this is {form}")


def _check_plain(options: Options, form: str) -> None:
    if options.compress or options.checksum not in (DEFAULT, None):
        raise InvalidInputError(
            f"{form} files are neither compressed nor digested; leave compress= and checksum= out"
        )


class Progress:
    """A callback that can be begun again."""

    def __init__(self, callback: Callback | None) -> None:
        self._callback = callback
        self._told = 0

    def begin(self, size: int) -> Callable[[int], object]:
        """Announce the stored bytes; return what is told those that were read."""
        if self._callback is not None:
            self._callback.set_size(size)
            if self._told:
                self._tell(-self._told)
        return self._tell

    def _tell(self, count: int) -> None:
        self._told += count
        if self._callback is not None:
            self._callback.relative_update(count)


def stored_bytes(chosen: Iterable[Chosen]) -> int:
    """Return the bytes that are read to copy tensors, each shared blob once."""
    blobs = {(id(each.blobs), part) for each in chosen for part in each.parts}
    return sum(part.length for _, part in blobs)


def in_order_of_bytes(chosen: Sequence[Chosen]) -> list[Chosen]:
    """Return the tensors file by file, each in the order in which its bytes lie."""
    files = {id(each.blobs): number for number, each in reversed(list(enumerate(chosen)))}
    return sorted(chosen, key=lambda each: (files[id(each.blobs)], each.place))


def version_like(reader: Reader) -> WritableVersion:
    """Return the version to write for a file to stay what it is, as far as that can be."""
    version: Any = reader.version
    return version if version in ("1.0", "1.2", "2") else "1.2"


def check_names(chosen: Sequence[Chosen], place: Location) -> None:
    """Refuse two tensors of one name.

    Raises
    ------
    DuplicateNameError
    """
    seen: dict[str, Chosen] = {}
    for each in chosen:
        if each.name in seen:
            raise DuplicateNameError(
                f"this name comes from {seen[each.name].url} and from {each.url}; rename one of "
                "them first",
                tensor=each.name,
                url=place.url,
            )
        seen[each.name] = each


def _check_deletable(readers: Sequence[Reader], place: Location) -> None:
    for reader in readers:
        for original in reader._locations:
            if original.data is not None:
                raise InvalidInputError(
                    "bytes in memory can't be deleted; leave delete_original= out"
                )
            if original.url == place.url:
                raise InvalidInputError(
                    "the original is the file to write, and can't be deleted", url=place.url
                )


def _check_written(chosen: Sequence[Chosen], place: Location, form: str | None) -> None:
    """Read the new file back, and compare it with its digests, or where it has none with ours."""
    with open(place) as written:
        if form is None:
            check_readable(written)
        else:
            check_same(chosen, written)


def _delete(readers: Sequence[Reader]) -> None:
    for reader in readers:
        if reader.refresh():
            raise ObjectChangedError(
                "it was replaced meanwhile; the new file has what it was before, and nothing more "
                "is deleted",
                url=reader.url,
            )
        for original in [*reader._locations, *reader._indexes]:
            delete(original)
