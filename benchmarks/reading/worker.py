"""The process of one peer: does its task whenever it is told to, and says what that cost.

python -m reading.worker serve      the job on the first line, then a command a line
python -m reading.worker cold       the job, which is done at once
python -m reading.worker write      the job, then a folder to write its dataset into
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from .job import Job


def main() -> None:
    """Do what the first argument says."""
    # Whatever a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    job = Job.loads(sys.stdin.readline())
    try:
        match sys.argv[1]:
            case "write":
                _peer(job).write(Path(sys.stdin.readline().rstrip("\n")))
                _say(answers, {})
            case "cold":
                _cold(job, answers)
            case "serve":
                _serve(job, answers)
    except Exception as error:
        _say(answers, {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]})
        raise


def _serve(job: Job, answers: TextIO) -> None:
    from .gauge import Gauge

    peer = _peer(job)
    peer.prepare()
    _say(answers, {"ready": True})
    for line in sys.stdin:
        gauge = Gauge()
        result = peer.run()
        cost = gauge.read()
        if line.strip() == "check":
            from .datasets import checksum

            cost["checksum"] = checksum(result) if peer.keeps and result else None
        result = None
        gc.collect()
        _release()
        _say(answers, cost)


def _release() -> None:
    """Give freed memory back to the system, so that what is new to one peer is new to all."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc has it
        trim(0)


def _cold(job: Job, answers: TextIO) -> None:
    peer = _peer(job)
    peer.prepare()
    result = peer.run()
    _say(answers, {})  # the clock stops here
    from .gauge import cpu_seconds

    _say(answers, {"cpu": cpu_seconds()})
    del result


def _peer(job: Job) -> Any:
    from .peers import peer_class

    return peer_class(job.peer)(job)


def _say(answers: TextIO, fields: dict[str, Any]) -> None:
    answers.write(json.dumps(fields) + "\n")


if __name__ == "__main__":
    main()
