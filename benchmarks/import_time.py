"""How long `import ztensor_remote` takes, beside the libraries it builds on.

Each import runs in a fresh interpreter, once uncounted so that bytecode and files are cached, then
in turns, so that a slow moment of the machine touches every row. Start-up of Python itself is not
in the numbers.

    python benchmarks/import_time.py
    python benchmarks/import_time.py --json
    python benchmarks/import_time.py --rounds 31 ztensor_remote obstore
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = ("ztensor_remote", "numpy", "fsspec", "s3fs")
PROGRAM = """\
import time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""


def import_seconds(module: str) -> float:
    """Import a module in a fresh interpreter and return the seconds it took."""
    command = [sys.executable, "-c", PROGRAM.format(module=module)]
    # From the project's folder, so that its sources are found without an installation.
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"cannot import {module}: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout)


def measure(modules: list[str], rounds: int) -> dict[str, list[float]]:
    """Time every module `rounds` times, in turns."""
    for module in modules:
        import_seconds(module)
    seconds: dict[str, list[float]] = {module: [] for module in modules}
    for _ in range(rounds):
        for module in modules:
            seconds[module].append(import_seconds(module))
    return seconds


def summary(seconds: list[float]) -> dict[str, float]:
    """Median, fastest and slowest, in milliseconds."""
    return {
        "median_ms": round(statistics.median(seconds) * 1e3, 1),
        "min_ms": round(min(seconds) * 1e3, 1),
        "max_ms": round(max(seconds) * 1e3, 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", help=f"default: {' '.join(MODULES)}")
    parser.add_argument("--rounds", type=int, default=11, help="imports of each (default: 11)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")

    seconds = measure(options.modules or list(MODULES), options.rounds)
    rows = {module: summary(values) for module, values in seconds.items()}
    if options.json:
        about = {"python": platform.python_version(), "machine": platform.platform()}
        print(json.dumps(about | {"rounds": options.rounds, "imports": rows}, indent=2))
        return
    width = max(map(len, [*rows, "import"]))
    print(f"{'import':<{width}}  median ms    min    max")
    for module, row in rows.items():
        print(
            f"{module:<{width}}  {row['median_ms']:9.1f} {row['min_ms']:6.1f} {row['max_ms']:6.1f}"
        )


if __name__ == "__main__":
    main()
