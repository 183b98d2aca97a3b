"""Files whose writers were dropped, or still open at exit: nothing of them may be left behind."""

from __future__ import annotations

import atexit
import sys
import threading
import warnings
import weakref
from typing import TYPE_CHECKING

from ..errors import StoreError

if TYPE_CHECKING:
    from .assembly import Assembly

_OPEN: weakref.WeakSet[Assembly] = weakref.WeakSet()


def watch(file: Assembly) -> None:
    """Give the file up at exit, if it is still open then."""
    _OPEN.add(file)


def abandon(file: Assembly) -> None:
    """Give a file up that nobody will finish, with a warning, unless it is finished."""
    if file.state != "open" or not file.is_ours:
        return
    warnings.warn(
        f"a writer of {file.url} was dropped unfinished; use it in a with block",
        ResourceWarning,
        stacklevel=3,
    )
    try:
        file.abort()
    except StoreError:
        # Garbage may be collected in the very thread that the store needs for the clean-up.
        threading.Thread(target=file.abort).start()


def _abandon_all() -> None:
    for file in list(_OPEN):
        abandon(file)


# Objects are destroyed when the threads of fsspec have stopped, which an abort would wait for in
# vain; and its clients are closed by finalizers. Callbacks run last to first, so that there must be
# a finalizer before ours is registered.
weakref.finalize(sys, int).detach()
atexit.register(_abandon_all)
