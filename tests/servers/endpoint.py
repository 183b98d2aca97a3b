"""How a client reaches a server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import fsspec


@dataclass(frozen=True)
class Endpoint(ABC):
    """A server's address, and what an fsspec client must be told to use it."""

    url: str

    protocol: ClassVar[str]

    @property
    @abstractmethod
    def storage_options(self) -> dict[str, Any]:
        """What `fsspec.filesystem` takes besides the protocol."""

    def at(self, url: str) -> Self:
        """Return the same server as reached through another address, such as a proxy's."""
        return replace(self, url=url)

    def filesystem(self) -> Any:
        """Return a client of its own: no listing cache or connection shared with other tests."""
        return fsspec.filesystem(self.protocol, skip_instance_cache=True, **self.storage_options)


@dataclass(frozen=True)
class StoreEndpoint(Endpoint):
    """An object store."""

    def uri(self, path: str) -> str:
        """Return the URI of ``bucket/key``."""
        return f"{self.protocol}://{path}"

    def make_bucket(self, name: str) -> None:
        """Create a bucket, or what the store calls one."""
        self.filesystem().mkdir(name)
