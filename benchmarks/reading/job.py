"""What a peer's process is told, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal, Self

from .datasets import Dataset

KEY = SECRET = "test"
REGION = "us-east-1"
BUCKET = "bench"

Action = Literal["open", "load", "into", "rows", "columns"]


@dataclass(frozen=True)
class Place:
    """A server that speaks as much of S3 as reading takes, path-style.

    Attributes
    ----------
    url
        Without a slash at its end.
    ca
        The certificate to trust, where it speaks TLS.
    """

    url: str
    ca: str | None = None

    def object_url(self, key: str) -> str:
        """Return the URL of an object, unsigned."""
        return f"{self.url}/{BUCKET}/{key}"


@dataclass(frozen=True)
class Task:
    """What is timed.

    Attributes
    ----------
    names
        The tensors to read.
    span
        Rows or columns, where only those of the one tensor are wanted.
    """

    action: Action
    names: list[str]
    span: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Job:
    """A peer, what it reads, and from where.

    Attributes
    ----------
    layout
        Offset and length of each tensor in the zTensor file, for peers that only move bytes.
    signed_url
        That file's URL, for peers that only speak HTTP.
    """

    peer: str
    place: Place
    dataset: Dataset
    layout: dict[str, tuple[int, int]]
    signed_url: str
    task: Task

    @property
    def zt_key(self) -> str:
        """The key of the zTensor file."""
        return f"{self.dataset.name}.zt"

    def dumps(self) -> str:
        """Return the job as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, line: str) -> Self:
        """Return the job of a line."""
        fields = json.loads(line)
        dataset = fields["dataset"] | {"shape": tuple(fields["dataset"]["shape"])}
        return cls(
            fields["peer"],
            Place(**fields["place"]),
            Dataset(**dataset),
            {name: (offset, length) for name, (offset, length) in fields["layout"].items()},
            fields["signed_url"],
            Task(**fields["task"]),
        )
