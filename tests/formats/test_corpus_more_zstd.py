"""Compressed blobs: every stream that RFC 8878 allows is read, no other, and never a byte made up."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

import ztensor_remote as zt
from tests.formats.build import (
    bomb,
    dense_1,
    dense_2,
    file_1_0,
    file_2,
    frame,
    object_1_2,
    part_1,
    root_1_0,
    seekable,
    skippable,
    tensor_1_0,
)

VERSIONS = ("0.1", "1.0", "1.1", "1.2")
TEXT = b"the same words again and again, " * 40
SIZE = len(TEXT)
HALF = SIZE // 2


def one(version: str, stored: bytes, size: int = SIZE, **fields: Any) -> zt.Reader:
    """Return a file of one compressed u8 tensor; 1.2 states the decoded size too."""
    if version == "1.2":
        fields.setdefault("uncompressed_length", size)
    return zt.open(dense_1(version, stored, [size], encoding="zstd", **fields))


def reads(reader: zt.Reader, wanted: bytes = TEXT) -> None:
    with reader:
        tensor = reader["t"]
        assert tensor.numpy().tobytes() == wanted
        assert tensor.components["data"].read() == wanted
        assert tensor[3:7].tobytes() == wanted[3:7]
        reader.verify()


def refuses(reader: zt.Reader) -> None:
    with reader:
        tensor = reader["t"]
        for read in (
            tensor.numpy,
            tensor.components["data"].read,
            lambda: tensor[:1],
            reader.verify,
        ):
            with pytest.raises(zt.FormatError):
                read()


STREAMS = {
    "as published": frame(TEXT),
    "with its size": frame(TEXT, sized=True),
    "with a checksum": frame(TEXT, checksum=True),
    "level 1": frame(TEXT, level=1),
    "level 22, whose window is 128 MiB": frame(TEXT, level=22),
    "two frames": frame(TEXT[:HALF]) + frame(TEXT[HALF:]),
    "many frames": b"".join(frame(TEXT[at : at + 7]) for at in range(0, SIZE, 7)),
    "empty frames around": frame(b"") + frame(TEXT) + frame(b"", sized=True),
    "skippable first": skippable(b"hello") + frame(TEXT),
    "skippable last": frame(TEXT) + skippable(b"hello"),
    "skippable between": frame(TEXT[:HALF]) + skippable(b"") + frame(TEXT[HALF:]),
    "skippable of every number": b"".join(skippable(b"x" * n, n) for n in range(16)) + frame(TEXT),
    "many skippable": skippable(b"") * 3000 + frame(TEXT) + skippable(b"") * 3000,
    "with a seek table": seekable([(frame(TEXT[:HALF]), HALF), (frame(TEXT[HALF:]), SIZE - HALF)]),
    "with a seek table that is wrong": seekable([(frame(TEXT), SIZE)], count=9),
    "with a seek table that sums to less": seekable(
        [(frame(TEXT), SIZE)], entries=struct.pack("<II", 1, SIZE)
    ),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("version", VERSIONS)
def test_streams(version: str, name: str) -> None:
    reads(one(version, STREAMS[name]))


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing(version: str) -> None:
    for stored in (frame(b""), frame(b"", sized=True), skippable(b""), seekable([])):
        reads(one(version, stored, 0), b"")


@pytest.mark.parametrize("name", ["as published", "with its size", "with a checksum", "two frames"])
@pytest.mark.parametrize("version", VERSIONS)
def test_streams_cut_off_anywhere(version: str, name: str) -> None:
    """Also where all data is out already and only a checksum is missing, or the last frame's end."""
    stream = STREAMS[name]
    for length in range(len(stream)):
        if stream[length:] != b"" and not _ends_with_a_frame(stream[:length]):
            with one(version, stream[:length]) as reader, pytest.raises(zt.FormatError):
                reader["t"].numpy()
        else:
            refuses(one(version, stream[:length]))


def _ends_with_a_frame(stream: bytes) -> bool:
    return stream == STREAMS["two frames"][: len(frame(TEXT[:HALF]))]


JUNK = {
    "a zero": b"\0",
    "two bytes of magic": b"\x28\xb5",
    "three bytes of magic": b"\x28\xb5\x2f",
    "magic alone": b"\x28\xb5\x2f\xfd",
    "half a skippable head": b"\x50\x2a\x4d\x18\x04",
    "a skippable frame that is short": struct.pack("<II", 0x184D2A50, 5) + b"1234",
    "a skippable frame of 4 GiB": struct.pack("<II", 0x184D2A50, (1 << 32) - 1),
    "eight zeros": bytes(8),
    "text": b"trailing junk",
    "a frame's beginning": frame(TEXT)[:-1],
}


