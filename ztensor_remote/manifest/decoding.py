"""CBOR to values: to the letter for version 2 (SPEC.md §9.3), with some leeway before it (§7.3).

Nothing that a tag stands for is built, no count in the data decides how much is allocated, and
map keys can't be chosen so that they collide in a dict.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, NoReturn

from ..errors import LimitError
from .cbor import FLOATS, MAX_DEPTH, WIDTHS, shortest_float
from .fields import RepeatedKeys, reject

_LENIENT_DEPTH = 128
_MAX_ODD_KEYS = 64
_SELF_DESCRIBE = b"\xd9\xd9\xf7"
_SMALLEST = {24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}


def decode_deterministic(data: bytes) -> Any:
    """Return the value in `data`, which must be its one deterministic encoding (RFC 8949 §4.2.1).

    Raises
    ------
    FormatError, LimitError
    """
    return _Decoder(data, strict=True).only_item()


def decode_lenient(data: bytes) -> Any:
    """Return the value in `data` as versions 0.1 and 1.x allow it.

    Indefinite lengths, long heads and the self-describe tag are accepted. Other tags come back as
    opaque ``cbor2.CBORTag`` values, but integers of any size as ``int``; maps that repeat a key as
    `RepeatedKeys`.

    Raises
    ------
    FormatError, LimitError
    """
    from cbor2 import CBORError

    data = data.removeprefix(_SELF_DESCRIBE)
    try:
        return _decode_plain(data)
    except (CBORError, ValueError):
        return _Decoder(data, strict=False).only_item()


def _decode_plain(data: bytes) -> Any:
    """Return what most manifests hold, several times as fast.

    Raises
    ------
    CBORError, ValueError
        It is no CBOR; or there are tags, keys that repeat, or keys that are no strings.
    """
    import cbor2

    stream = BytesIO(data)
    value = cbor2.load(
        stream,
        max_depth=_LENIENT_DEPTH,
        semantic_decoders=_NoTags(),
        tag_hook=_refuse,
        strict_hashable_types=True,
        allow_duplicate_keys=False,
    )
    if stream.tell() != len(data):
        raise ValueError("bytes follow the value")
    return value


class _NoTags(dict[int, Callable[..., Any]]):
    """What to do about each tag there is."""

    def __missing__(self, tag: int) -> Callable[..., Any]:
        return _refuse


def _refuse(*_: Any) -> NoReturn:
    raise ValueError("a tag")


class _Decoder:
    """Reads one item after another."""

    def __init__(self, data: bytes, *, strict: bool) -> None:
        self._data = data
        self._at = 0
        self._strict = strict
        self._max_depth = MAX_DEPTH if strict else _LENIENT_DEPTH

    def only_item(self) -> Any:
        """Return the item that the data consists of."""
        value = self._item(0)
        if self._at != len(self._data):
            reject("bytes follow the manifest's CBOR value", rule="CborSyntax")
        return value

    def _item(self, depth: int) -> Any:
        if depth > self._max_depth:
            reject(f"the manifest is nested deeper than {self._max_depth} levels", rule="CborDepth")
        if self._at >= len(self._data):
            _cut_off()
        initial = self._data[self._at]
        self._at += 1
        major, info = initial >> 5, initial & 31
        if major == 7:
            return self._simple(info)
        if info == 31:
            return self._indefinite(major, depth)
        argument = info if info < 24 else self._argument(info)
        if major == 3:
            return self._text(argument)
        if major == 0:
            return argument
        if major == 5:
            self._expect(2 * argument)
            return self._map(iter(range(argument)), depth)
        if major == 4:
            self._expect(argument)
            return [self._item(depth + 1) for _ in range(argument)]
        if major == 2:
            return self._bytes(argument)
        if major == 1:
            return -1 - argument
        return self._tagged(argument, depth)

    def _argument(self, info: int) -> int:
        """Return the number that follows a head."""
        if info not in WIDTHS:
            reject("a reserved CBOR head in the manifest", rule="CborSyntax")
        argument = int.from_bytes(self._bytes(WIDTHS[info]))
        if self._strict and argument < _SMALLEST[info]:
            reject("a number in the manifest is not in its shortest form", rule="CborDeterminism")
        return argument

    def _bytes(self, length: int) -> bytes:
        start, self._at = self._at, self._at + length
        if self._at > len(self._data):
            _cut_off()
        return self._data[start : self._at]

    def _text(self, length: int) -> str:
        try:
            return self._bytes(length).decode()
        except UnicodeDecodeError:
            reject("a text in the manifest is not UTF-8", rule="CborSyntax")

    def _expect(self, count: int) -> None:
        """Refuse a container that claims more items than there are bytes."""
        if count > len(self._data) - self._at:
            _cut_off()

    def _map(self, pairs: Iterator[object], depth: int) -> dict[Any, Any]:
        """Return a map with a pair for each item of `pairs`."""
        made: dict[Any, Any] = {}
        previous, odd, repeats = b"", 0, False
        for _ in pairs:
            start = self._at
            key = self._item(depth + 1)
            if self._strict:
                encoded = self._data[start : self._at]
                _check_order(previous, encoded)
                previous = encoded
            if not isinstance(key, str):
                odd += self._data[start] >> 5 in (4, 5, 6)
                key = _hashable(key, odd)
            elif key in made:
                repeats = True
            made[key] = self._item(depth + 1)
        return RepeatedKeys(made) if repeats else made

    def _indefinite(self, major: int, depth: int) -> Any:
        """Return an item that goes on until a break."""
        if self._strict or major not in (2, 3, 4, 5):
            reject("an indefinite CBOR length in the manifest", rule="CborSyntax")
        until_break = iter(self._is_break, True)
        if major == 4:
            return [self._item(depth + 1) for _ in until_break]
        if major == 5:
            return self._map(until_break, depth)
        pieces = [self._piece(major) for _ in until_break]
        return (b"" if major == 2 else "").join(pieces)

    def _is_break(self) -> bool:
        found = self._data[self._at : self._at + 1] == b"\xff"
        self._at += found
        return found

    def _piece(self, major: int) -> Any:
        """Return a piece of a string: a string of the same kind, of definite length."""
        initial = self._data[self._at] if self._at < len(self._data) else _cut_off()
        if initial >> 5 != major or initial & 31 == 31:
            reject("a string in the manifest is put together wrongly", rule="CborSyntax")
        return self._item(0)

    def _tagged(self, tag: int, depth: int) -> Any:
        if self._strict:
            reject("CBOR tags are not allowed in the manifest", rule="CborSyntax")
        value = self._item(depth + 1)
        if tag in (2, 3) and isinstance(value, bytes):
            number = int.from_bytes(value)
            return number if tag == 2 else -1 - number
        from cbor2 import CBORTag

        return CBORTag(tag, value)

    def _simple(self, info: int) -> Any:
        if info in (20, 21, 22):
            return (False, True, None)[info - 20]
        if info in FLOATS:
            return self._float(info)
        if self._strict or info > 24:
            reject(f"CBOR simple value {info} is not allowed in the manifest", rule="CborSyntax")
        return self._other_simple(info)

    def _float(self, info: int) -> float:
        start = self._at - 1
        (value,) = struct.unpack(FLOATS[info], self._bytes(WIDTHS[info]))
        if self._strict and self._data[start : self._at] != shortest_float(value):
            reject("a float in the manifest is not in its shortest form", rule="CborDeterminism")
        return float(value)

    def _other_simple(self, info: int) -> Any:
        from cbor2 import CBORSimpleValue, undefined

        if info == 23:
            return undefined
        number = info if info < 24 else self._bytes(1)[0]
        if info == 24 and number < 32:
            reject(f"CBOR simple value {number} in a wrong form", rule="CborSyntax")
        return CBORSimpleValue(number)


def _cut_off() -> NoReturn:
    reject("the manifest's CBOR is cut off", rule="CborSyntax")


def _check_order(previous: bytes, key: bytes) -> None:
    if key > previous:
        return
    if key == previous:
        reject("a map in the manifest repeats a key", rule="CborDuplicateKey")
    reject("map keys in the manifest are not sorted", rule="CborDeterminism")


def _hashable(key: Any, odd: int) -> Any:
    """Return a key as a dict can have it; `odd` keys of the map were no scalars.

    Hashes of those can be foreseen, and thousands of them chosen to be equal.
    """
    if odd > _MAX_ODD_KEYS:
        raise LimitError(f"a map in the manifest has over {_MAX_ODD_KEYS} keys that are no scalars")
    if isinstance(key, list):
        return tuple(_hashable(item, 0) for item in key)
    from cbor2 import CBORTag, frozendict

    if isinstance(key, dict):
        return frozendict({name: _hashable(item, 0) for name, item in key.items()})
    if isinstance(key, CBORTag):
        return CBORTag(key.tag, _hashable(key.value, 0))
    return key
