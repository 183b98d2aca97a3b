"""What reading tensors from a bucket costs, beside other libraries and beside what the wire gives.

Starts servers on 127.0.0.1, writes the data in a temporary folder, has every peer read it in turns
and prints a table a case. Peers that the project does not depend on are installed into a virtual
environment that is thrown away at the end (--venv keeps it).

    python benchmarks/read.py --quick
    python benchmarks/read.py --case 'into*' load --peer curl raw ztensor_remote obstore
    python benchmarks/read.py --json figures.json > figures.md
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from reading.bench import Bench  # noqa: E402
from reading.cases import cases  # noqa: E402
from reading.peers import CLASSES  # noqa: E402


def main() -> int:
    """Measure and print."""
    # Servers and data go away then as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = arguments()
    chosen = [
        case
        for case in cases(quick=options.quick, matrix_gib=options.matrix_gib)
        if not options.case or any(fnmatch(case.name, pattern) for pattern in options.case)
    ]
    if options.list:
        print("\n".join(f"{case.name:18} {case.title}" for case in chosen))
        print("\npeers: " + " ".join(CLASSES))
        return 0
    peers = options.peer or list(CLASSES)
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        venv = options.venv or Path(scratch) / "venv"
        bench = Bench(peers, Path(scratch), venv, rounds=options.rounds)
        figures = bench.run(chosen)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="name cases and peers, and stop")
    parser.add_argument("--case", nargs="+", help="only these; patterns with * are fine")
    parser.add_argument("--peer", nargs="+", choices=CLASSES, help="only these", metavar="PEER")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each (default: 5)")
    parser.add_argument("--quick", action="store_true", help="tiny data, to see that it works")
    parser.add_argument("--matrix-gib", type=int, default=1, help="size of the matrix (default: 1)")
    parser.add_argument("--json", type=Path, help="also write every measurement into this file")
    parser.add_argument("--venv", type=Path, help="environment of the peers, made once and kept")
    parser.add_argument("--folder", type=Path, help="where the data go (default: temporary files)")
    options = parser.parse_args()
    if options.rounds < 1 or options.matrix_gib < 1:
        parser.error("--rounds and --matrix-gib must be at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
