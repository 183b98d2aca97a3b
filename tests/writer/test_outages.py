"""A store that goes away in the midst of a write, an append or a step, or cuts a connection.

``SEED=7 pytest -m slow tests/writer/test_outages.py`` runs another campaign.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import s3fs

import ztensor_remote as zt
from tests.faults import fault
from tests.servers.faults import CutRequest, DropResponse, Fault
from tests.servers.proxy import Proxy
from tests.stores.backends import MakeBackend, StoreBackend, Through
from ztensor_remote.stores import Location, discard, find_unfinished

LARGE = 1_500_000
"""Elements of a tensor that takes more than two parts of the smallest size."""

MOST = 3
"""Tensors or steps."""

pytestmark = pytest.mark.usefixtures("short_pauses", "small_parts")


class File:
    """A file whose tensors all have the value of its last writer, or those of two."""

    def __init__(self, location: Location) -> None:
        self.where = {"location": location.path, "storage_options": location.storage_options}

    def write(self, value: int) -> None:
        with zt.Writer(**self.where) as writer:
            writer.add_tensor("small", np.full(1000, value), compress=True)
            writer.add_tensor("large", np.full(LARGE, value))

    def shrink(self) -> None:
        """Forget what was stored long ago: reading it again would take most of the time."""

    def values(self) -> list[int]:
        with zt.open(**self.where) as model:
            model.verify()
            found = model.load()
            return sorted({int(value) for tensor in found.values() for value in np.unique(tensor)})


class Grown(File):
    """One that is added to; every second pair of tensors as where others add to it, too."""

    def write(self, value: int) -> None:
        if value == 1:
            super().write(value)
            return
        with zt.append(**self.where, retries=2 if value & 2 else 0) as writer:
            writer.add_tensor(f"more.{value}", np.full(LARGE, value))

    def shrink(self) -> None:
        self.write(1)


class Log(File):
    """A log, whose steps have the value of their number."""

    def write(self, value: int) -> None:
        tensors = {"same": np.full(1000, 0), "large": np.full(LARGE, value)}
        zt.CheckpointLog(**self.where).append(value, tensors)

    def shrink(self) -> None:
        zt.CheckpointLog(**self.where).prune(keep_last=1)

    def values(self) -> list[int]:
        log = zt.CheckpointLog(**self.where)
        for step in log:
            with log[step] as model:
                model.verify(deep=True)
                assert (model["large"].numpy() == step).all()
        return log.steps()


KINDS = {"write": File, "append": Grown, "log": Log}


def goes_away(chance: random.Random, number: int) -> Callable[[Any], Fault | None]:
    """Answer so many requests, and none of those that follow."""
    left = itertools.count()
    first = chance.choice([DropResponse(), CutRequest(chance.randrange(1 << 20))])

    def spoil(request: Any) -> Fault | None:
        at = next(left)
        return None if at < number else first if at == number else CutRequest(0)

    return spoil


def cuts(chance: random.Random, number: int) -> Callable[[Any], Fault | None]:
    """Cut one connection."""
    away = goes_away(chance, number)
    left = itertools.count()
    return lambda request: away(request) if next(left) <= number else None


class Campaign:
    """Writes to a place whose store fails at random, and looks at what is there."""

    def __init__(self, store: StoreBackend, location: Location, proxy: Proxy, kind: str) -> None:
        options = {**location.storage_options}
        if store.endpoint.protocol == "s3":
            options["config_kwargs"] = {"retries": {"total_max_attempts": 1}}
        self.store, self.proxy = store, proxy
        self.direct = KINDS[kind](store.location("object.zt"))
        self.file = KINDS[kind](replace(location, storage_options=options))
        self.direct.write(1)
        self.value = 2
        self.proxy.clear()
        self.file.write(2)
        self.requests = len(self.proxy.requests)
        self.stored = self.direct.values()

    def disturb(
        self, spoil: Callable[[Any], Fault | None], end: Callable[[], object] = lambda: None
    ) -> bool:
        """Write while the store fails, until its `end`; return whether a success was reported."""
        if len(self.stored) > MOST:
            self.direct.shrink()
            self.stored = self.direct.values()
        before, self.value = self.stored, self.value + 1
        self.proxy.fault = spoil
        try:
            self.file.write(self.value)
            done = True
        except zt.ZTensorError as error:
            assert isinstance(error, zt.StoreError), error
            done = False
        self.proxy.fault = lambda request: None
        end()
        after = self.stored = self.direct.values()
        assert after != before if done else True
        assert after == before or self.value in after
        return done

    def clean(self) -> None:
        """Find what was left, and remove it; the store works again."""
        for left in find_unfinished(self.store.location("")):
            discard(left)
        assert self.store.open_uploads() == []
        self.file.write(self.value + 1)
        assert self.value + 1 in self.direct.values()


@fault(12)
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "rounds"),
    [("ministack", 1)]
    # Not gcs: fake-gcs-server publishes an upload whose request was cut off.
    + [
        pytest.param(name, 20, marks=pytest.mark.slow)
        for name in ("ministack", "strict_gcs", "azure")
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_outages(
    backend_of: MakeBackend,
    through: Through,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: str,
    rounds: int,
) -> None:
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 2)  # its pauses get long
    store = backend_of(name)
    assert isinstance(store, StoreBackend)
    campaign = Campaign(store, *through(store, "object.zt"), kind)
    chance = random.Random(f"{os.environ.get('SEED', '1')} {name} {kind}")
    failed = 0
    for _ in range(rounds):
        failed += not campaign.disturb(goes_away(chance, chance.randrange(campaign.requests)))
        assert campaign.disturb(cuts(chance, chance.randrange(campaign.requests)))
    assert failed or rounds == 1
    campaign.clean()
