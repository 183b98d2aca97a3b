"""Texts from files, made fit for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def printable(text: str) -> str:
    """Return `text` if it shows as what it is, else its Python literal.

    A name in a file may hold terminal escapes, line breaks or characters that turn the direction
    of writing; none of them reaches the terminal.
    """
    plain = text.isprintable() and text == text.strip() and text
    return text if plain else repr(text)


def attribute_text(value: Any) -> str:
    """Return an attribute, as `jsonable` gives it, in one line."""
    return printable(value) if isinstance(value, str) else _literal(value)


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if not isinstance(value, dict):
        return json.dumps(value, ensure_ascii=not str(value).isprintable())
    if "__bytes__" in value:
        return f"0x{value['__bytes__']}"
    if "__map__" in value:
        return _braced((_literal(key), item) for key, item in value["__map__"])
    if "__tag__" in value:
        return f"{value['__tag__']}({_literal(value['value'])})"
    if "__simple__" in value:
        return f"simple({value['__simple__']})"
    for mark in ("__float__", "__int__", "__repr__"):
        if mark in value:
            return printable(str(value[mark]))
    return _braced((printable(key), item) for key, item in value.items())


def _braced(pairs: Iterable[tuple[str, Any]]) -> str:
    return f"{{{', '.join(f'{key}: {_literal(item)}' for key, item in pairs)}}}"


def attribute_lines(attributes: dict[str, Any]) -> list[str]:
    """Return a line ``key = value`` for each attribute of a file or a tensor."""
    if "__map__" in attributes:
        pairs = attributes["__map__"]
        return [f"{attribute_text(key)} = {attribute_text(value)}" for key, value in pairs]
    return [f"{printable(key)} = {attribute_text(value)}" for key, value in attributes.items()]


def counted(number: int, noun: str) -> str:
    """Return ``"1 byte"``, ``"2 bytes"``, ``"1,000 bytes"``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def bytes_text(count: int) -> str:
    """Return a byte count for people, with the exact number where that says more."""
    from ..reader.show import size_text

    exact = counted(count, "byte")
    return exact if count < 1024 else f"{size_text(count)} ({exact})"
