"""What is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .job import Action, Job

MIB = 1 << 20


@dataclass(frozen=True)
class Case:
    """One measurement, made with every peer that can do it.

    Attributes
    ----------
    title
        For the report.
    server
        One that drops what it is sent, at any speed or at that of a line, or ministack, which
        keeps it.
    count, tensor_bytes
        The tensors that are written.
    base_bytes
        What is there before.
    """

    name: str
    title: str
    action: Action
    server: Literal["sink", "line", "ministack"]
    count: int
    tensor_bytes: int
    base_bytes: int = 0
    result_bytes: int = 0

    @property
    def wanted(self) -> int:
        """Bytes of the tensors."""
        return self.count * self.tensor_bytes

    def job(self, peer: str, url: str) -> Job:
        """Return what a peer is told."""
        return Job(peer, self.action, url, self.count, self.tensor_bytes, self.base_bytes)


def cases(*, quick: bool) -> list[Case]:
    """Return every case; quick ones have few data, whose figures mean nothing."""
    unit = 1 if quick else 64
    return [
        Case("upload", "8 large tensors", "upload", "sink", 8, 2 * unit * MIB),
        Case("upload-16", "tensors of 16 MiB", "upload", "sink", unit, 16 * MIB),
        Case("upload-line", "the last, over 10 Gbit/s", "upload", "line", unit, 16 * MIB),
        Case(
            "append",
            f"added to {32 * unit:,} MiB, inside the store",
            "append",
            "ministack",
            1,
            unit * MIB,
            32 * unit * MIB,
        ),
        Case(
            "log",
            "a step of a log, one tensor of 100 changed",
            "log",
            "ministack",
            100,
            unit * MIB // 8,
        ),
    ]
