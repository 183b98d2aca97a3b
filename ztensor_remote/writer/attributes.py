"""Attributes of the file that is being written."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from typing import Any

from .rules import Rules


class Attributes(UserDict[str, Any]):
    """Attributes of the file, refused as they are set where a reader would refuse them."""

    def __init__(self, rules: Rules, initial: Mapping[str, Any] | None = None) -> None:
        self._rules = rules
        super().__init__(initial or {})

    def __setitem__(self, key: str, value: Any) -> None:
        self._rules.check_attributes({key: value}, of_tensor=False)
        super().__setitem__(key, value)

    def check(self) -> None:
        """Check all again: a list or dict among them may have changed since it was set."""
        self._rules.check_attributes(self.data, of_tensor=False)
