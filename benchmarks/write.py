"""What writing tensors to a bucket costs, beside other libraries and beside what the wire takes.

Starts servers on 127.0.0.1, has every peer write to them in turns and prints a table a case.

    python benchmarks/write.py --quick
    python benchmarks/write.py --case 'upload*' --peer raw ztensor_remote obstore boto3
    python benchmarks/write.py --json figures.json > figures.md
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from fnmatch import fnmatch
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from writing.bench import Bench  # noqa: E402
from writing.cases import cases  # noqa: E402
from writing.peers import CLASSES  # noqa: E402


def main() -> int:
    """Measure and print."""
    # Servers go away then as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = arguments()
    chosen = [
        case
        for case in cases(quick=options.quick)
        if not options.case or any(fnmatch(case.name, pattern) for pattern in options.case)
    ]
    if options.list:
        print("\n".join(f"{case.name:18} {case.title}" for case in chosen))
        print("\npeers: " + ", ".join(CLASSES))
        return 0
    figures = Bench(options.peer or list(CLASSES), rounds=options.rounds).run(chosen)
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
    parser.add_argument("--quick", action="store_true", help="few data, to see that it works")
    parser.add_argument("--json", type=Path, help="also write every measurement into this file")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
