"""``ztensor log``: the steps of a checkpoint log."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import AsJson, StorageOption, StorageOptionsFile, storage_options

_Log = Annotated[str, typer.Argument(metavar="URL", help="The folder of a checkpoint log.")]


def ls(
    url: _Log,
    as_json: AsJson = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
) -> None:
    """List the steps that are there, ascending."""
    from ..log import CheckpointLog
    from .render import print_json, print_line

    options = storage_options(storage_option, storage_options_file)
    with CheckpointLog(url, storage_options=options) as log:
        steps = log.steps()
    if as_json:
        print_json({"schema": "ztensor-log-ls/1", "steps": steps})
        return
    for step in steps:
        print_line(str(step))


def show(
    url: _Log,
    step: Annotated[
        int | None, typer.Argument(metavar="[STEP]", help="The last one by default.")
    ] = None,
    as_json: AsJson = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
) -> None:
    """Show what a step holds, as `ztensor info` does."""
    from ..log import CheckpointLog
    from .describe import describe
    from .render import print_info, print_json

    options = storage_options(storage_option, storage_options_file)
    with (
        CheckpointLog(url, storage_options=options) as log,
        log.latest() if step is None else log[step] as reader,
    ):
        described = describe(reader)
    if as_json:
        print_json(described)
    else:
        print_info(described)


def prune(
    url: _Log,
    keep_last: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Keep the last N steps.")
    ] = None,
    keep_every: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Keep the multiples of N.")
    ] = None,
    as_json: AsJson = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
) -> None:
    """Delete the other steps, and what no step needs."""
    from ..log import CheckpointLog
    from .render import print_json, print_line
    from .text import bytes_text, counted

    if keep_last is None and keep_every is None:
        raise typer.BadParameter("say what to keep", param_hint="'--keep-last' / '--keep-every'")
    options = storage_options(storage_option, storage_options_file)
    with CheckpointLog(url, storage_options=options) as log:
        done = log.prune(keep_last=keep_last, keep_every=keep_every)
    if as_json:
        print_json(
            {"schema": "ztensor-log-prune/1", "steps": list(done.steps), "bytes": done.bytes}
        )
    else:
        print_line(f"{counted(len(done.steps), 'step')} deleted, {bytes_text(done.bytes)} freed")
