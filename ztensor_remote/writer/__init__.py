"""Streaming writers: nothing appears under a name until it is whole."""

from .compact import Compaction, compact
from .part import TensorPart
from .repair import repair
from .stream import Writer, append

__all__ = ["Compaction", "TensorPart", "Writer", "append", "compact", "repair"]
