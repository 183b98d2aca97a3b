"""``ztensor repair``: cut the torn tail off that a killed append has left."""

from __future__ import annotations

from typing import Annotated

import typer


def repair(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A local file.")],
) -> None:
    """Make a local file end where its last whole generation does.

    An append that is killed leaves what it had written behind the old end. Readers of this package
    pass over it, and the next append cuts it off; others can't open the file before.
    """
    from ..writer import repair
    from .render import print_line

    cut = repair(path)
    print_line(f"cut off {cut:,} bytes" if cut else "the file is whole; nothing was changed")
