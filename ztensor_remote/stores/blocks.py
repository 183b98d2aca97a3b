"""What a cache has of one version of an object: its bytes, and a sum of each block that is there.

The bytes are in a file as long as the object, with holes where nothing was read yet. The sums are
in a second file; a block counts once its sum is written and its bytes agree, so that nothing that
a crash, a full disk or a stranger leaves behind is ever taken for the object's.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from .claims import Claims
from .local import map_privately
from .room import DATA, SUMS, lock

BLOCK = 64 << 10
"""Bytes that are fetched and kept together."""

_SUM = np.dtype("<u8")
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
_MODE = 0o600


class Blocks:
    """One object in a cache; `open_blocks` gives the one that this process has of it.

    Parameters
    ----------
    stem : str
        Path of its files, without their ends.
    size : int
        Of the object, in bytes; not 0.

    Attributes
    ----------
    claims : Claims
        Who fetches what.
    """

    def __init__(self, stem: str, size: int) -> None:
        self.size = size
        self._checked = bytearray(-(-size // BLOCK))
        self._sums = -1
        self._data = _open_data(stem + DATA, size)
        try:
            self._sums = os.open(stem + SUMS, _FLAGS, _MODE)
            # The mapping holds the lock that keeps the file from making way, as long as a view
            # of it lives: it has a descriptor of its own, and the lock is that of both.
            self._memory = mmap.mmap(self._data, size, access=mmap.ACCESS_READ)
        except BaseException:
            self._close()
            raise
        self.claims = Claims(self._sums)

    def covering(self, offset: int, length: int) -> range:
        """Return the blocks that bytes lie in."""
        return range(offset // BLOCK, -(-(offset + length) // BLOCK))

    def span(self, blocks: range) -> tuple[int, int]:
        """Return the first byte of some blocks, and what follows their last."""
        return blocks.start * BLOCK, min(blocks.stop * BLOCK, self.size)

    def sums(self, blocks: range) -> npt.NDArray[np.uint64]:
        """Return what each block has to sum up to; 0 where it was never stored."""
        sums = np.zeros(len(blocks), _SUM)
        stored = os.pread(self._sums, sums.nbytes, blocks.start * _SUM.itemsize)
        sums.view(np.uint8)[: len(stored)] = np.frombuffer(stored, np.uint8)
        return sums

    def sound(self, blocks: range) -> npt.NDArray[np.bool_]:
        """Return which blocks are there as they were stored; each is looked at once."""
        self._mend()
        sums = self.sums(blocks)
        for block, stated in zip(blocks, sums.tolist(), strict=True):
            if stated and not self._checked[block]:
                # Not by the mapping: where a file was cut or its disk is full, touching it kills.
                if _sum(os.pread(self._data, BLOCK, block * BLOCK)) == stated:
                    self._checked[block] = True
                else:
                    sums[block - blocks.start] = 0
        found: npt.NDArray[np.bool_] = sums != 0
        return found

    def view(self, offset: int, length: int) -> memoryview | None:
        """Return mapped bytes, read-only; None if they are not all there."""
        if not self.sound(self.covering(offset, length)).all():
            return None
        return memoryview(self._memory)[offset : offset + length]

    def private_view(self, offset: int, length: int) -> memoryview | None:
        """Return a copy-on-write mapping of bytes; None if they are not all there."""
        if not self.sound(self.covering(offset, length)).all():
            return None
        return map_privately(self._data, offset, length)

    def store(self, first: int, data: memoryview) -> None:
        """Store whole blocks, from the one numbered `first` on.

        Raises
        ------
        OSError
            The blocks that were stored before are still what they were.
        """
        self._mend()
        sums = [_sum(data[start : start + BLOCK]) for start in range(0, len(data), BLOCK)]
        _write(self._data, data, first * BLOCK)
        _write(self._sums, memoryview(np.array(sums, _SUM).tobytes()), first * _SUM.itemsize)

    def forget(self, blocks: range) -> None:
        """Take back that some blocks are there."""
        _write(
            self._sums, memoryview(bytes(len(blocks) * _SUM.itemsize)), blocks.start * _SUM.itemsize
        )
        for block in blocks:
            self._checked[block] = False

    def _mend(self) -> None:
        """Make a file long again that somebody cut: touching what is gone would kill us."""
        if os.fstat(self._data).st_size < self.size:
            # In this order: once it is long again, nobody else would notice.
            self._checked = bytearray(len(self._checked))
            os.ftruncate(self._data, self.size)

    def _close(self) -> None:
        for file in (self._data, self._sums):
            if file >= 0:
                os.close(file)
        self._data = self._sums = -1

    def __del__(self) -> None:
        if getattr(self, "_data", -1) >= 0:
            self._close()


_opened: WeakValueDictionary[str, Blocks] = WeakValueDictionary()
_opening = threading.Lock()


def open_blocks(stem: str, size: int) -> Blocks:
    """Return what the cache has of an object: one for all readers of this process.

    Raises
    ------
    OSError
    """
    with _opening:
        blocks = _opened.get(stem)
        if blocks is None:
            blocks = _opened[stem] = Blocks(stem, size)
        return blocks


def _after_fork() -> None:
    """Forget what the parent's threads were doing: the locks on files stayed with it."""
    global _opening
    _opening = threading.Lock()
    for blocks in list(_opened.values()):
        blocks.claims = Claims(blocks._sums)


os.register_at_fork(after_in_child=_after_fork)


def _open_data(path: str, size: int) -> int:
    """Open a file of this size, and keep it from making way as long as it is open."""
    while True:
        file = os.open(path, _FLAGS, _MODE)
        try:
            lock(file, fcntl.LOCK_SH)
            if _is_at(path, file):
                if os.fstat(file).st_size != size:
                    os.ftruncate(file, size)
                os.utime(file)  # what was used last makes way last
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _is_at(path: str, file: int) -> bool:
    """Whether a file is still the one of this name: it may have made way meanwhile."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False


def _sum(block: bytes | memoryview) -> int:
    return xxh3_64_intdigest(block) or 1  # 0 stands for no block


def _write(file: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(file, data, offset)
        data, offset = data[count:], offset + count
