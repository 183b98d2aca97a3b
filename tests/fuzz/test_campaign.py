"""A short campaign, and whether one would find what it looks for."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

import ztensor_remote as zt
from ztensor_remote.reader import Blobs

from . import campaign
from .campaign import run_cases
from .examine import examine
from .foreign import FOREIGN, foreign_originals
from .mutate import Case, make_case
from .originals import Original, in_memory, originals

pytestmark = pytest.mark.fuzz

LIMITS = zt.Limits(connections=4)


def test_mutated_files_give_the_right_data_or_an_error() -> None:
    failures = [report for report in run_cases(range(250)) if report.failure is not None]
    assert not failures, "\n".join(f"{report.seed}: {report.failure}" for report in failures)


def test_mutated_files_of_other_formats_do_too() -> None:
    seeds = range(FOREIGN, FOREIGN + 250)
    failures = [report for report in run_cases(seeds) if report.failure is not None]
    assert not failures, "\n".join(f"{report.seed}: {report.failure}" for report in failures)


@pytest.mark.slow
def test_many_mutated_files_of_other_formats() -> None:
    seeds = range(FOREIGN, FOREIGN + 10_000)
    failures = [report for report in run_cases(seeds) if report.failure is not None]
    assert not failures, "\n".join(f"{report.seed}: {report.failure}" for report in failures)


@pytest.mark.slow
def test_many_mutated_files() -> None:
    failures = [report for report in run_cases(range(10_000)) if report.failure is not None]
    assert not failures, "\n".join(f"{report.seed}: {report.failure}" for report in failures)


def test_a_number_stands_for_a_file() -> None:
    for seed in (*range(50), *range(FOREIGN, FOREIGN + 50)):
        first, second = make_case(seed), make_case(seed)
        assert first.how == second.how
        assert first.mutant.data == second.mutant.data
        assert first.mutant.shards == second.mutant.shards


def test_the_originals_are_valid() -> None:
    for original in (*originals(), *foreign_originals()):
        examine(unchanged(original), in_memory, limits=LIMITS)


def die(*_: object) -> None:
    os._exit(3)


def test_a_worker_that_dies_in_its_warm_up_ends_the_campaign(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(campaign, "serve", die)
    with pytest.raises(campaign.WorkerError, match="died: exit code 3"):
        list(campaign.run_cases(range(2)))


def unchanged(original: Original) -> Case:
    return Case(0, original, original, "not at all")


class TestFindings:
    """What a broken library does, and that it is noticed."""

    original = next(o for o in originals() if o.name == "ours/1.2-False-crc32c")

    def damaged(self) -> Case:
        with zt.open(self.original.data) as reader:
            at = reader["float32"].components["data"].offset
        data = bytearray(self.original.data)
        data[at] ^= 1
        return replace(unchanged(self.original), mutant=Original("damaged", bytes(data)))

    def test_damage_that_no_digest_stops(self, monkeypatch: pytest.MonkeyPatch) -> None:
        case = self.damaged()
        assert examine(case, in_memory, limits=LIMITS) == "opened: some read"
        monkeypatch.setattr(Blobs, "check_digest", lambda *_, **__: None)
        monkeypatch.setattr("ztensor_remote.codecs.digest.compare_digests", lambda *_: None)
        with pytest.raises(AssertionError, match="'float32' has wrong data"):
            examine(case, in_memory, limits=LIMITS)

    def test_a_foreign_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise OverflowError

        monkeypatch.setattr(zt.LazyTensor, "numpy", fail)
        with pytest.raises(OverflowError):
            examine(unchanged(self.original), in_memory, limits=LIMITS)

    def test_slices_of_other_elements(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = zt.LazyTensor.__getitem__

        def shifted(tensor: zt.LazyTensor, key: object) -> object:
            return np.roll(whole(tensor, key), 1)

        monkeypatch.setattr(zt.LazyTensor, "__getitem__", shifted)
        with pytest.raises(AssertionError, match="is not what it is whole"):
            examine(unchanged(self.original), in_memory, limits=LIMITS)

    def test_a_tensor_that_is_lost(self, monkeypatch: pytest.MonkeyPatch) -> None:
        examine(unchanged(self.original), in_memory, limits=LIMITS)  # so that the truth is known

        def fail(*_: object, **__: object) -> None:
            raise zt.FormatError("always")

        monkeypatch.setattr(zt.LazyTensor, "numpy", fail)
        with pytest.raises(AssertionError):
            examine(unchanged(self.original), in_memory, limits=LIMITS)
