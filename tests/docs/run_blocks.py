"""Run the blocks of one document, in order, in one namespace and the current folder.

A program, started in a process of its own: ``run_blocks.py BLOCKS REPORT``. BLOCKS is a JSON list
of objects with file, line, language and code. REPORT receives the line of each block that ran to
its end; the first failure ends the run with the block's own traceback.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def run_python(block: dict[str, Any], namespace: dict[str, Any]) -> None:
    """Execute a block so that tracebacks name the document and its line."""
    padding = "\n" * (block["line"] - 1)
    exec(compile(padding + block["code"], block["file"], "exec"), namespace)


def run_shell(block: dict[str, Any]) -> None:
    """Execute a block in bash; any failing command fails it."""
    # Flushed first, so that the output of both kinds of block stays in order.
    sys.stdout.flush()
    subprocess.run(["bash", "-euo", "pipefail", "-c", block["code"]], check=True)


def main(blocks: Path, report: Path) -> None:
    """Run every block and report those that ended well."""
    # The blocks' own __main__: what they define can be pickled and has resolvable annotations.
    document = ModuleType("__main__")
    sys.modules["__main__"] = document
    with report.open("w", encoding="utf-8") as finished:
        for block in json.loads(blocks.read_text(encoding="utf-8")):
            if block["language"] == "python":
                run_python(block, vars(document))
            else:
                run_shell(block)
            print(block["line"], file=finished, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
