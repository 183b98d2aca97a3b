"""Where an object lies: a path, a URL, a filesystem and a path, or bytes in memory."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError, MissingDependencyError
from ..types import Bytes, StorageOptions
from .failures import guarded, redact

if TYPE_CHECKING:
    from .cache import Cache

_EXTRAS = {"adlfs": "azure", "huggingface_hub": "hf", "obstore": "obstore"}
_LOCAL = frozenset(("file", "local"))


@dataclass(frozen=True)
class Location:
    """A place that can be opened, here or in another process.

    Attributes
    ----------
    path : str
        On the filesystem when `fs` is given, a local path or any fsspec URL otherwise.
    storage_options : mapping
        As the caller gave them.
    fs : AbstractFileSystem, ObjectStore or None
        As the caller gave it.
    data : bytes-like or None
        The object itself, for one in memory.
    cache : Cache or None
        What keeps the bytes that are read from it, if it is remote.
    mmap : bool or None
        Whether a local file is mapped; None lets its filesystem decide.
    """

    path: str
    storage_options: StorageOptions = field(default_factory=dict)
    fs: Any = None
    data: Bytes | None = None
    cache: Cache | None = None
    mmap: bool | None = None

    @property
    def url(self) -> str:
        """The location as it may be shown."""
        if self.data is not None:
            return "<bytes>"
        if self.is_in_store:
            return f"obstore:{type(self.fs).__name__}/{redact(self.path)}"
        if self.fs is not None and "://" not in self.path:
            return f"{_first(self.fs.protocol)}://{redact(self.path)}"
        return "::".join(redact(link) for link in self.path.split("::"))

    def __repr__(self) -> str:
        return f"Location({self.url!r})"

    def sibling(self, name: str) -> Location:
        """Return the location of another file in the same folder."""
        if self.data is not None:
            raise InvalidInputError("bytes in memory have no folder to find other files in")
        if self.is_local and "://" not in self.path:
            return replace(self, path=os.path.join(os.path.dirname(self.path), name))
        return self._edited(lambda path: posixpath.join(posixpath.dirname(path), name))

    def child(self, name: str) -> Location:
        """Return the location of a file in the folder that this is the location of."""
        return self._edited(
            lambda path: f"{path}{'' if path.endswith(('/', os.sep)) else '/'}{name}"
        )

    def _edited(self, edit: Callable[[str], str]) -> Location:
        """Change the path: of a chained URL that of its first link that has one."""
        links = [self.path] if self.fs is not None else self.path.split("::")
        number = next((i for i, link in enumerate(links) if "://" in link), 0)
        link = links[number]
        if link.startswith(("http://", "https://")):  # a query is of one file alone
            link = link.partition("?")[0]
        links[number] = edit(link)
        return replace(self, path="::".join(links))

    @property
    def server(self) -> str:
        """A name for whoever answers requests for it; it tells nothing secret."""
        options = hash(repr(sorted(self.storage_options.items(), key=repr)))
        place = "/".join(self.url.split("/")[:3]) if "://" in self.path else ""
        return f"{place} {options:x} {id(self.fs) if self.fs else 0:x}"

    @property
    def stem(self) -> str:
        """The file's name without its last suffix."""
        name = posixpath.basename(self.path.replace(os.sep, "/"))
        return name.rpartition(".")[0] or name

    @property
    def is_in_store(self) -> bool:
        """Whether `fs` is a store of obstore's, no filesystem; nothing is imported to tell."""
        return type(self.fs).__module__.startswith("obstore.") and not hasattr(self.fs, "protocol")

    @property
    def is_local(self) -> bool:
        """Whether the operating system can map the file."""
        if self.data is not None:
            return False
        if self.fs is not None:
            return not self.is_in_store and _first(self.fs.protocol) in _LOCAL
        scheme, separator, _ = self.path.partition("://")
        return (not separator and "::" not in self.path) or scheme in _LOCAL

    @property
    def local_path(self) -> str:
        """The path for the operating system; only where `is_local`."""
        if self.fs is not None:
            return str(self.fs._strip_protocol(self.path))
        path = self.path.partition("://")[2] if "://" in self.path else self.path
        return os.path.abspath(os.path.expanduser(path))

    def resolve(self) -> tuple[Any, str]:
        """Return the fsspec filesystem and the path on it.

        A filesystem that was made before a fork is made anew: its event loop stayed behind.
        """
        if self.is_in_store:
            return self.fs, self.path
        if self.fs is not None:
            return _this_process(self.fs), self.fs._strip_protocol(self.path)
        import fsspec

        found: tuple[Any, str] = guarded(
            lambda: _import(lambda: fsspec.url_to_fs(self.path, **self.storage_options)),
            url=self.url,
            doing="find a filesystem for it",
        )
        return found


def locate(
    location: Any,
    *,
    storage_options: StorageOptions | None = None,
    fs: Any = None,
    cache: Cache | None = None,
    mmap: bool | None = None,
) -> Location:
    """Return the `Location` of a path, PathLike, UPath, URL, or bytes-like object.

    Raises
    ------
    InvalidInputError
        Not one of those, or options that contradict each other.
    """
    if isinstance(location, Location):
        return replace(location, cache=cache) if cache else location
    if isinstance(location, bytes | bytearray | memoryview):
        return Location("", data=location)
    if fs is not None and storage_options:
        raise InvalidInputError("give fs= or storage_options=, not both: fs= has its own")
    if fs is None and hasattr(location, "storage_options") and hasattr(location, "protocol"):
        # universal_pathlib: the path knows its filesystem's options.
        options = {**location.storage_options, **(storage_options or {})}
        return Location(str(location), options, cache=cache, mmap=mmap)
    if isinstance(location, str | os.PathLike):
        options = dict(storage_options or {})
        return Location(os.fspath(location), options, fs, cache=cache, mmap=mmap)
    raise InvalidInputError(
        f"can't open a {type(location).__name__}: give a path, a URL, or the file's bytes"
    )


def _first(protocol: str | tuple[str, ...]) -> str:
    return protocol if isinstance(protocol, str) else protocol[0]


def _this_process(fs: Any) -> Any:
    pid = getattr(fs, "_pid", os.getpid())
    return fs if pid == os.getpid() else type(fs)(*fs.storage_args, **fs.storage_options)


def _import(make: Any) -> Any:
    try:
        return make()
    except ImportError as error:
        package = (error.name or str(error)).partition(".")[0]
        extra = next((_EXTRAS[key] for key in _EXTRAS if key in str(error)), None)
        wanted = f"'ztensor-remote[{extra}]'" if extra else package
        raise MissingDependencyError(
            f"this URL needs a package that is not installed ({error}): pip install {wanted}"
        ) from None
