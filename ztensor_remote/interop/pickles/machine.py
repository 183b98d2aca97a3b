"""The opcodes of pickles, without what makes pickles dangerous.

Names are looked up in a table and stand for functions of ours; nothing is imported, and no object
of the file is ever called. https://docs.python.org/3/library/pickletools.html lists the opcodes.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import LimitError, UnsupportedError
from ...manifest.fields import shown
from .stack import Stack
from .stream import Stream, reject
from .values import SHORT, Bytes, Dict, Named, Set, Text, kind, refuse

MOST_STEPS = 5_000_000
"""Opcodes of a file, and items that its calls copy; a tensor takes about thirty."""

_MOST_DIGITS = 4096


class Steps:
    """How many steps are left; pickles within a pickle share them."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MOST_STEPS

    def charge(self, count: int) -> None:
        """Take so many.

        Raises
        ------
        LimitError
        """
        self.left -= count
        if self.left < 0:
            raise LimitError(f"the pickle takes more than {MOST_STEPS} steps")


class Machine(Stack):
    """Makes values of pickles that follow each other in a stream.

    Parameters
    ----------
    stream : Stream
    names : mapping of str to Named
        What may be named, by module and name.
    persistent : callable, optional
        Makes a value of what stands for something outside of the pickle.
    steps : Steps, optional
        How many it may take.
    """

    def __init__(
        self,
        stream: Stream,
        names: Mapping[str, Named],
        persistent: Callable[[Any], Any] | None = None,
        steps: Steps | None = None,
    ) -> None:
        super().__init__()
        self._stream = stream
        self._names = names
        self._persistent = persistent
        self._steps = steps or Steps()

    def load(self) -> Any:
        """Return the value of the next pickle.

        Raises
        ------
        UnsupportedError
            It names something that is neither a tensor nor a plain value.
        FormatError, LimitError, StoreError
        """
        self.clear()
        stream, steps, operations = self._stream, self._steps, _OPERATIONS
        while (code := stream.byte()) != _STOP:
            operation = operations.get(code)
            if operation is None:
                reject(f"the opcode {code:#x} at {stream.at - 1} is unknown")
            steps.charge(1)
            operation(self)
        return self.pop()

    def _number(self) -> int:
        return _integer(self._stream.line())

    # --- payloads -------------------------------------------------------------------------------

    def _bytes(self, width: int, *, is_text: bool = False) -> None:
        length, at = self._stream.uint(width), self._stream.at
        data = None
        if length <= SHORT:
            data = self._stream.take(length)
        else:
            self._stream.skip(length)
        self.push(Bytes(at, length, length, data, is_text=is_text))

    def _text(self, width: int) -> None:
        length, at = self._stream.uint(width), self._stream.at
        self._push_text(self._stream.take(length), at, "utf-8")

    def _text_line(self) -> None:
        at = self._stream.at
        self._push_text(self._stream.line(), at, "raw-unicode-escape")

    def _push_text(self, data: bytes, at: int, encoding: str) -> None:
        try:
            text = Text(data.decode(encoding, "surrogatepass"))
        except UnicodeDecodeError:
            reject(f"the text at {at} is none")
        text.offset, text.length, text.encoding = at, len(data), encoding
        self.push(text)

    def _quoted(self) -> None:
        at, line = self._stream.at, self._stream.line()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"'\"":
            reject(f"the string at {at} is not quoted")
        try:
            data = codecs.escape_decode(line[1:-1])[0]
        except ValueError:
            reject(f"the string at {at} is none")
        stored = len(line) - 2
        encoding = "raw" if stored == len(data) else "escaped"
        self.push(Bytes(at + 1, stored, len(data), data, encoding, is_text=True))

    def _int_line(self) -> None:
        line = self._stream.line()
        booleans = {b"00": False, b"01": True}
        self.push(booleans[line] if line in booleans else _integer(line))

    def _float_line(self) -> None:
        line = self._stream.line()
        try:
            self.push(float(line))
        except ValueError:
            reject("a number is none")

    def _long(self, width: int) -> None:
        length = self._stream.uint(width)
        if length > _MOST_DIGITS:
            raise LimitError(f"the pickle has a number of {length} bytes")
        self.push(int.from_bytes(self._stream.take(length), "little", signed=True))

    def _unpacked(self, form: str) -> None:
        self.push(*struct.unpack(form, self._stream.take(struct.calcsize(form))))

    def _protocol(self) -> None:
        version = self._stream.byte()
        if version > 5:
            raise UnsupportedError(f"pickle protocol {version} is unknown; 0 to 5 can be read")

    # --- containers -----------------------------------------------------------------------------

    def _tuple(self, count: int) -> None:
        if len(self._stack) < count:
            reject("it takes more from its stack than there is")
        start = len(self._stack) - count
        self._stack[start:] = [tuple(self._stack[start:])]

    def _dict(self) -> None:
        self.push(Dict(_paired(self.marked())))

    def _append(self) -> None:
        item = self.pop()
        self._list().append(item)

    def _appends(self) -> None:
        items = self.marked()
        self._list().extend(items)

    def _list(self) -> list[Any]:
        top = self.top()
        if not isinstance(top, list):
            refuse(f"a {kind(top)} that is appended to")
        return top

    def _set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self._pairs().append((key, value))

    def _set_items(self) -> None:
        items = self.marked()
        self._pairs().extend(_paired(items))

    def _pairs(self) -> list[Any]:
        top = self.top()
        if not isinstance(top, Dict):
            refuse(f"a {kind(top)} whose items are set")
        return top.pairs

    def _add_items(self) -> None:
        items, top = self.marked(), self.top()
        if not isinstance(top, Set):
            refuse(f"a {kind(top)} that is added to")
        top.items.extend(items)

    # --- names and calls ------------------------------------------------------------------------

    def _global(self) -> None:
        module, name = self._stream.line(), self._stream.line()
        self.push(self._find(module.decode(errors="replace"), name.decode(errors="replace")))

    def _stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            reject(f"a name is no text, but {kind(module)} and {kind(name)}")
        self.push(self._find(module, name))

    def _find(self, module: str, name: str) -> Named:
        found = self._names.get(f"{module}.{name}")
        if found is None:
            refuse(f"{module}.{name}")
        return found

    def _reduce(self) -> None:
        arguments, called = self.pop(), self.pop()
        self.push(self._called(called, arguments))

    def _new_with_keywords(self) -> None:
        keywords, arguments, called = self.pop(), self.pop(), self.pop()
        if not isinstance(keywords, Dict) or keywords.pairs:
            refuse(f"{kind(called)} with keywords")
        self.push(self._called(called, arguments))

    def _instance(self) -> None:
        module, name = self._stream.line(), self._stream.line()
        called = self._find(module.decode(errors="replace"), name.decode(errors="replace"))
        self.push(self._called(called, tuple(self.marked())))

    def _object(self) -> None:
        called, *arguments = self.marked() or [None]
        self.push(self._called(called, tuple(arguments)))

    def _called(self, called: Any, arguments: Any) -> Any:
        if not isinstance(called, Named) or called.call is None:
            refuse(f"a call of {kind(called)}")
        if not isinstance(arguments, tuple):
            reject(f"the arguments of {called.name} are no tuple")
        self._steps.charge(sum(map(_weight, arguments)))
        return called.call(arguments)

    def _build(self) -> None:
        state, top = self.pop(), self.top()
        build = getattr(top, "build", None)
        if build is None:
            refuse(f"a {kind(top)} whose state is set")
        build(state)

    def _persistent_line(self) -> None:
        self.push(self._found(self._stream.line().decode(errors="replace")))

    def _persistent_id(self) -> None:
        self.push(self._found(self.pop()))

    def _found(self, identity: Any) -> Any:
        if self._persistent is None:
            refuse("a persistent id")
        return self._persistent(identity)

    def _extension(self, width: int) -> None:
        refuse(f"the extension code {self._stream.uint(width)}")

    def _outside(self) -> None:
        refuse("a buffer outside of the pickle")


