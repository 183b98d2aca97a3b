"""Writers that are killed at any moment: what was published last reads back whole.

``SEED=7 pytest -m slow -s tests/writer/test_kills.py`` kills two hundred of them, and tells what it
has found.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.cli.command import run
from tests.faults import fault
from tests.killing import kill, seconds_for
from tests.stores.backends import Backend, MakeBackend, StoreBackend

from .repeating import added, append, write

STORES = ["local", "moto", "ministack", "strict_gcs", "azure"]
COUNT = 6
"""Files, or tensors, that a writer has the time to store; looked at again and again."""

MOST_BYTES = 64 << 20
"""Of a file that is added to; a larger one is begun anew."""


class Written:
    """A file that is written again and again."""

    def __init__(self, place: dict[str, Any]) -> None:
        self.place = place
        self.store = write
        self.recovered = 0

    def begin(self) -> None:
        write(self.place, 0)

    def last(self) -> int:
        """Read all of it, and return the number that was stored last."""
        try:
            return self._last()
        except zt.ObjectChangedError:  # by what a writer sent before it was killed
            return self._last()

    def is_full(self) -> bool:
        with zt.open(**self.place) as model:
            return model.identity.size > MOST_BYTES

    def _last(self) -> int:
        with zt.open(**self.place) as model:
            model.verify(deep=True)
            self.recovered += model.recovered
            return self.number_of(model)

    def number_of(self, model: zt.Reader) -> int:
        found = model.load()
        assert sorted(found) == ["large", "small"]
        (number,) = {int(value) for tensor in found.values() for value in np.unique(tensor)}
        return number


class AddedTo(Written):
    """A file that tensors are added to."""

    def __init__(self, place: dict[str, Any]) -> None:
        super().__init__(place)
        self.store = append

    def begin(self) -> None:
        with zt.Writer(**self.place) as writer:
            writer.add_tensor("0", added(0))
            writer.attributes["last"] = 0

    def number_of(self, model: zt.Reader) -> int:
        number: int = model.attributes["last"]
        assert sorted(model) == sorted(map(str, range(number + 1)))
        for name, tensor in model.load().items():
            np.testing.assert_array_equal(tensor, added(int(name)))
        return number


def collect(backend: Backend, options: Path) -> list[dict[str, Any]]:
    """Have `ztensor gc` remove what was left, and return what it tells of that."""
    place = backend.location("")
    options.write_text(json.dumps(dict(place.storage_options)))
    arguments = ["--storage-options", options, "--older-than", "0", "--json"]
    done = run("gc", place.path, *arguments)
    assert done.status == 0, done.stderr
    found: list[dict[str, Any]] = done.json["unfinished"]
    assert all(each["removed"] for each in found)
    if isinstance(backend, StoreBackend):
        assert backend.open_uploads() == []
    return found


@fault(12)
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "kills"),
    [("local", 2)] + [pytest.param(name, 20, marks=pytest.mark.slow) for name in STORES],
)
@pytest.mark.parametrize(("kind", "file"), [("write", Written), ("append", AddedTo)])
def test_kills(
    backend_of: MakeBackend,
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    file: type[Written],
    name: str,
    kills: int,
) -> None:
    backend = backend_of(name)
    location = backend.location("object.zt")
    written = file({"location": location.path, "storage_options": location.storage_options})
    chance = random.Random(f"{os.environ.get('SEED', '1')} {name} {kind}")
    told: Counter[str] = Counter()
    written.begin()
    for number in range(kills):
        if not number % 10:
            longest = seconds_for(COUNT, "tests.writer.repeating", kind, place=location)
            last = written.last()
        seconds = chance.uniform(0, longest)
        first, *said = kill("tests.writer.repeating", kind, place=location, seconds=seconds)
        # A request that was under way when its writer was killed may have been carried out late.
        assert last <= first <= last + 1
        assert said == [*range(first + 1, first + 1 + len(said))]
        found = written.last()
        assert 0 <= found - first - len(said) <= 1
        told["published"] += found - last
        told["not yet said"] += found - last - len(said)
        last = found
        if written.is_full():
            written.begin()
            last = 0
    left = collect(backend, tmp_path_factory.mktemp("options") / "options.json")
    assert backend.names() == ["object.zt"]
    assert len(left) <= 2 * kills
    written.store(written.place, last + 1)
    assert written.last() == last + 1
    assert told["published"] or kills < 20
    told.update({"left and removed": len(left), "torn tails": written.recovered})
    print(f"\n{kind} {name}: {kills} kills, {dict(told)}")
