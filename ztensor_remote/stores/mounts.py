"""What kind of filesystem of the operating system's a file is on."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
# Each page that is touched in a mapping of theirs is a round trip; some kill the process with
# SIGBUS when the server is gone, where a read fails.
_FAR = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|fuse(\..*)?|lustre|ceph|gpfs|beegfs\w*|glusterfs|afs|9p|orangefs"
)


def is_far(file: int) -> bool:
    """Whether an open file is on a network filesystem; False where nobody can tell.

    Parameters
    ----------
    file : int
        A descriptor.
    """
    return _FAR.fullmatch(_kind_of(os.fstat(file).st_dev)) is not None


@lru_cache(maxsize=64)
def _kind_of(device: int) -> str:
    """Return the name of a mounted device's filesystem, empty if it is not known (proc(5))."""
    number = f"{os.major(device)}:{os.minor(device)}" if hasattr(os, "major") else ""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        mount, _, source = line.partition(" - ")
        if mount.split()[2] == number:
            return source.split()[0]
    return ""
