"""What is written, and what a peer's process is told of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

import numpy as np

from tests.servers.s3 import KEY, REGION, SECRET

__all__ = ["BUCKET", "KEY", "KEY_OF_OBJECT", "REGION", "SECRET", "Action", "Array", "Job"]

Array = np.ndarray[Any, np.dtype[Any]]
Action = Literal["upload", "append", "log"]
BUCKET = "bench"
KEY_OF_OBJECT = "object.zt"


@dataclass(frozen=True)
class Job:
    """A peer's work, over and over.

    Attributes
    ----------
    url
        The server.
    count, tensor_bytes
        The tensors.
    base_bytes
        What is in the object that they are added to.
    """

    peer: str
    action: Action
    url: str
    count: int
    tensor_bytes: int
    base_bytes: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return self.count * self.tensor_bytes

    def payload(self, seed: int = 0) -> Array:
        """Return the tensors' bytes, one after the other; random ones over and over."""
        block = np.random.default_rng(seed).integers(0, 256, 1 << 20, np.uint8)
        return np.resize(block, self.nbytes)

    def tensors(self, payload: Array) -> dict[str, Array]:
        """Return views of the payload, by name."""
        rows = payload.reshape(self.count, self.tensor_bytes)
        return {f"layers.{i}.weight": row.view(np.float32) for i, row in enumerate(rows)}

    def dumps(self) -> str:
        """Return the job as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, line: str) -> Self:
        """Return the job of a line."""
        given = json.loads(line)
        return cls(**{field.name: given[field.name] for field in fields(cls)})
