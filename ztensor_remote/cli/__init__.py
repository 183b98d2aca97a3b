"""The command line: ``ztensor``, also ``python -m ztensor_remote``.

Exit codes: 0 success, 1 an error of the file or the store, 2 wrong usage, 130 interrupted, 141 the
reader of the output went away.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import ZTensorError
from . import render

FAILED, MISUSED, INTERRUPTED, CLOSED = 1, 2, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows the program's name; ``sys.argv`` by default.

    Returns
    -------
    int
        The exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _run(given)
        render.flush()
        return status
    except ZTensorError as error:
        return _fail(str(error), FAILED)
    except render.OutputFailedError as error:
        render.discard_the_rest()
        return _fail(str(error), FAILED)
    except render.OutputClosedError:
        render.discard_the_rest()
        return CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(arguments: list[str]) -> int:
    if arguments in (["--version"], ["-V"]):
        render.print_line(f"ztensor {__version__}")  # at once: typer takes longer to import
        return 0
    import typer

    from .app import app

    try:
        status = app(arguments or ["--help"], prog_name="ztensor", standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except ZTensorError:
        raise
    except OSError as error:  # typer prints help by itself
        raise render.output_failure(error) from None
    except Exception as error:
        # typer's own; whether its base class comes from click depends on typer's version.
        if not hasattr(error, "format_message"):
            raise
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "ztensor"
        return _fail(f"{error.format_message()} (see {command} --help)", MISUSED)
    return status if isinstance(status, int) else 0


def _fail(message: str, status: int) -> int:
    render.print_error(message)
    return status