def _integer(line: bytes) -> int:
    digits = line[:-1] if line.endswith(b"L") else line
    if len(digits) > _MOST_DIGITS:
        raise LimitError(f"the pickle has a number of {len(digits)} digits")
    try:
        return int(digits)
    except ValueError:
        reject(f"{shown(line.decode(errors='replace'))} is no number")


def _paired(items: list[Any]) -> list[tuple[Any, Any]]:
    if len(items) % 2:
        reject("a key has no value")
    return list(zip(items[::2], items[1::2], strict=True))


def _weight(value: Any) -> int:
    """Return how much a call may have to copy of an argument."""
    if isinstance(value, Dict):
        return len(value.pairs)
    return len(value) if isinstance(value, str | list | tuple) else 0


_STOP = ord(".")
_OPERATIONS: dict[int, Callable[[Machine], object]] = {
    ord(code): operation
    for code, operation in {
        "(": Machine.mark,
        "0": Machine.discard,
        "1": Machine.marked,
        "2": Machine.duplicate,
        "F": Machine._float_line,
        "I": Machine._int_line,
        "L": Machine._int_line,
        "J": lambda m: m._unpacked("<i"),
        "K": lambda m: m.push(m._stream.byte()),
        "M": lambda m: m.push(m._stream.uint(2)),
        "G": lambda m: m._unpacked(">d"),
        "N": lambda m: m.push(None),
        "\x88": lambda m: m.push(True),
        "\x89": lambda m: m.push(False),
        "\x8a": lambda m: m._long(1),
        "\x8b": lambda m: m._long(4),
        "S": Machine._quoted,
        "T": lambda m: m._bytes(4, is_text=True),
        "U": lambda m: m._bytes(1, is_text=True),
        "B": lambda m: m._bytes(4),
        "C": lambda m: m._bytes(1),
        "\x8e": lambda m: m._bytes(8),
        "\x96": lambda m: m._bytes(8),
        "V": Machine._text_line,
        "X": lambda m: m._text(4),
        "\x8c": lambda m: m._text(1),
        "\x8d": lambda m: m._text(8),
        "]": lambda m: m.push([]),
        ")": lambda m: m.push(()),
        "}": lambda m: m.push(Dict()),
        "\x8f": lambda m: m.push(Set()),
        "l": lambda m: m.push(m.marked()),
        "t": lambda m: m.push(tuple(m.marked())),
        "d": Machine._dict,
        "\x91": lambda m: m.push(Set(m.marked())),
        "\x85": lambda m: m._tuple(1),
        "\x86": lambda m: m._tuple(2),
        "\x87": lambda m: m._tuple(3),
        "a": Machine._append,
        "e": Machine._appends,
        "s": Machine._set_item,
        "u": Machine._set_items,
        "\x90": Machine._add_items,
        "g": lambda m: m.get(m._number()),
        "h": lambda m: m.get(m._stream.byte()),
        "j": lambda m: m.get(m._stream.uint(4)),
        "p": lambda m: m.put(m._number()),
        "q": lambda m: m.put(m._stream.byte()),
        "r": lambda m: m.put(m._stream.uint(4)),
        "\x94": Machine.memoize,
        "c": Machine._global,
        "\x93": Machine._stack_global,
        "R": Machine._reduce,
        "\x81": Machine._reduce,
        "\x92": Machine._new_with_keywords,
        "i": Machine._instance,
        "o": Machine._object,
        "b": Machine._build,
        "P": Machine._persistent_line,
        "Q": Machine._persistent_id,
        "\x82": lambda m: m._extension(1),
        "\x83": lambda m: m._extension(2),
        "\x84": lambda m: m._extension(4),
        "\x80": Machine._protocol,
        "\x95": lambda m: m._stream.take(8),
        "\x97": Machine._outside,
        "\x98": lambda m: m.top(),
    }.items()
}
