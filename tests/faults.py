"""What stores and machines do to writers, by number, and what is expected then.

A test that is about one of them says so: ``@fault(11)``.
"""

from __future__ import annotations

from typing import Any

import pytest

FAULTS = {
    9: "many append to one object, or commit a step: one wins a round, all are there in the end",
    10: "the answer to a creation, to a conditional PUT, to Complete is lost: one commit, success",
    11: "409 conflict: a rival, as 412 is; 200 with an error in its body: not a success",
    12: "killed at any step: the old state or the new one, and gc clears what was left",
    13: "an exception in a writer, or a writer that is dropped: nothing visible, no open upload",
    14: "a part can't be sent, however often it is tried: the upload is aborted",
    15: "a server that ignores conditions: several writers are refused",
    16: "parts around 5 MiB, over 5 GiB, 10,000 of them, those of R2: lists that the store takes",
}


def fault(number: int) -> Any:
    """Mark a test, or a class of tests."""
    return pytest.mark.fault(FAULTS[number])
