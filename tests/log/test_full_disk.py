"""A log on a disk that is full: steps are refused, and leave nothing behind."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.faults import fault
from tests.stores.test_upload_local import in_namespace

APPENDING = """
import json, os, sys
import numpy as np
import ztensor_remote as zt

PAGE = 4096
folder = sys.argv[1]
filler = os.path.join(os.path.dirname(folder), "filler")
log = zt.CheckpointLog(folder)

def state(step):
    return {"same": np.zeros(9000), "new": np.full(12_000, step)}

def leave(pages):
    # Fill the disk but for so many pages.
    with open(filler, "wb", 0) as file:
        try:
            while True:
                file.write(bytes(PAGE))
        except OSError:
            file.truncate(os.fstat(file.fileno()).st_size // PAGE * PAGE - pages * PAGE)

def check(steps):
    again = zt.CheckpointLog(folder)
    assert again.steps() == steps
    for step in steps:
        with again[step] as model:
            model.verify(deep=True)
            found = model.load()
        assert all((found[name] == value).all() for name, value in state(step).items())

log.append(0, state(0))
log.append(1, state(1))
before = sorted(os.listdir(folder))
refused = []
for pages in range(100):
    leave(pages)
    try:
        log.append(2, state(2))
        break
    except zt.StoreError as error:
        refused.append(str(error))
    assert sorted(os.listdir(folder)) == before, pages
    check([0, 1])
check([0, 1, 2])
os.remove(filler)
log.append(3, state(3))
check([0, 1, 2, 3])
log.prune(keep_last=1)
check([3])
print(json.dumps(refused))
"""


@fault(12)
@pytest.mark.skipif(sys.platform != "linux", reason="mounts as Linux does")
@pytest.mark.parametrize("kind", ["", "import os; del os.O_TMPFILE\n"], ids=["nameless", "named"])
def test_a_full_disk(tmp_path: Path, kind: str) -> None:
    """With room for nothing, for parts of the data, and for all but the root."""
    folder = tmp_path / "run"
    (line,) = in_namespace("size=1m", kind + APPENDING, folder)
    refused = json.loads(line)
    assert all("[Errno 28] No space left" in error and str(folder) in error for error in refused)
    tensor = [error for error in refused if "(tensor 'new' in " in error]
    root = [error for error in refused if error.endswith("step-000000000002.zt)")]
    assert len(tensor) > 20 and root
