"""The process of one peer: writes whenever it is told to, and says what that cost.

python -m writing.worker serve      the job on the first line, then a command a line
"""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import Any, TextIO

from reading.gauge import Gauge

from .job import Job
from .peers import peer_class


def main() -> None:
    """Do what the lines say."""
    # Whatever a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    job = Job.loads(sys.stdin.readline())
    try:
        peer = peer_class(job.peer)(job)
        peer.connect()
        _say(answers, {"ready": True})
        for line in sys.stdin:
            peer.prepare(line.strip())
            gc.collect()
            gauge = Gauge()
            peer.run()
            _say(answers, gauge.read())
    except Exception as error:
        _say(answers, {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]})
        raise


def _say(answers: TextIO, fields: dict[str, Any]) -> None:
    answers.write(json.dumps(fields) + "\n")


if __name__ == "__main__":
    main()
