"""Attributes of the file that is being written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from .rules import Rules


class Attributes(MutableMapping[str, Any]):
    """Attributes of the file, refused as they are set where a reader would refuse them.

    Parameters
    ----------
    rules : Rules
    check_open : callable
        Raises where the file takes no more.
    initial : mapping, optional
    """

    def __init__(
        self,
        rules: Rules,
        check_open: Callable[[], None],
        initial: Mapping[str, Any] | None = None,
    ) -> None:
        self._rules = rules
        self._check_open = check_open
        self.data: dict[str, Any] = {}
        self.update(initial or {})

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._check_open()
        self._rules.check_attributes({key: value}, of_tensor=False)
        self.data[key] = value

    def __delitem__(self, key: str) -> None:
        self._check_open()
        del self.data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return repr(self.data)

    def check(self) -> None:
        """Check all again: a list or dict among them may have changed since it was set."""
        self._rules.check_attributes(self.data, of_tensor=False)
