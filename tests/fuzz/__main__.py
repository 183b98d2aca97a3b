"""The campaign as a command: ``python -m tests.fuzz --count 10000 --seed 1``."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from .campaign import run_cases
from .foreign import FOREIGN
from .mutate import make_case

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
    options = parser.parse_args()
    if options.only is not None:
        return _replay(options.only, options.save)
    first = options.seed * _PER_SEED + (FOREIGN if options.foreign else 0)
    return _run(range(first, first + options.count), options.jobs)


def _replay(number: int, path: Path | None) -> int:
    case = make_case(number)
    print(f"{case.original.name}: {case.how}")
    if path is not None:
        path.write_bytes(case.mutant.data)
        for ending, data in case.mutant.shards.items():
            path.with_name(path.stem + ending).write_bytes(data)
    return _run([number], 1)


def _run(numbers: range | list[int], jobs: int) -> int:
    results: Counter[str] = Counter()
    failures = peak = 0
    for done, report in enumerate(run_cases(numbers, jobs=jobs), 1):
        results[report.result] += 1
        peak = max(peak, report.memory)
        if report.failure is not None:
            failures += 1
            print(f"--- case {report.seed} ({report.result})\n{report.failure}", flush=True)
        if done % 1000 == 0:
            print(f"{done} of {len(numbers)}, {failures} failures", file=sys.stderr, flush=True)
    for result, count in results.most_common():
        print(f"{count:7} {result}")
    print(f"{len(numbers)} files, {failures} failures, at most {peak / (1 << 20):.0f} MiB more")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
