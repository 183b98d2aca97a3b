"""Write a file of tensors as a stream: blobs first, the manifest and the footer last."""

from __future__ import annotations

import operator
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, Self

from ..errors import InvalidInputError, UnsupportedError
from ..stores import Guarantees, locate, open_sink
from ..types import StorageOptions
from .abandoned import abandon
from .adders import Adders
from .append import Appending
from .assembly import DEFAULT, Assembly, Options
from .rules import Checksum, WritableVersion, rules_of


class Writer(Adders):
    """Write a file, or add to one; nothing appears under its name until it is whole.

    Parameters
    ----------
    location : str, PathLike or UPath
        A path, or a URL of any fsspec filesystem that can be written to.
    mode : {"w", "a"}
        "w" writes a new file in place of what is there; "a" adds to a file that is there, whose
        tensors stay, and publishes what is new all at once.
    version : {"1.2", "1.0", "2"}, optional
        Container version of a new file, 1.2 by default. 1.2 is read by published packages from
        1.0.2 to 1.2.3, 1.0 by 1.0.0 and 1.0.1, 2 by 2.x. A file that is added to keeps its own.
    storage_options, fs
        As for `open`.
    compress : bool or int, default False
        zstd for all tensors: True for level 3, or a level from 1 to 22.
    checksum : str or None, default "default"
        Digest of each component: "crc32c" or "sha256" (1.x), "xxh3" or "sha256" (2), or None.
    dedup : bool, default False
        Store equal bytes once (tied weights), where compression and digest are the same. Costs a
        SHA-256 of everything that is added. A tensor that is streamed is always written itself.
    chunk_digests : bool, default False
        Also store a crc32c of each MiB of raw components, so that `open(..., verify="slices")`
        can check slices. Published readers pass over them.
    canonical : bool, default False
        New files of version 2 only: equal tensors give equal files. Tensors must be added in the
        order of their names.
    copy : bool, default True
        False if arrays that are added stay as they are until the file is finalized: an upload then
        sends them from where they are, at less cost.
    retries : int, default 0
        For "a": how often to begin again, from the other's version, where another writer came
        first. What is added then waits in a temporary file until the end.

    Raises
    ------
    InvalidInputError, UnsupportedError, FormatError, StoreError

    Examples
    --------
    >>> with Writer("model.zt") as w:  # doctest: +SKIP
    ...     w.add_tensor("weight", array, compress=True)
    """

    def __init__(
        self,
        location: Any,
        *,
        mode: Literal["w", "a"] = "w",
        version: WritableVersion | None = None,
        storage_options: StorageOptions | None = None,
        fs: Any = None,
        compress: bool | int = False,
        checksum: Checksum | str | None = DEFAULT,
        dedup: bool = False,
        canonical: bool = False,
        chunk_digests: bool = False,
        copy: bool = True,
        retries: int = 0,
    ) -> None:
        if mode not in ("w", "a"):
            raise InvalidInputError(f"mode {mode!r}: use 'w' for a new file, 'a' to add to one")
        place = locate(location, storage_options=storage_options, fs=fs)
        options = Options(compress, checksum, chunk_digests=chunk_digests, copy=copy)
        if mode == "a":
            _check_appendable(canonical, retries)
            self._file: Assembly = Appending(place, version, options, dedup=dedup, retries=retries)
            return
        rules = rules_of(version or "1.2")
        if retries:
            raise InvalidInputError("retries= is for mode 'a': a new file replaces what is there")
        is_plain = not compress and not chunk_digests and checksum in (DEFAULT, "xxh3")
        if canonical and (version != "2" or not is_plain):
            raise InvalidInputError(
                "canonical files are version 2, not compressed, with xxh3 digests alone: "
                "Writer(..., version='2', canonical=True)"
            )
        sink = open_sink(place)
        self._file = Assembly(sink, rules, options, dedup=dedup, canonical=canonical)

    @classmethod
    def _of(cls, file: Assembly) -> Self:
        writer = cls.__new__(cls)
        writer._file = file
        return writer

    @property
    def url(self) -> str:
        """Where the file will be, without credentials."""
        return self._file.url

    @property
    def guarantees(self) -> Guarantees:
        """What holds for readers and other writers of the file; finding out may ask the store.

        Raises
        ------
        StoreError
        """
        if isinstance(self._file, Appending):
            return self._file.guarantees
        return Guarantees(True, False, "a new file replaces what is there")

    @property
    def fallback(self) -> str | None:
        """Why the filesystem's own client sends parts instead of plain requests, if it does."""
        return self._file.fallback

    @property
    def attributes(self) -> MutableMapping[str, Any]:
        """Attributes of the file as a whole; set them until it is finalized."""
        return self._file.attributes

    @property
    def tensor_names(self) -> list[str]:
        """Names that the file will have, in the order they were added."""
        return list(self._file.tensors)

    def remove(self, name: str) -> None:
        """Leave a tensor out, in mode "a"; its bytes stay in the file until it is compacted.

        Raises
        ------
        TensorNotFoundError, UnsupportedError
        """
        self._appending().remove(name)

    def replace(
        self,
        name: str,
        tensor: Any,
        compress: bool | int | None = None,
        *,
        checksum: Checksum | str | None = DEFAULT,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Put another tensor in the place of one, in mode "a"; the parameters are `add_tensor`'s.

        Raises
        ------
        TensorNotFoundError, InvalidInputError, UnsupportedError, StoreError
        """
        with self._appending().replacing(name):
            self.add_tensor(name, tensor, compress, checksum=checksum, attributes=attributes)

    def _appending(self) -> Appending:
        if not isinstance(self._file, Appending):
            raise UnsupportedError(
                "a new file is a stream that takes nothing back; open it with mode='a' afterwards",
                url=self.url,
            )
        return self._file

    def finalize(self) -> None:
        """Write manifest and footer, and make the file appear under its name.

        Raises
        ------
        ConcurrentWriteError, StoreError
            Nothing appeared.
        """
        self._file.finalize()

    def abort(self) -> None:
        """Give up: nothing appears, nothing is left behind."""
        self._file.abort()

    def __enter__(self) -> Self:
        self._file.check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if error is not None:
            self._file.fail(error)
        elif self._file.state not in ("finalized", "aborted"):
            with self._file.failing_for_good():
                self.finalize()

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            abandon(file)

    def __repr__(self) -> str:
        file = self._file
        return (
            f"<Writer {file.url}: {file.state}, {len(file.tensors)} tensors, "
            f"zTensor {self.version}>"
        )


def append(
    location: Any,
    *,
    storage_options: StorageOptions | None = None,
    fs: Any = None,
    compress: bool | int = False,
    checksum: Checksum | str | None = DEFAULT,
    dedup: bool = False,
    retries: int = 0,
) -> Writer:
    """Open a file to add tensors: ``Writer(location, mode="a")``; see there for the parameters."""
    return Writer(
        location,
        mode="a",
        storage_options=storage_options,
        fs=fs,
        compress=compress,
        checksum=checksum,
        dedup=dedup,
        retries=retries,
    )


def _check_appendable(canonical: bool, retries: Any) -> None:
    if canonical:
        raise InvalidInputError("a file that was appended to is not canonical; write a new one")
    try:
        fits = operator.index(retries) >= 0
    except TypeError:
        fits = False
    if not fits:
        raise InvalidInputError(f"retries={retries!r}: a number from 0")
