"""Bytes to bytes: digests, zstd and others. Nothing here knows files or manifests."""

from .deflate import Inflater
from .digest import ChunkHasher, Hasher, PartialDigest, check_digest, compare_digests, is_checkable
from .encoder import FrameEncoder
from .filters import unfilter
from .latin_1 import Latin1Decoder
from .seekable import SeekTable, likely_table_length, read_table, table_length
from .varints import VarintDecoder
from .zstd import FRAME_SIZE, StreamDecoder, decode_into, too_long, too_short

__all__ = [
    "FRAME_SIZE",
    "ChunkHasher",
    "FrameEncoder",
    "Hasher",
    "Inflater",
    "Latin1Decoder",
    "PartialDigest",
    "SeekTable",
    "StreamDecoder",
    "VarintDecoder",
    "check_digest",
    "compare_digests",
    "decode_into",
    "is_checkable",
    "likely_table_length",
    "read_table",
    "table_length",
    "too_long",
    "too_short",
    "unfilter",
]
