"""Framed zstd: the same bytes whatever the pieces and the threads, in memory that stays small."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import zstandard

from ztensor_remote.codecs import FRAME_SIZE, FrameEncoder, encoder, read_table

TEXT = np.random.default_rng(0).integers(0, 16, 5 * FRAME_SIZE + 12345, np.uint8).tobytes()


def encoded(level: int = 1, step: int = len(TEXT)) -> bytes:
    frames = FrameEncoder(level)
    pieces = []
    for at in range(0, len(TEXT), step):
        reused = bytearray(TEXT[at : at + step])
        pieces += list(frames.update(memoryview(reused)))
        reused[:] = bytes(len(reused))  # what was given may change as soon as it was taken
    return b"".join([*pieces, *frames.finish()])


def one_after_another(level: int) -> list[bytes]:
    """Return the frames as a single thread makes them."""
    compressor = zstandard.ZstdCompressor(
        level=level, write_checksum=True, write_content_size=False
    )
    made = []
    for at in range(0, len(TEXT), FRAME_SIZE):
        stream = compressor.compressobj(size=-1)
        made.append(stream.compress(TEXT[at : at + FRAME_SIZE]) + stream.flush())
    return made


@pytest.mark.parametrize("step", [len(TEXT), FRAME_SIZE, 700_001, 3 * FRAME_SIZE + 1])
def test_the_bytes_depend_on_the_content_alone(step: int) -> None:
    assert encoded(step=step) == encoded()


@pytest.mark.parametrize("level", [1, 3])
def test_frames_are_those_of_one_thread(level: int) -> None:
    frames = one_after_another(level)
    blob = encoded(level)
    assert blob.startswith(b"".join(frames))
    table = read_table(blob, len(blob), len(TEXT))
    assert np.diff(table.stored).tolist() == [len(frame) for frame in frames]
    assert np.diff(table.decoded).tolist() == [FRAME_SIZE] * 5 + [12345]


def test_several_threads_compress(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=60)
    original = FrameEncoder._frame
    met: list[int] = []

    def meeting(self: FrameEncoder, data: bytes) -> bytes:
        if len(met) < 2:
            met.append(1)
            both.wait()
        return original(self, data)

    monkeypatch.setattr(FrameEncoder, "_frame", meeting)
    if encoder._THREADS > 1:
        assert len(encoded()) < len(TEXT)


def test_few_frames_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "_MOST_UNDER_WAY", 2)
    frames = FrameEncoder(1)
    most = 0
    for at in range(0, len(TEXT), FRAME_SIZE):
        for _ in frames.update(memoryview(TEXT[at : at + FRAME_SIZE])):
            most = max(most, len(frames._under_way))
        assert len(frames._under_way) < 2
    assert most == 1
