"""The commands, put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from .. import __version__
from . import log
from .compact import compact
from .contents import content_id, diff, ls, plan, verify
from .convert import append, compress, convert, decompress, merge
from .gc import gc
from .info import info
from .render import print_line
from .repair import repair
from .tensors import cp, remove, rename, split
from .values import cat, stats

_EXIT_CODES = (
    "Exit codes: 0 success; 1 an error of the file or the store; 2 wrong usage; 130 interrupted; "
    "141 the reader of the output went away."
)
_EXAMPLES: dict[Callable[..., None], str] = {
    info: "info s3://bucket/model.zt --storage-option anon=true",
    ls: "ls s3://bucket/model.zt 'layers.0.*'",
    cat: "cat s3://bucket/model.zt 'weight[0:10,:3]' --json",
    stats: "stats s3://bucket/model.zt weight",
    plan: "plan s3://bucket/model.zt 'weight[:128]' bias",
    verify: "verify s3://bucket/model.zt --json",
    diff: "diff model.zt s3://bucket/model.zt --rtol 1e-3",
    content_id: "id s3://bucket/model.zt",
    convert: "convert s3://bucket/model.safetensors.index.json -o s3://bucket/model.zt -c -l 9",
    compress: "compress s3://bucket/model.zt -o small.zt -l 19",
    decompress: "decompress small.zt -o model.zt",
    merge: "merge s3://bucket/a.zt s3://bucket/b.zt -o s3://bucket/both.zt",
    append: "append s3://bucket/model.zt --from lora.safetensors",
    split: "split model.zt 'part-{index:05}-of-{count:05}.zt' --max-size 5G",
    cp: "cp s3://bucket/model.zt head.zt lm_head.weight",
    remove: "remove model.zt optimizer.step -o smaller.zt",
    rename: "rename model.zt old.weight=new.weight",
    compact: "compact s3://bucket/model.zt",
    gc: "gc s3://bucket/models --older-than 48",
    repair: "repair model.zt",
}

app = typer.Typer(
    name="ztensor",
    help="Look into tensor files on any filesystem that fsspec knows, and write them anew.",
    epilog=f"Example: ztensor {_EXAMPLES[info]}\n\n{_EXIT_CODES}",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_LOG_EXAMPLES: dict[Callable[..., None], str] = {
    log.ls: "log ls s3://bucket/run-42 --json",
    log.show: "log show s3://bucket/run-42 1000",
    log.prune: "log prune s3://bucket/run-42 --keep-last 3 --keep-every 10000",
}


def _add(parent: typer.Typer, examples: dict[Callable[..., None], str]) -> None:
    for command, example in examples.items():
        epilog = f"Example: ztensor {example}\n\n{_EXIT_CODES}"
        name = example.removeprefix("log ").split()[0]
        parent.command(name, epilog=epilog)(command)


_add(app, _EXAMPLES)
_log = typer.Typer(help="Look into a checkpoint log, and thin it out.", no_args_is_help=True)
_add(_log, _LOG_EXAMPLES)
app.add_typer(_log, name="log", epilog=f"Example: ztensor {_LOG_EXAMPLES[log.ls]}\n\n{_EXIT_CODES}")


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