@pytest.mark.parametrize("name", JUNK)
@pytest.mark.parametrize("version", VERSIONS)
def test_bytes_after_the_last_frame(version: str, name: str) -> None:
    refuses(one(version, frame(TEXT) + JUNK[name]))
    refuses(one(version, frame(TEXT, checksum=True) + skippable(b"x") + JUNK[name]))


@pytest.mark.parametrize("version", VERSIONS)
def test_junk_alone(version: str) -> None:
    for stored in (*JUNK.values(), b"not zstd at all", b"\x37\xa4\x30\xec" + bytes(20)):
        refuses(one(version, stored))


@pytest.mark.parametrize("version", VERSIONS)
def test_streams_of_another_size(version: str) -> None:
    for data in (TEXT[:-1], TEXT + b"!", b"", TEXT * 2):
        refuses(one(version, frame(data)))
        refuses(one(version, frame(data, sized=True)))
        refuses(one(version, frame(data) + skippable(b"")))
    for size in (0, 1, SIZE - 1, SIZE + 1):
        refuses(one(version, frame(TEXT), size)) if size else None


def test_a_wrong_uncompressed_length() -> None:
    for length in (0, 1, SIZE - 1, SIZE + 1, SIZE * 2, 1 << 40, (1 << 64) - 1):
        refuses(one("1.2", frame(TEXT), uncompressed_length=length))


@pytest.mark.parametrize("version", VERSIONS)
def test_damage_that_the_frame_checksum_finds(version: str) -> None:
    stored = bytearray(frame(random.Random(0).randbytes(SIZE), checksum=True))
    stored[40] ^= 1
    refuses(one(version, bytes(stored)))


@pytest.mark.parametrize("version", VERSIONS)
def test_frames_that_need_what_nobody_has(version: str) -> None:
    with_dictionary = b"\x28\xb5\x2f\xfd\x01\x58\x07" + frame(TEXT)[6:]
    huge_window = b"\x28\xb5\x2f\xfd\x00\xff" + frame(TEXT)[6:]
    reserved = b"\x28\xb5\x2f\xfd\x08\x58" + frame(TEXT)[6:]
    for stored in (with_dictionary, huge_window, reserved):
        refuses(one(version, stored))


# --- expansion ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_a_size_that_no_stream_of_that_length_has(version: str) -> None:
    for size in (1 << 40, 1 << 62, (1 << 64) - 1):
        with one(version, frame(TEXT), size) as reader:
            with pytest.raises(zt.FormatError) as caught:
                reader["t"].numpy()
            assert caught.value.rule == "DecodedLength"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_densest_stream_is_read(version: str) -> None:
    blocks = 64
    with one(version, bomb(blocks), blocks * 131072) as reader:
        array = reader["t"].numpy()
        assert len(array) == blocks * 131072
        assert not array.any()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_limit_is_the_callers(version: str) -> None:
    data = dense_1(version, bomb(64), [64 * 131072], encoding="zstd")
    with zt.open(data, limits=zt.Limits(max_decoded=1 << 20)) as reader:
        for read in (reader["t"].numpy, reader["t"].components["data"].read, reader.verify):
            with pytest.raises(zt.LimitError):
                read()


def test_the_limit_holds_where_no_size_is_stated() -> None:
    stored = bomb(64)
    parts = {role: part_1(length=len(stored), encoding="zstd") for role in ("values", "coords")}
    fields = tensor_1_0(shape=[3], format="sparse_coo", components=parts)
    data = file_1_0(root_1_0({"t": fields}), {64: stored})
    with zt.open(data, limits=zt.Limits(max_decoded=1 << 20)) as reader:
        for read in (reader["t"].numpy, reader["t"].components["values"].read):
            with pytest.raises(zt.LimitError):
                read()


def test_streams_whose_size_nobody_states() -> None:
    def unsized(stored: bytes) -> zt.Reader:
        part = part_1(length=len(stored), encoding="zstd")
        fields = tensor_1_0(format="x", components={"data": part})
        return zt.open(file_1_0(root_1_0({"t": fields}), {64: stored}))

    for stored in STREAMS.values():
        with unsized(stored) as reader:
            assert reader["t"].components["data"].read() == TEXT
            assert reader["t"].components["data"].decoded_length is None
    whole = frame(TEXT, checksum=True)
    for stored in [whole[:length] for length in range(1, len(whole))]:
        with unsized(stored) as reader, pytest.raises(zt.FormatError):
            reader["t"].components["data"].read()
    for junk in JUNK.values():
        with unsized(whole + junk) as reader, pytest.raises(zt.FormatError):
            reader["t"].components["data"].read()
    assert object_1_2()  # 1.2 states sizes


# --- zt.zstd-seekable/1 ---------------------------------------------------------------------------


def one_2(stored: bytes, size: int = SIZE) -> zt.Reader:
    fields = {"encoding": "zt.zstd-seekable/1", "decoded_length": size}
    root = dense_2([size], blob=[4096, len(stored)], **fields)
    return zt.open(file_2(root, {4096: stored}))


