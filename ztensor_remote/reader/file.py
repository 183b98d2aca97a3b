"""A file of tensors, opened: a mapping of names to lazy tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from types import MappingProxyType
from typing import Any, Self
from weakref import WeakKeyDictionary

from ..errors import InvalidInputError, TensorNotFoundError
from ..interop import Format
from ..manifest import Foreign, Manifest, Version
from ..stores import (
    Cache,
    Gathering,
    Identity,
    Limits,
    Location,
    Source,
    Stats,
    cache_at,
    limits_of,
    locate,
)
from ..types import StorageOptions, Verify
from .blobs import Blobs
from .gathering import Place, open_place, reopen_place
from .handle import Handle, Reduced
from .loads import Loads
from .metadata import TensorMetadata
from .opening import Opened
from .show import size_text, version_text
from .tensor import LazyTensor


class Reader(Loads):
    """Open a file of tensors on any filesystem, and fetch only what it says of itself.

    zTensor files of any version are read, and those of other formats where they are. Several
    files that have no name in common are read as one.

    Parameters
    ----------
    location : str, PathLike, UPath or bytes-like; or a list of them
        A path, a URL of any fsspec filesystem (chained ones too), or the file's bytes. A path or
        URL may also stand for several files: a pattern with a ``*`` in it, a ``….index.json`` as
        the Hugging Face Hub has them, or a folder with one, or with files of one format.
    storage_options : mapping, optional
        For the filesystem that the URL names, as everywhere in fsspec.
    fs : AbstractFileSystem, optional
        A filesystem to use instead; `location` is then a path on it.
    verify : bool or "slices", default True
        Compare components that are read whole with their digests; with "slices", also the chunks
        that a slice touches, which are then fetched whole (see `Writer`, `chunk_digests`).
    limits : Limits, optional
        How much memory the file may ask for.
    cache : str, PathLike or Cache, optional
        A folder of this host that keeps what is read of remote files. Arrays that come from it
        are read-only views.
    identity : Identity, optional
        The version of the object, or of each file, that it must be, as another reader's
        `identity` tells.
    mmap : bool, optional
        Whether a local file is mapped; by default unless it is on a network filesystem.
    format : str, default "auto"
        One of "ztensor", "safetensors", "gguf", "npy", "npz", "torch", "pickle", "onnx", "hdf5".
        What kind of file it is; by default its bytes tell, then its name. In a folder, which
        files are meant; by default those of the first of these formats that it has.

    Raises
    ------
    DuplicateNameError
        Two files have a tensor of one name.
    NotFoundError, AccessDeniedError, StoreError
        The object can't be reached.
    ObjectChangedError
        It is not, or no longer, the version that `identity` names.
    InvalidInputError
        An argument is none that there is.
    FormatError
        It is no file of tensors, or a damaged one (SPEC.md §11).

    Examples
    --------
    >>> model = Reader("model.zt")  # doctest: +SKIP
    >>> model["layers.0.weight"][:16]  # doctest: +SKIP
    """

    def __init__(
        self,
        location: Any,
        *,
        storage_options: StorageOptions | None = None,
        fs: Any = None,
        verify: Verify = True,
        limits: Limits | None = None,
        cache: Cache | str | PathLike[str] | None = None,
        identity: Identity | None = None,
        mmap: bool | None = None,
        format: Format = "auto",
        send_manifest: bool = False,
    ) -> None:
        limits = limits_of(limits)
        if verify not in (True, False, "slices"):
            raise InvalidInputError(f"verify={verify!r}; give True, False or 'slices'")
        kept = cache_at(cache)
        is_list = isinstance(location, list | tuple)
        if is_list and not location:
            raise InvalidInputError("the list of files is empty")
        places = [
            locate(each, storage_options=storage_options, fs=fs, cache=kept, mmap=mmap)
            for each in (location if is_list else [location])
        ]
        place: Place = tuple(places) if is_list else places[0]
        opened = open_place(place, pinned=identity, limits=limits, format=format)
        self._begin(place, opened, verify, limits, format, send_manifest)

    def _begin(
        self,
        place: Place,
        opened: Opened,
        verify: Verify,
        limits: Limits,
        format: Format,
        send_manifest: bool,
    ) -> None:
        self._place = place
        self._format = format
        self._send_manifest = send_manifest
        self._handles: WeakKeyDictionary[Source, Handle] = WeakKeyDictionary()
        self._adopt(opened, verify, limits)

    def _adopt(self, opened: Opened, verify: Verify, limits: Limits) -> None:
        self._manifest = opened.manifest
        self._recovered = opened.recovered
        self._blobs = Blobs(opened, verify, limits)
        self._tensors: dict[str, LazyTensor] = {}

    # --- what the file says ------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where the file is, without credentials."""
        return self._blobs.source.url

    @property
    def version(self) -> Version | Foreign:
        """``"0.1"``, ``"1.0"``, ``"1.1"``, ``"1.2"`` or ``"2"``; else the name of the format.

        Of several files the one that they have in common, ``"mixed"`` where they have none.
        """
        return self._manifest.version

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Attributes of the file as a whole; of several, the first that has one decides."""
        return MappingProxyType(dict(self._manifest.attributes))

    @property
    def manifest(self) -> Manifest:
        """All that the file says of itself."""
        return self._manifest

    @property
    def identity(self) -> Identity:
        """The version of the object, or of each file, that was opened; all reads are of these."""
        return self._blobs.source.identity

    @property
    def recovered(self) -> bool:
        """Whether the end of the file is torn, and this is what was whole before.

        An append that goes on at this moment, or was killed, leaves a local file like that.
        """
        return self._recovered

    @property
    def stats(self) -> Stats:
        """Requests and bytes that this reader has cost so far, opening included."""
        return self._blobs.stats

    @property
    def tensor_names(self) -> list[str]:
        """The names, in file order."""
        return list(self._manifest.tensors)

    def metadata(self, name: str) -> TensorMetadata:
        """Return what the published 1.0 package tells of a tensor.

        Raises
        ------
        TensorNotFoundError
        """
        return TensorMetadata.of(self[name]._tensor)

    # --- the mapping -------------------------------------------------------------------------

    def __getitem__(self, name: str) -> LazyTensor:
        """Return a tensor, not yet read.

        Raises
        ------
        TensorNotFoundError
        """
        tensor = self._manifest.tensors.get(name)
        if tensor is None:
            raise TensorNotFoundError(
                f"no tensor is named {name!r}{self._hint(name)}", url=self.url
            )
        if name not in self._tensors:
            self._tensors[name] = LazyTensor(self, self._blobs, tensor)
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._manifest.tensors)

    def __len__(self) -> int:
        return len(self._manifest.tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._manifest.tensors

    def _hint(self, name: Any) -> str:
        from difflib import get_close_matches

        close = get_close_matches(str(name), self._manifest.tensors, n=1)
        return f"; did you mean {close[0]!r}?" if close else ""

    def refresh(self) -> bool:
        """Look whether the file, or which files there are, has changed; go on with what is now.

        Tensors that were taken from this reader before stay those of the version they are of.

        Returns
        -------
        bool
            Whether there was a new version.

        Raises
        ------
        NotFoundError, FormatError, StoreError
            This reader then stays as it is.
        """
        self._check_open()
        blobs = self._blobs
        opened = open_place(self._place, limits=blobs.limits, format=self._format)
        if opened.source.identity.matches(self.identity):
            opened.close()
            return False
        self._adopt(opened, blobs.verify, blobs.limits)
        return True

    # --- the object itself -------------------------------------------------------------------

    def close(self) -> None:
        """Close the file. Arrays that were read stay valid."""
        self._blobs.close()

    def _check_open(self) -> None:
        self._blobs.check_open()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __reduce__(self) -> Any:
        return self._reduced(self._blobs)

    def _reduced(self, blobs: Blobs) -> Reduced:
        """Return how to open, elsewhere, the version that these blobs are of."""
        # What is left of a torn file is found out by looking at it.
        sent = blobs.manifest if self._send_manifest and not self._recovered else None
        options = (blobs.verify, blobs.limits, self._format, self._send_manifest)
        where = (self._place, blobs.opened.place)
        return _rebuild, (*where, blobs.source.identity, sent, *options)

    @property
    def _locations(self) -> list[Location]:
        """Where the file lies, or each of several."""
        place = self._blobs.opened.place
        return [place] if isinstance(place, Location) else list(place.files.values())

    @property
    def _indexes(self) -> list[Location]:
        """Where the files that name those of several lie."""
        place = self._blobs.opened.place
        return [] if isinstance(place, Location) else list(place.indexes)

    @property
    def _handle(self) -> Handle:
        return self._handle_of(self._blobs)

    def _handle_of(self, blobs: Blobs) -> Handle:
        """Return what stands for the version that these blobs are of, the same each time."""
        handle = self._handles.get(blobs.source)
        if handle is None:
            handle = self._handles[blobs.source] = Handle.of(self, self._reduced(blobs))
        return handle

    def _is_at(self, handle: Handle) -> bool:
        """Whether it is open, and at the version that the handle is of."""
        return not self._blobs.closed and self._handles.get(self._blobs.source) is handle

    def __repr__(self) -> str:
        state = "closed, " if self._blobs.closed else ""
        state += "recovered, " if self._recovered else ""
        files = len(self._blobs.opened.files)
        state += f"{files} files, " if files else ""
        return (
            f"<Reader {self.url}: {state}{len(self)} tensors, "
            f"{size_text(self._manifest.stored_bytes)}, {version_text(self.version)}>"
        )


def open(
    location: Any,
    *,
    storage_options: StorageOptions | None = None,
    fs: Any = None,
    verify: Verify = True,
    limits: Limits | None = None,
    cache: Cache | str | PathLike[str] | None = None,
    identity: Identity | None = None,
    mmap: bool | None = None,
    format: Format = "auto",
    send_manifest: bool = False,
) -> Reader:
    """Open a file of tensors, or several as one; see `Reader` for the parameters."""
    return Reader(
        location,
        storage_options=storage_options,
        fs=fs,
        verify=verify,
        limits=limits,
        cache=cache,
        identity=identity,
        mmap=mmap,
        format=format,
        send_manifest=send_manifest,
    )


def _rebuild(
    asked: Place,
    place: Location | Gathering,
    identity: Identity,
    manifest: Manifest | None,
    verify: Verify,
    limits: Limits,
    format: Format,
    send_manifest: bool,
) -> Reader:
    if manifest is None:
        opened = open_place(place, pinned=identity, limits=limits, format=format)
    else:
        opened = reopen_place(place, manifest, pinned=identity, limits=limits)
    reader = Reader.__new__(Reader)
    reader._begin(asked, opened, verify, limits, format, send_manifest)
    return reader
