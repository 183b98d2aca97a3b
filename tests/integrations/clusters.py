"""What tests of clusters share."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tests.servers.proxy import Request

ROWS = re.compile(r"bytes=(\d+)-(\d+)")


def times_fetched(requests: list[Request], start: int, stop: int) -> Any:
    """Return how often each byte of a span of an object was sent, as an array."""
    counts = np.zeros(stop - start, np.uint8)
    for request in requests:
        found = ROWS.fullmatch(request.range or "")
        if request.method == "GET" and request.status == 206 and found:
            first, last = int(found[1]), int(found[2])
            counts[max(first, start) - start : max(last + 1, start) - start] += 1
    return counts