FIRST, SECOND = (frame(TEXT[:HALF]), HALF), (frame(TEXT[HALF:]), SIZE - HALF)
ENTRY = struct.Struct("<II")
SEEKABLE = {
    "one frame": seekable([(frame(TEXT), SIZE)]),
    "two frames": seekable([FIRST, SECOND]),
    "with checksums": seekable([(frame(TEXT[:HALF], checksum=True), HALF), SECOND]),
    "with entry checksums": seekable(
        [FIRST, SECOND],
        entries=struct.pack("<IIIIII", len(FIRST[0]), HALF, 0, len(SECOND[0]), SIZE - HALF, 0),
        descriptor=0x80,
    ),
    "a frame and a skippable one in an entry": seekable(
        [(FIRST[0] + skippable(b"x"), HALF), (skippable(b"") + SECOND[0], SIZE - HALF)]
    ),
    "two frames in an entry": seekable([(FIRST[0] + SECOND[0], SIZE)]),
    "a shorter last frame": seekable([(frame(TEXT[:-9]), SIZE - 9), (frame(TEXT[-9:]), 9)]),
}
NOT_SEEKABLE = {
    "nothing": b"",
    "no table": frame(TEXT),
    "another magic at the end": seekable([FIRST, SECOND], magic=0x8F92EAB2),
    "another skippable magic": seekable([FIRST, SECOND], frame=0x184D2A5D),
    "a byte before the table": FIRST[0] + b"\0" + seekable([SECOND]),
    "a byte after the table": seekable([FIRST, SECOND]) + b"\0",
    "a byte before the first frame": b"\0" + seekable([FIRST, SECOND]),
    "a frame that the table lacks": FIRST[0] + seekable([SECOND]),
    "a table that is too long": seekable([FIRST, SECOND], size=26),
    "a table that is too short": seekable([FIRST, SECOND], size=24),
    "reserved bits": seekable([FIRST, SECOND], descriptor=4),
    "one entry more than there is room for": seekable([FIRST, SECOND], count=3),
    "2**32 - 1 entries": seekable([FIRST, SECOND], count=(1 << 32) - 1),
    "one entry less": seekable([FIRST, SECOND], count=1),
    "decoded lengths that sum to more": seekable([FIRST, (SECOND[0], SIZE - HALF + 1)]),
    "decoded lengths that sum to less": seekable([FIRST, (SECOND[0], SIZE - HALF - 1)]),
    "lengths that are swapped": seekable(
        [FIRST, SECOND],
        entries=ENTRY.pack(len(FIRST[0]), HALF - 1) + ENTRY.pack(len(SECOND[0]), SIZE - HALF + 1),
    ),
    "frames of unequal length": seekable(
        [(frame(TEXT[:9]), 9), (frame(TEXT[9:30]), 21), (frame(TEXT[30:]), SIZE - 30)]
    ),
    "an entry of nothing": seekable([FIRST, (b"", 0), SECOND]),
    "a cut frame": seekable([FIRST, (SECOND[0][:-1], SIZE - HALF)]),
    "junk in an entry": seekable([FIRST, (SECOND[0] + b"\0", SIZE - HALF)]),
}


@pytest.mark.parametrize("name", SEEKABLE)
def test_seekable_streams(name: str) -> None:
    reads(one_2(SEEKABLE[name]))


@pytest.mark.parametrize("name", NOT_SEEKABLE)
def test_streams_that_are_not_seekable(name: str) -> None:
    refuses(one_2(NOT_SEEKABLE[name]))


def test_an_empty_seekable_stream_is_its_table() -> None:
    reads(one_2(seekable([]), 0), b"")
    for stored in (b"", seekable([])[:-1], frame(b"")):
        with one_2(stored, 0) as reader, pytest.raises(zt.FormatError):
            reader["t"].numpy()


def test_a_seekable_frame_holds_at_most_16_mib() -> None:
    blocks = 128
    reads_exactly = seekable([(bomb(blocks), blocks * 131072)])
    with one_2(reads_exactly, blocks * 131072) as reader:
        assert not reader["t"].numpy().any()
    too_long = seekable([(bomb(blocks + 1), (blocks + 1) * 131072)])
    with one_2(too_long, (blocks + 1) * 131072) as reader, pytest.raises(zt.FormatError):
        reader["t"].numpy()


def test_framed_streams_of_version_1_are_held_to_their_table() -> None:
    """Where the table itself is in order, each frame must be what it says (SPEC.md §13.1)."""
    entries = ENTRY.pack(len(FIRST[0]), HALF - 1) + ENTRY.pack(len(SECOND[0]), SIZE - HALF + 1)
    for version in VERSIONS:
        refuses(one(version, seekable([FIRST, SECOND], entries=entries)))
