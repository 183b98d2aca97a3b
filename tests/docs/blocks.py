"""The fenced code blocks of a Markdown file."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

LANGUAGES = {"python", "bash", "console"}
OTHER_SPELLINGS = {"py", "python3", "pycon", "sh", "shell", "zsh"}
NO_RUN = "no-run"

_OPENING = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,}) *(?P<info>[^`]*)$")
_ANY_FENCE = re.compile(r"^[^\w`~]*(?:`{3,}|~{3,}) *(?P<language>\w+)")


@dataclass(frozen=True)
class Block:
    """One block of code.

    Attributes
    ----------
    file : str
        As the reader of a report finds it, relative to the project.
    line : int
        The line of its first line of code, counted from 1.
    language : str
        One of `LANGUAGES`.
    code : str
        What to execute; a console block's prompts and output are gone.
    runs : bool
        False when its info string says ``no-run``.
    """

    file: str
    line: int
    language: str
    code: str
    runs: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line}-{self.language}{'' if self.runs else '-not-run'}"

    @property
    def starts_with_our_command(self) -> bool:
        """Whether the first command, comments aside, is ``ztensor``."""
        lines = (line.strip() for line in self.code.splitlines())
        first = next((line for line in lines if line and not line.startswith("#")), "")
        return first.startswith("ztensor ")


def read_blocks(path: Path, root: Path) -> list[Block]:
    """Find every python, bash and console block of a file, in order."""
    blocks = []
    lines = iter(enumerate(path.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        opening = _OPENING.match(line)
        if opening is None:
            continue
        closing = re.compile(rf" *{re.escape(opening['fence'])}[`~]* *$")
        body = []
        for _, inner in lines:
            if closing.match(inner):
                break
            body.append(inner)
        language, *flags = opening["info"].split() or [""]
        if language in LANGUAGES:
            code = textwrap.dedent("\n".join(body)) + "\n"
            if language == "console":
                code = commands_of(code)
            file = path.relative_to(root).as_posix()
            blocks.append(Block(file, number + 1, language, code, NO_RUN not in flags))
    return blocks


def commands_of(session: str) -> str:
    """Keep what was typed in a console session: lines after ``$``, continued after ``>``."""
    typed = [line[2:] for line in session.splitlines() if line.startswith(("$ ", "> "))]
    return "\n".join(typed) + "\n"


def fences_that_look_runnable(path: Path) -> list[int]:
    """Find the lines that open a block of code, without the care that `read_blocks` takes.

    It also sees fences inside quotations and languages under other names, which are never run.
    """
    return [
        number
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if (fence := _ANY_FENCE.match(line)) and fence["language"] in LANGUAGES | OTHER_SPELLINGS
    ]
