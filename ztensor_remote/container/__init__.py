"""Bytes on disk: which container a file is, where its manifest lies, where blobs may go.

Pure: no I/O, no numpy. SPEC.md §1 and §6 to §9.
"""

from .footer import TAIL_WINDOW, Footer, build_footer, parse_footer
from .magic import MAGIC_0_1, MAGIC_1, MAGIC_2, Generation
from .placement import align_up, alignment_of

__all__ = [
    "MAGIC_0_1",
    "MAGIC_1",
    "MAGIC_2",
    "TAIL_WINDOW",
    "Footer",
    "Generation",
    "align_up",
    "alignment_of",
    "build_footer",
    "parse_footer",
]
