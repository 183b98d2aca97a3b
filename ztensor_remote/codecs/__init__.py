"""Bytes to bytes: digests and zstd. Nothing here knows files or manifests."""

from .digest import Hasher, PartialDigest, check_digest, compare_digests, is_checkable
from .seekable import decode_maybe_seekable, decode_seekable
from .zstd import FRAME_SIZE, FrameEncoder, decode_all

__all__ = [
    "FRAME_SIZE",
    "FrameEncoder",
    "Hasher",
    "PartialDigest",
    "check_digest",
    "compare_digests",
    "decode_all",
    "decode_maybe_seekable",
    "decode_seekable",
    "is_checkable",
]
