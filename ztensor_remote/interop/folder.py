"""Which files of a folder make a model."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import InvalidInputError
from .detect import FORMATS, Format, format_named
from .index import SUFFIX, is_index

_OF_PYTORCH = "pytorch_model"
"""How the names of models begin, other than those of optimizers and of settings."""


def choose(names: Iterable[str], format: Format) -> list[str]:
    """Return the files to open: of one format, and an index before what it names.

    A repository often holds a model in several formats, and any one of them is the model.

    Parameters
    ----------
    names : iterable of str
        What is in the folder.
    format : Format
        The one that is meant; ``"auto"`` takes the first that there is, zTensor's own first.

    Raises
    ------
    InvalidInputError
        Two indexes name files of that format.
    """
    listed = sorted(names)
    for kind in [kind for kind in FORMATS if kind != "auto"] if format == "auto" else [format]:
        indexes = [name for name in listed if is_index(name) and _indexed(name) == kind]
        if len(indexes) > 1:
            raise InvalidInputError(f"there are several models: {', '.join(indexes)}; open one")
        files = indexes or _models([name for name in listed if format_named(name) == kind])
        if files:
            return files
    return []


def _models(files: list[str]) -> list[str]:
    """Leave out what PyTorch's tools put beside a model under the same endings."""
    return [name for name in files if name.startswith(_OF_PYTORCH)] or files


def _indexed(name: str) -> Format | None:
    return format_named(name[: -len(SUFFIX)])
