"""Files of other formats: each parser turns a source into a manifest, and does nothing else."""

from .detect import FORMATS, Format, find_parser, first_end
from .folder import choose
from .ggml import dequantize, is_blocks
from .index import MOST_FILES, check_indexed, is_index, parse_index
from .peek import Peek
from .unread import why_unread

__all__ = [
    "FORMATS",
    "MOST_FILES",
    "Format",
    "Peek",
    "check_indexed",
    "choose",
    "dequantize",
    "find_parser",
    "first_end",
    "is_blocks",
    "is_index",
    "parse_index",
    "why_unread",
]
