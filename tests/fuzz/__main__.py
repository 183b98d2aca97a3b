"""The campaign as a command: ``python -m tests.fuzz --count 10000 --seed 1``."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import count, islice
from pathlib import Path

from .campaign import run_cases
from .foreign import FOREIGN
from .mutate import make_case, numbers_of
from .originals import STEM
from .worker import Report

_PER_SEED = 1_000_000


def main() -> int:
    """Run it; return 1 if there were failures."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="mutated files (10000)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other files (1)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--only", type=int, metavar="CASE", help="just the case of this number")
    parser.add_argument("--save", type=Path, metavar="PATH", help="write the file of --only there")
    parser.add_argument("--foreign", action="store_true", help="files of other formats")
    parser.add_argument("--kind", help="files of this format only, '1.2'; '2+' with shards")
    options = parser.parse_args()
    if options.only is not None:
        return _replay(options.only, options.save)
    first = options.seed * _PER_SEED
    if options.foreign or (options.kind and not options.kind[0].isdigit()):
        first += FOREIGN
    numbers: Iterable[int] = count(first)
    if options.kind is not None:
        numbers = numbers_of(options.kind, range(first, first + _PER_SEED))
    return _run(list(islice(numbers, options.count)), options.jobs)


def _replay(number: int, path: Path | None) -> int:
    case = make_case(number)
    print(f"{case.original.name}: {case.how}")
    if path is not None:
        path.write_bytes(case.mutant.data)
        for ending, data in case.mutant.shards.items():
            path.with_name(STEM + ending).write_bytes(data)
    return _run([number], 1)


def _run(numbers: Sequence[int], jobs: int) -> int:
    results: Counter[str] = Counter()
    failures = kept = 0
    largest = slowest = Report(0, "none")
    for done, report in enumerate(run_cases(numbers, jobs=jobs), 1):
        results[report.result] += 1
        largest = max(largest, report, key=lambda each: each.memory)
        kept = max(kept, report.kept)
        slowest = max(slowest, report, key=lambda each: each.seconds)
        if report.failure is not None:
            failures += 1
            print(f"--- case {report.seed} ({report.result})\n{report.failure}", flush=True)
        if done % 1000 == 0:
            print(f"{done} of {len(numbers)}, {failures} failures", file=sys.stderr, flush=True)
    for result, times in results.most_common():
        print(f"{times:7} {result}")
    print(f"{len(numbers)} files, {failures} failures")
    print(f"at most {largest.memory / (1 << 20):.0f} MiB more (case {largest.seed})")
    print(f"at most {kept / (1 << 20):.0f} MiB kept by a worker over all of its cases")
    print(f"at most {slowest.seconds:.2f} s of CPU time (case {slowest.seed})")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
