"""What a pickle works on: a stack with marks, and a memo."""

from __future__ import annotations

from typing import Any

from .stream import reject

_MEMO = 1 << 32


class Stack:
    """Values, the latest on top; what lies below a mark is out of reach until it is taken."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        """Put a value on top."""
        self._stack.append(value)

    def pop(self) -> Any:
        """Take the value on top."""
        if not self._stack:
            reject("it takes more from its stack than there is")
        return self._stack.pop()

    def top(self) -> Any:
        """Return the value on top."""
        if not self._stack:
            reject("it takes more from its stack than there is")
        return self._stack[-1]

    def mark(self) -> None:
        """Set a mark."""
        self._outer.append(self._stack)
        self._stack = []

    def marked(self) -> list[Any]:
        """Return all that was pushed since the last mark, and take the mark."""
        if not self._outer:
            reject("a mark is missing")
        items = self._stack
        self._stack = self._outer.pop()
        return items

    def discard(self) -> None:
        """Drop the value on top, or the mark."""
        if self._stack:
            self._stack.pop()
        else:
            self.marked()

    def duplicate(self) -> None:
        """Put the value on top there once more."""
        self.push(self.top())

    def get(self, key: int) -> None:
        """Put a value of the memo on top."""
        if key not in self._memo:
            reject(f"nothing was kept under {key}")
        self.push(self._memo[key])

    def put(self, key: int) -> None:
        """Keep the value on top in the memo."""
        if not 0 <= key < _MEMO:
            reject("a number in the memo is out of range")
        self._memo[key] = self.top()

    def memoize(self) -> None:
        """Keep the value on top under the next number."""
        self.put(len(self._memo))
