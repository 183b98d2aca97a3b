"""Streaming writers: nothing appears under a name until it is whole."""

from .part import TensorPart
from .repair import repair
from .stream import Writer, append

__all__ = ["TensorPart", "Writer", "append", "repair"]
