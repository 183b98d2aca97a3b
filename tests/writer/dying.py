"""A program whose writers are killed: it forks a child for each point at which to die.

``python -m tests.writer.dying calls|times URLS OPTIONS COUNT``: ``URLS`` has ``{}`` for the number
of the child, ``OPTIONS`` are JSON. Prints how many children did not come to their end.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from typing import Any

import numpy as np

import ztensor_remote as zt
from ztensor_remote.stores import locate, parts

OLD, NEW = 1, 2
LARGE = 1_500_000
"""Elements of a tensor that takes more than two parts of the smallest size."""

AT_ONCE = 4


def write(url: str, options: dict[str, Any], value: int, size: int = LARGE) -> None:
    """Write a file in which every element has one value."""
    with zt.Writer(url, storage_options=options) as writer:
        writer.add_tensor("small", np.full(1000, value), compress=True)
        with writer.stream_tensor("large", (size,), "int64") as part:
            for start in range(0, size, 100_000):
                part.write(np.full(min(100_000, size - start), value))


class Fuse:
    """Counts the calls of functions, and kills the process at one of them."""

    def __init__(self, limit: int | None = None) -> None:
        self.calls = 0
        self._limit = limit

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        self.calls += 1
        if self.calls == self._limit:
            os.kill(os.getpid(), signal.SIGKILL)

    def __enter__(self) -> Fuse:
        threading.setprofile(self)
        sys.setprofile(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)


def kill_at_calls(urls: str, count: int) -> int:
    """Kill each child at a call that was drawn; nothing depends on the machine's speed."""
    write(urls.format("whole"), {}, NEW)  # imports what is imported when it is used first
    with Fuse() as fuse:
        write(urls.format("whole"), {}, NEW)
    killed = 0
    for number, point in enumerate(random.Random(2026).sample(range(1, fuse.calls), count)):
        child = os.fork()
        if not child:
            with Fuse(point):
                write(urls.format(number), {}, NEW)
            os._exit(0)
        killed += ended_by_signal(child)
    return killed


class Child:
    """A process that is connected to a store, and waits for the word to write."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        ready, self._say_ready = os.pipe()
        self._wait_for_go, self._go = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            fs, path = locate(url, storage_options=options).resolve()
            fs.exists(path)
            os.write(self._say_ready, b".")
            os.read(self._wait_for_go, 1)
            write(url, options, NEW)
            os._exit(0)
        os.close(self._say_ready)
        os.read(ready, 1)
        os.close(ready)

    def go(self) -> None:
        """Let it write."""
        os.write(self._go, b".")


def kill_at_times(urls: str, options: dict[str, Any], count: int) -> int:
    """Kill each child when a part of the time has passed that was drawn."""
    timed = [Child(urls.format(f"whole-{number}"), options) for number in range(AT_ONCE)]
    began = time.monotonic()
    for child in timed:
        child.go()
    for child in timed:
        ended_by_signal(child.pid)
    seconds = time.monotonic() - began

    draw = random.Random(2026)
    # One in each stretch of the time, so that the first ones die early however fast they are.
    fractions = [(number + draw.random()) / count for number in range(count)]
    killed = 0
    for first in range(0, count, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, count))
        children = {Child(urls.format(number), options): fractions[number] for number in numbers}
        began = time.monotonic()
        for child in children:
            child.go()
        for child, fraction in sorted(children.items(), key=lambda item: item[1]):
            time.sleep(max(0.0, began + fraction * seconds - time.monotonic()))
            os.kill(child.pid, signal.SIGKILL)
        killed += sum(ended_by_signal(child.pid) for child in children)
    return killed


def ended_by_signal(child: int) -> bool:
    """Wait for a child, and return whether it was killed."""
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError(f"a writer failed with status {os.WEXITSTATUS(status)}")
    return os.WIFSIGNALED(status)


def main(when: str, urls: str, options: str, count: str) -> None:
    """Run the program."""
    parts.PART_SIZE = 5 << 20
    if when == "calls":
        print(kill_at_calls(urls, int(count)))
    else:
        print(kill_at_times(urls, json.loads(options), int(count)))


if __name__ == "__main__":
    main(*sys.argv[1:])
