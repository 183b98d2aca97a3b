"""Streaming writers: nothing appears under a name until it is whole."""

from .append import append
from .part import TensorPart
from .stream import Writer

__all__ = ["TensorPart", "Writer", "append"]
