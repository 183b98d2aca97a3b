"""``model.safetensors.index.json``: which file beside it has which tensors.

https://huggingface.co/docs/transformers/big_models
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any, NoReturn

from ..errors import FormatError
from ..manifest.fields import shown
from .detect import path_of
from .json_text import is_text, parse_json
from .peek import Peek

MOST_FILES = 10_000
"""Files that are read as one."""

SUFFIX = ".index.json"
_MOST = 32 << 20
"""Bytes of an index: of 300,000 tensors, and JSON takes many times as much in memory."""

# No part that leads elsewhere, none that a URL would mean something else by.
_PART = re.compile(r"(?!\.\.?\Z)[^\x00-\x1f\x7f/\\:?#%*]{1,255}")


def is_index(name: str) -> bool:
    """Whether a path or URL is that of an index."""
    return path_of(name).lower().endswith(SUFFIX)


def parse_index(peek: Peek) -> Mapping[str, Set[str]]:
    """Return the files that an index names, each with the names of its tensors.

    Returns
    -------
    mapping of str to set of str
        By paths within the folder of the index, in their order.

    Raises
    ------
    FormatError, StoreError
    """
    if peek.size > _MOST:
        _reject(f"an index of {peek.size} bytes is over {_MOST}")
    try:
        root: Any = parse_json(bytes(peek.read(0, peek.size)))
    except ValueError as error:
        _reject(f"it {error}")
    places = root.get("weight_map") if isinstance(root, dict) else None
    if not isinstance(places, dict):
        _reject("it has no map 'weight_map' of the names of tensors to those of files")
    if not places:
        _reject("its weight_map is empty")
    files: dict[str, set[str]] = {}
    for tensor, file in places.items():
        if not is_text(tensor):
            _reject(f"{shown(tensor)} is no name of a tensor")
        if not is_text(file):
            _reject(f"the file of {shown(tensor)} is no text")
        files.setdefault(file, set()).add(tensor)
    if len(files) > MOST_FILES:
        _reject(f"{len(files)} files are over {MOST_FILES}")
    for file in files:
        _check_within(file)
    return dict(sorted(files.items()))


def check_indexed(file: str, stated: Set[str], there: Set[str]) -> None:
    """Check that a file has the tensors that an index says, and no others.

    Raises
    ------
    FormatError
    """
    for tensor in sorted(stated - there):
        _contradict(f"the index says that {file!r} has this tensor; it has not", tensor)
    for tensor in sorted(there - stated):
        _contradict(f"{file!r} has this tensor; the index does not say so", tensor)


def _contradict(message: str, tensor: str) -> NoReturn:
    raise FormatError(message, rule="Index", tensor=tensor)


def _check_within(file: str) -> None:
    if not all(_PART.fullmatch(part) for part in file.split("/")):
        _reject(f"the file {shown(file)} is not named by a path within the folder of the index")


def _reject(message: str) -> NoReturn:
    raise FormatError(f"not a valid index of files: {message}", rule="Index")
