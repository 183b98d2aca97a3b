"""Write a file again and again, or add to it, until killed.

``python -m tests.writer.repeating write|append URL OPTIONS`` prints the number that is there, then
each one once it is stored.
"""

from __future__ import annotations

import itertools
import json
import sys
from typing import Any

import numpy as np

import ztensor_remote as zt
from ztensor_remote.stores import guarantees_of, locate, parts

SMALL = 20_000
LARGE = 1_500_000
"""Elements of a tensor that takes more than two parts of the smallest size."""


def write(place: dict[str, Any], number: int) -> None:
    """Write a file in which all elements are one number."""
    with zt.Writer(**place) as writer:
        writer.add_tensor("small", np.full(SMALL, number), compress=True)
        with writer.stream_tensor("large", (LARGE,), "int64") as part:
            for start in range(0, LARGE, 100_000):
                part.write(np.full(min(100_000, LARGE - start), number))


def added(number: int) -> np.ndarray[Any, Any]:
    """Return the tensor that is the so-manieth to be added: every third is a large one."""
    return np.full(SMALL if number % 3 else LARGE, number)


def append(place: dict[str, Any], number: int) -> None:
    """Add a tensor; every second time as where others add to the file, too."""
    retries = 3 if number % 2 and _guarantees(place).exclusive else 0
    with zt.append(**place, retries=retries) as writer:
        writer.add_tensor(str(number), added(number), compress=number % 4 == 0)
        writer.attributes["last"] = number


def _guarantees(place: dict[str, Any]) -> zt.Guarantees:
    return guarantees_of(locate(place["location"], storage_options=place["storage_options"]))


def main(kind: str, url: str, options: str) -> None:
    """Go on behind what is there."""
    parts.PART_SIZE = 5 << 20
    place = {"location": url, "storage_options": json.loads(options)}
    fs, path = locate(url, storage_options=place["storage_options"]).resolve()
    fs.exists(path)  # imports the client, and connects it
    with zt.open(**place) as model:
        last = int(model["small"][0]) if kind == "write" else model.attributes["last"]
    store = write if kind == "write" else append
    print(last, flush=True)
    for number in itertools.count(last + 1):
        store(place, number)
        print(number, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
