"""The cache on the disk, shared by processes: each block comes once, whoever dies meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Recording
from tests.reader.caching import ARRAYS, DATA, TAIL, Served, are_disjoint, object_files
from tests.servers.http import HttpServer
from tests.servers.proxy import Request

ROOT = Path(__file__).resolve().parents[2]

# Opens, says so, waits for a line, loads, and tells the sums of what came.
WORKER = """
import json, sys, zlib
import ztensor_remote as zt
url, cache = sys.argv[1:]
model = zt.open(url, cache=cache)
print("open", flush=True)
for line in sys.stdin:
    sums = {name: zlib.crc32(array) for name, array in model.load(json.loads(line)).items()}
    told = {"sums": sums, "requests": model.stats.requests, "bytes": model.stats.bytes}
    print(json.dumps(told), flush=True)
"""

FORKED = """
import os, sys, threading, zlib
import ztensor_remote as zt
url, cache = sys.argv[1:]
model = zt.open(url, cache=cache)
before = model["t0"].numpy()
children = []
for _ in range(2):
    if not (child := os.fork()):
        loaded = model.load(["t0", "t1", "t2"])
        os._exit(not (loaded["t0"] == before).all())
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
loaded = model.load(["t1", "t2"])
"""

LIMITED = """
import resource, sys, warnings, zlib
import ztensor_remote as zt
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    for _ in range(2):
        with zt.open(sys.argv[1], cache=sys.argv[2]) as model:
            assert len(model.load()) == len(model)
            assert "too large" in model.stats.uncached, model.stats
assert len(told) == 1 and "reading goes on without it" in str(told[0].message)
"""

NAMES = sorted(ARRAYS)


class Worker:
    """Another process that reads by way of the cache."""

    def __init__(self, url: str, cache: Path) -> None:
        command = [sys.executable, "-W", "error", "-c", WORKER, url, str(cache)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def wait_until_open(self) -> None:
        assert self._line() == "open\n"

    def begin(self, names: list[str] = NAMES) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(names) + "\n")
        self.process.stdin.flush()

    def result(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._line())
        return told

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


Start = Callable[[int], list[Worker]]


@pytest.fixture
def served(tmp_path: Path, http_server: HttpServer, recording: Recording) -> Served:
    _, proxy = recording(http_server.endpoint)
    return Served(tmp_path, http_server, proxy)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def start(served: Served, cache: Path) -> Iterator[Start]:
    """Start workers and wait until all have opened the model."""
    with ExitStack() as running:

        def make(count: int) -> list[Worker]:
            workers = [Worker(served.url, cache) for _ in range(count)]
            for worker in workers:
                running.enter_context(worker.process)
                running.callback(worker.process.kill)
            for worker in workers:
                worker.wait_until_open()
            return workers

        yield make


@pytest.fixture(scope="module")
def sums() -> dict[str, int]:
    from zlib import crc32

    return {name: crc32(array) for name, array in ARRAYS.items()}  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [2, 8])
def test_each_block_comes_once_for_all_processes(
    served: Served, start: Start, sums: dict[str, int], count: int
) -> None:
    workers = start(count)
    assert served.sent() == [TAIL] * count
    for worker in workers:
        worker.begin()
    results = [worker.result() for worker in workers]
    assert all(result["sums"] == sums for result in results)
    ranges = served.ranges()
    assert are_disjoint(ranges)
    wanted = sum(array.nbytes for array in ARRAYS.values())
    assert sum(map(len, ranges)) <= wanted + TAIL
    assert sum(result["bytes"] for result in results) == sum(map(len, ranges)) + count * TAIL


def test_one_after_another(served: Served, start: Start, sums: dict[str, int]) -> None:
    [first, second] = start(2)
    first.begin()
    assert first.result()["sums"] == sums
    served.sent()
    second.begin()
    assert second.result() == {"sums": sums, "requests": 1, "bytes": TAIL}
    assert served.sent() == []


@pytest.mark.parametrize("request_number", [1, 2])
def test_killed_in_the_middle(
    served: Served, start: Start, sums: dict[str, int], cache: Path, request_number: int
) -> None:
    [victim, heir] = start(2)
    served.sent()

    def kill(_: Request) -> None:
        if len(served.proxy.requests) == request_number:
            victim.kill()

    served.proxy.fault = kill
    for names in (NAMES[:6], NAMES[6:]):  # there is a second request, however they are planned
        victim.begin(names)
    victim.process.wait()
    served.proxy.fault = lambda _: None
    time.sleep(0.5)  # what the victim has sent may still be on its way
    served.sent()
    heir.begin()
    assert heir.result()["sums"] == sums
    assert are_disjoint(served.ranges())
    [late] = start(1)
    served.sent()
    late.begin()
    assert late.result()["sums"] == sums
    assert served.sent() == []
    assert len(object_files(cache)) == 1


def test_who_waits_for_one_that_is_killed_goes_on_alone(
    served: Served, start: Start, sums: dict[str, int]
) -> None:
    [victim, heir] = start(2)
    served.sent()

    def kill(_: Request) -> None:
        if len(served.proxy.requests) == 1:
            heir.begin(["t3"])
            time.sleep(0.3)  # by then it most likely waits
            victim.kill()

    served.proxy.fault = kill
    victim.begin(["t3"])
    assert heir.result()["sums"] == {"t3": sums["t3"]}


def test_one_that_hangs_is_not_waited_for_without_end(
    served: Served, start: Start, sums: dict[str, int]
) -> None:
    import ztensor_remote as zt

    [victim] = start(1)
    cache = Path(victim.process.args[-1])  # type: ignore[index, arg-type]
    served.sent()

    def stop(_: Request) -> None:
        if len(served.proxy.requests) == 1:
            os.kill(victim.process.pid, signal.SIGSTOP)

    served.proxy.fault = stop
    victim.begin(["t3"])
    os.waitid(os.P_PID, victim.process.pid, os.WSTOPPED)
    with zt.open(served.url, cache=cache, limits=zt.Limits(timeout=0.5)) as model:
        assert (model["t3"].numpy() == ARRAYS["t3"]).all()


def test_a_process_that_forks(served: Served, cache: Path) -> None:
    run(FORKED, served.url, cache)
    assert are_disjoint(served.ranges())


def test_files_that_may_not_be_long(served: Served, cache: Path) -> None:
    assert len(DATA) > 1 << 20
    run(LIMITED, served.url, cache)


def run(code: str, url: str, cache: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", code, url, str(cache)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
