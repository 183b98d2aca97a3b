"""Every fault that writers must survive has tests that name it."""

from __future__ import annotations

import re
from pathlib import Path

from .faults import FAULTS


def test_each_is_named() -> None:
    files = [path.read_text() for path in Path(__file__).parent.rglob("test_*.py")]
    named = {
        int(number) for text in files for number in re.findall(r"^ *@fault\((\d+)\)$", text, re.M)
    }
    assert named == FAULTS.keys()
