"""The places that the contract is tested on, each with a way round our own code."""

from __future__ import annotations

import uuid
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fsspec

from tests.servers.endpoint import Endpoint, StoreEndpoint
from tests.servers.http import HttpServer
from tests.servers.proxy import Proxy
from tests.servers.s3 import S3Endpoint
from ztensor_remote.stores import Cache, Location, locate

READABLE = [
    "local",
    "memory",
    "bytes",
    "cached",
    "http",
    "moto",
    "ministack",
    "rclone",
    "gcs",
    "azure",
]
# One for each kind of client; S3 once signed by us and once by s3fs.
FAULTY = ["http", "moto", "s3fs", "gcs", "azure"]
REMOTE = ["http", "moto", "ministack", "rclone", "gcs", "azure"]
WRITABLE = ["local", "memory", "moto", "ministack", "rclone", "gcs", "azure"]

PART = 5 << 20


class Backend(ABC):
    """A place for objects; paths are inside a folder or bucket of its own."""

    @abstractmethod
    def put(self, path: str, data: bytes) -> None:
        """Store an object, not through our code."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Return an object, not through our code."""

    @abstractmethod
    def names(self) -> list[str]:
        """List what there is."""

    @abstractmethod
    def location(self, path: str) -> Location:
        """Return what our code opens."""


@dataclass
class LocalBackend(Backend):
    """A folder."""

    folder: Path

    def put(self, path: str, data: bytes) -> None:
        temporary = self.folder / f"{path}.new"
        temporary.write_bytes(data)
        temporary.replace(self.folder / path)

    def read(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()

    def names(self) -> list[str]:
        return [path.name for path in self.folder.iterdir()]

    def location(self, path: str) -> Location:
        return locate(self.folder / path)


@dataclass
class BytesBackend(Backend):
    """Objects in memory, which are their own locations."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def put(self, path: str, data: bytes) -> None:
        self.objects[path] = data

    def read(self, path: str) -> bytes:
        return self.objects[path]

    def names(self) -> list[str]:
        return list(self.objects)

    def location(self, path: str) -> Location:
        return locate(self.objects[path])


@dataclass
class MemoryBackend(Backend):
    """fsspec's memory filesystem, which stands for all that we know nothing of."""

    folder: str = field(default_factory=lambda: f"/{uuid.uuid4().hex}")

    @property
    def fs(self) -> Any:
        return fsspec.filesystem("memory")

    def put(self, path: str, data: bytes) -> None:
        self.fs.pipe_file(f"{self.folder}/{path}", data)

    def read(self, path: str) -> bytes:
        data: bytes = self.fs.cat_file(f"{self.folder}/{path}")
        return data

    def names(self) -> list[str]:
        return [name.rpartition("/")[2] for name in self.fs.find(self.folder)]

    def location(self, path: str) -> Location:
        return locate(f"memory://{self.folder}/{path}")


@dataclass
class HttpBackend(LocalBackend):
    """A folder behind our own web server."""

    server: HttpServer

    def location(self, path: str) -> Location:
        return self.through(self.server.endpoint, path)

    def through(self, endpoint: Endpoint, path: str) -> Location:
        return locate(f"{endpoint.url}/{path}")


@dataclass
class CachedBackend(HttpBackend):
    """The same, by way of a cache on the disk."""

    def location(self, path: str) -> Location:
        return replace(super().location(path), cache=Cache(self.folder / "cache"))


@dataclass
class StoreBackend(Backend):
    """A folder in a bucket; the bucket and its client are shared, for they take time to make."""

    endpoint: StoreEndpoint
    bucket: str
    fs: Any
    folder: str = field(default_factory=lambda: uuid.uuid4().hex)

    def key(self, path: str) -> str:
        return f"{self.bucket}/{self.folder}/{path}"

    def put(self, path: str, data: bytes) -> None:
        with warnings.catch_warnings():
            # aiohttp says so of what gcsfs and adlfs pass to it; neither lets its caller choose.
            warnings.filterwarnings("ignore", "Sending a large body", ResourceWarning)
            self.fs.pipe_file(self.key(path), data)

    def read(self, path: str) -> bytes:
        data: bytes = self.fs.cat_file(self.key(path))
        return data

    def names(self) -> list[str]:
        self.fs.invalidate_cache()
        return [name.rpartition("/")[2] for name in self.fs.find(f"{self.bucket}/{self.folder}")]

    def location(self, path: str) -> Location:
        return self.through(self.endpoint, path)

    def through(self, endpoint: StoreEndpoint, path: str) -> Location:
        return locate(endpoint.uri(self.key(path)), storage_options=endpoint.storage_options)

    def open_uploads(self) -> list[Any]:
        """List multipart uploads that nobody finished; only S3 can tell."""
        if not isinstance(self.endpoint, S3Endpoint):
            return []
        try:
            answer = self.fs.call_s3("list_multipart_uploads", Bucket=self.bucket)
        except FileNotFoundError:  # rclone, where there are none
            return []
        uploads = answer.get("Uploads", [])
        return [upload for upload in uploads if upload["Key"].startswith(self.folder)]


RemoteBackend = HttpBackend | StoreBackend
MakeBackend = Callable[[str], Backend]
Proxied = tuple[Location, Proxy]
Through = Callable[[RemoteBackend, str], Proxied]
