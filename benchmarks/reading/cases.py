"""What is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .datasets import Dataset
from .job import Task

PlaceName = Literal["plain", "tls", "signed"]


@dataclass(frozen=True)
class Case:
    """One measurement, made with every peer that can do it.

    Attributes
    ----------
    title
        For the report.
    place
        Which of the servers.
    latency
        Seconds that a round trip takes on top.
    cold
        Whether every measurement has a process of its own, whose start counts.
    processes
        How many read at once, each its share of the tensors.
    """

    name: str
    title: str
    dataset: Dataset
    task: Task
    place: PlaceName = "plain"
    latency: float = 0.0
    cold: bool = False
    processes: int = 1

    @property
    def wanted(self) -> int:
        """Bytes that the caller asks for."""
        whole = len(self.task.names) * self.dataset.tensor_bytes
        share = self.task.span[1] - self.task.span[0]
        match self.task.action:
            case "rows":
                return whole * share // self.dataset.shape[0]
            case "columns":
                return whole * share // self.dataset.shape[1]
            case "open":
                return 0
            case _:
                return whole

    @property
    def result_bytes(self) -> int:
        """Bytes of the result, where it is new memory."""
        return 0 if self.task.action == "into" else self.wanted

    def tasks(self) -> list[Task]:
        """Return what each process does."""
        names = self.task.names
        return [
            Task(self.task.action, names[i :: self.processes], self.task.span)
            for i in range(self.processes)
        ]


def cases(*, quick: bool, matrix_gib: int = 1) -> list[Case]:
    """Return every case; quick ones have tiny data, whose figures mean nothing."""
    model = Dataset("model", 8, (128, 128)) if quick else Dataset("model", 64, (2048, 2048))
    small = Dataset("small", 20, (32, 32)) if quick else Dataset("small", 500, (128, 128))
    packed = Dataset(
        "packed", *((2, (256, 128)) if quick else (16, (4096, 2048))), "float16", compressed=True
    )
    rows = 64 if quick else 32768 * matrix_gib
    columns = 128 if quick else 8192
    matrix = Dataset("matrix", 1, (rows, columns))

    everything = model.names
    layer = [model.names[len(model.names) // 2]]
    found = [
        Case("into", "whole model into touched memory", model, Task("into", everything)),
        Case("load", "whole model into fresh memory", model, Task("load", everything)),
        Case("into-tls", "the first, over TLS", model, Task("into", everything), "tls"),
        Case("load-tls", "the second, over TLS", model, Task("load", everything), "tls"),
        Case(
            "into-signed",
            "the first, where signatures are verified",
            model,
            Task("into", everything),
            "signed",
        ),
        Case("layer-cold", "one layer, cold process", model, Task("load", layer), cold=True),
        Case("layer-warm", "one layer, warm process", model, Task("load", layer)),
    ]
    for ms in (0, 30):
        away = {"latency": ms / 1e3}
        found += [
            Case(f"open-{ms}", f"open, {ms} ms", model, Task("open", []), **away),
            Case(
                f"small-{ms}",
                f"all small tensors, {ms} ms",
                small,
                Task("load", small.names),
                **away,
            ),
            Case(
                f"small-4th-{ms}",
                f"every 4th small tensor, {ms} ms",
                small,
                Task("load", small.names[::4]),
                **away,
            ),
            Case(
                f"rows-{ms}",
                f"a block of rows, {ms} ms",
                matrix,
                Task("rows", matrix.names, (rows // 4, rows // 4 + max(1, rows // 64))),
                **away,
            ),
        ]
        found += [
            Case(
                f"columns-{columns // part}-{ms}",
                f"{columns // part} of {columns} columns, {ms} ms",
                matrix,
                Task("columns", matrix.names, (columns // part, 2 * (columns // part))),
                **away,
            )
            for part in (64, 8, 2)
        ]
    found += [
        Case("compressed", "compressed model", packed, Task("load", packed.names)),
        Case(
            "compressed-rows",
            "rows of a compressed tensor",
            packed,
            Task("rows", packed.names[:1], (packed.shape[0] // 4, packed.shape[0] // 2)),
        ),
        Case(
            "processes",
            "whole model, a share to each of 8 processes",
            model,
            Task("load", everything),
            processes=8,
        ),
    ]
    return found
