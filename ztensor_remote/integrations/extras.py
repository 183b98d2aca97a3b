"""Libraries that are not installed with ours."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import MissingDependencyError


def import_extra(module: str, *, library: str) -> Any:
    """Return a module that needs a library which an extra of ours brings.

    Raises
    ------
    MissingDependencyError
        It is not installed, or something that it needs is not.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"this needs {library} ({error}): pip install 'ztensor-remote[{library.lower()}]'"
        ) from None
