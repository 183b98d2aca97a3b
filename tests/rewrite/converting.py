"""A program that converts a file, and tells the peak of its memory, in bytes.

``python -m tests.rewrite.converting SOURCE TARGET OPTIONS``
"""

from __future__ import annotations

import json
import sys

import ztensor_remote as zt
from tests.writer.streaming import peak


def main(source: str, target: str, options: str) -> None:
    """Run the program."""
    zt.convert(source, target, storage_options=json.loads(options))
    print(peak())


if __name__ == "__main__":
    main(*sys.argv[1:])
