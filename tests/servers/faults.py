"""What the recording proxy can do to an exchange."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Status:
    """Answer with this status, in the server's place."""

    code: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Delay:
    """Forward the request this much later."""

    seconds: float


@dataclass(frozen=True)
class Full:
    """Ask the server for the whole object, whatever range the client wants.

    A server that verifies signatures refuses it where the client signed its Range header.
    """


@dataclass(frozen=True)
class DropResponse:
    """Let the server act on the request, then close the connection without an answer."""


@dataclass(frozen=True)
class CutRequest:
    """Pass on this many bytes of the request's body, then close both connections."""

    after_bytes: int


@dataclass(frozen=True)
class CutResponse:
    """Close the connection after this many bytes of the body."""

    after_bytes: int


@dataclass(frozen=True)
class ShortBody:
    """Leave out the last ``n`` bytes of the body, with lengths in the headers that agree."""

    n: int


@dataclass(frozen=True)
class CorruptByte:
    """Invert the byte at this position of the body."""

    at: int


@dataclass(frozen=True)
class Reset:
    """Reset the connection after this many bytes of the body."""

    after_bytes: int


@dataclass(frozen=True)
class Stall:
    """Send nothing more after this many bytes of the body, and keep the connection."""

    after_bytes: int
    seconds: float = 30.0


@dataclass(frozen=True)
class Drip:
    """Send the body byte by byte, with a pause after each."""

    seconds: float


@dataclass(frozen=True)
class Headers:
    """Send these headers instead of the server's."""

    changed: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Chunked:
    """Send the body in chunks, and these bytes after it."""

    surplus: bytes = b""


Fault: TypeAlias = (
    Status
    | Delay
    | Full
    | DropResponse
    | CutRequest
    | CutResponse
    | ShortBody
    | CorruptByte
    | Reset
    | Stall
    | Drip
    | Headers
    | Chunked
)
