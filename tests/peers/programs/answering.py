"""Answer questions, one a line, in the interpreter of a published package.

Each API generation has a program beside this file, which is run there, not imported by the tests;
so nothing here may import the project. A question is ``{"action": ..., "arguments": {...}}``, an
answer ``{"result": ...}`` or ``{"error": {"kinds": [...], "message": ...}}``. Arrays travel as
their bytes in hexadecimal, and come back as a digest of theirs.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes  # noqa: F401  (NumPy then knows bfloat16 by its name)
import numpy as np

Action = Callable[..., Any]


def described(given: Any) -> dict[str, Any]:
    """Say what an array is, in a form that JSON can carry."""
    # `given` stays bound: the memory of a 1.0.1 array goes when the object it returned does.
    array = np.asarray(given)
    return {
        "shape": list(array.shape),
        "dtype": array.dtype.name,
        "sha256": hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest(),
    }


def array_of(sent: Mapping[str, Any]) -> Any:
    """Return the array that a question carries."""
    data = bytearray.fromhex(sent["hex"])
    return np.frombuffer(data, np.dtype(sent["dtype"])).reshape(sent["shape"])


def failure(error: BaseException) -> dict[str, Any]:
    """Say what went wrong."""
    kinds = [kind.__name__ for kind in type(error).__mro__[:-2]]
    return {"error": {"kinds": kinds, "message": str(error)}}


def outcome(attempt: Callable[[], Any]) -> Any:
    """Return what an attempt gives, or how it failed."""
    try:
        return attempt()
    except Exception as error:
        return failure(error)


def identity() -> dict[str, str]:
    """Say which package answers."""
    import ztensor

    return {"version": importlib.metadata.version("ztensor"), "file": ztensor.__file__}


def jsonable(value: Any) -> Any:
    """Return bytes among attributes in a form that JSON can carry."""
    return {"bytes": bytes(value).hex()}


def answer(**actions: Action) -> None:
    """Answer until there are no more questions."""
    actions["identity"] = identity
    # Standard output is for answers; what a package prints there goes to standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            reply = {"result": actions[question["action"]](**question["arguments"])}
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic in Rust is no Exception
            reply = failure(error)
        answers.write(json.dumps(reply, default=jsonable) + "\n")
        answers.flush()
