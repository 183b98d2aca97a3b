"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from .compact import compact
from .gc import gc
from .info import info
from .render import print_line
from .repair import repair

_EXIT_CODES = (
    "Exit codes: 0 success; 1 an error of the file or the store; 2 wrong usage; 130 interrupted; "
    "141 the reader of the output went away."
)
_EXAMPLE = "Example: ztensor info s3://bucket/model.zt --storage-option anon=true"

app = typer.Typer(
    name="ztensor",
    help="Look into zTensor files on any filesystem that fsspec knows.",
    epilog=f"{_EXAMPLE}\n\n{_EXIT_CODES}",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=f"{_EXAMPLE}\n\n{_EXIT_CODES}")(info)
app.command(epilog=_EXIT_CODES)(compact)
app.command(epilog=_EXIT_CODES)(gc)
app.command(epilog=_EXIT_CODES)(repair)


def _show_version(wanted: bool) -> None:
    if wanted:
        print_line(f"ztensor {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_show_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Options before the command."""
