"""Files of other formats: each parser turns a source into a manifest, and does nothing else."""

from .detect import FORMATS, Format, find_parser, first_end
from .ggml import dequantize, is_blocks
from .npy import why_unread
from .peek import Peek

__all__ = [
    "FORMATS",
    "Format",
    "Peek",
    "dequantize",
    "find_parser",
    "first_end",
    "is_blocks",
    "why_unread",
]
