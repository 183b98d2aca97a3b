"""What something cost this process."""

from __future__ import annotations

import resource
import time
from pathlib import Path


class Gauge:
    """Measures from its making to `read`."""

    def __init__(self) -> None:
        self._resident = _reset_peak()
        self._cpu = cpu_seconds()
        self._start = time.perf_counter()

    def read(self) -> dict[str, float]:
        """Return seconds, seconds of CPU (children's too), and the bytes that memory grew by."""
        seconds = time.perf_counter() - self._start
        return {
            "seconds": seconds,
            "cpu": cpu_seconds() - self._cpu,
            "grown": max(0, _status("VmHWM") - self._resident),
        }


def cpu_seconds() -> float:
    """Return what this process and its children have used so far."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def _reset_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) << 10
    raise LookupError(field)
