"""Every python, bash and console block of README.md and docs/ does what it says.

The blocks of one document run in order, in one fresh process and one empty folder, with ``s3://``
pointing at a local server that has an empty bucket named ``bucket``. Python blocks share one
namespace; shell blocks start with ``ztensor``. A block whose info string says ``no-run`` (an
installation, a store that isn't there) is only checked for syntax.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from .blocks import Block, fences_that_look_runnable, read_blocks

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
BLOCKS = [block for document in DOCUMENTS for block in read_blocks(document, ROOT)]
RUNNER = Path(__file__).with_name("run_blocks.py")
# Below the timeout of a test, so that a hanging document still shows what it printed.
SECONDS_A_DOCUMENT = 240

OPTIONAL_LIBRARIES = (
    "adlfs",
    "dask",
    "h5py",
    "huggingface_hub",
    "jax",
    "obstore",
    "onnx",
    "ray",
    "safetensors",
    "scipy",
    "torch",
    "xarray",
)


@dataclass(frozen=True)
class Run:
    """What became of one document."""

    finished: frozenset[int]
    output: str


def missing_library(block: Block) -> str | None:
    """Name an optional library that a block mentions and that isn't installed."""
    for name in OPTIONAL_LIBRARIES:
        if re.search(rf"\b{name}\b", block.code) and find_spec(name) is None:
            return name
    return None


def environment(home: Path, **variables: str) -> dict[str, str]:
    """The caller's environment without its AWS account, with this interpreter's commands first."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    commands = str(Path(sys.executable).parent)
    return inherited | {
        "HOME": str(home),
        "PATH": os.pathsep.join([commands, inherited.get("PATH", os.defpath)]),
        "PYTHONPATH": str(ROOT),
        **variables,
    }


def run_blocks(blocks: Iterable[Block], folder: Path, env: dict[str, str]) -> Run:
    """Run blocks of one document in a fresh process, in an empty folder below `folder`."""
    work = folder / "work"
    work.mkdir()
    request, report, log = (folder / name for name in ("blocks.json", "finished", "output"))
    request.write_text(json.dumps([asdict(block) for block in blocks]), encoding="utf-8")
    report.touch()
    # -P: the folder of the runner is no place to import from.
    command = [sys.executable, "-P", "-W", "error", str(RUNNER), str(request), str(report)]
    ending = ""
    with log.open("wb") as output:
        try:
            subprocess.run(
                command,
                cwd=work,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=SECONDS_A_DOCUMENT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            ending = f"\nstopped after {SECONDS_A_DOCUMENT} s"
    return Run(
        frozenset(map(int, report.read_text(encoding="utf-8").split())),
        log.read_text(encoding="utf-8", errors="replace") + ending,
    )


def empty_bucket(server: Any) -> None:
    """Make the bucket of the documents, or take out what an earlier document left there."""
    files = server.filesystem()
    if not files.exists("bucket"):
        server.make_bucket("bucket")
    elif left := files.find("bucket"):
        files.rm(left)


def aws_variables(server: Any) -> dict[str, str]:
    """What makes every AWS client of a process use a server."""
    options = server.storage_options
    return {
        "AWS_ACCESS_KEY_ID": options["key"],
        "AWS_SECRET_ACCESS_KEY": options["secret"],
        "AWS_ENDPOINT_URL": server.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        # Not asking the instance for credentials spares seconds where there is no such service.
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.fixture(scope="module")
def run_document(moto: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """Run the blocks of a document once, however many tests ask for them."""
    runs: dict[str, Run] = {}

    def run(file: str) -> Run:
        if file not in runs:
            folder = tmp_path_factory.mktemp("document")
            empty_bucket(moto)
            runs[file] = run_blocks(
                [block for block in BLOCKS if block.file == file and can_run(block)],
                folder,
                environment(folder, **aws_variables(moto)),
            )
        return runs[file]

    return run


def can_run(block: Block) -> bool:
    return block.runs and missing_library(block) is None


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.runs], ids=str)
def test_block_runs(block: Block, run_document: Callable[[str], Run]) -> None:
    if block.language != "python":
        assert block.starts_with_our_command, f"{block}: start it with ztensor or mark it no-run"
    if library := missing_library(block):
        pytest.skip(f"needs {library}")
    run = run_document(block.file)
    assert block.line in run.finished, f"{block} failed, or one before it did:\n{run.output}"


@pytest.mark.parametrize("block", [block for block in BLOCKS if not block.runs], ids=str)
def test_block_that_is_not_run_is_valid(block: Block) -> None:
    if block.language == "python":
        ast.parse(block.code, filename=str(block))
    else:
        command = ["bash", "-n", "-c", block.code]
        checked = subprocess.run(command, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_block_of_a_document_is_overlooked(document: Path) -> None:
    found = [block.line - 1 for block in read_blocks(document, ROOT)]
    assert found == fences_that_look_runnable(document), (
        "a fence in a quotation or of another language name: write ```python, ```bash or ```console"
    )


def test_the_readme_has_blocks() -> None:
    assert any(block.file == "README.md" for block in BLOCKS)


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_s3fs_takes_its_endpoint_from_the_environment(
    moto: Any, tmp_path: Path, variable: str
) -> None:
    empty_bucket(moto)
    variables = aws_variables(moto)
    variables[variable] = variables.pop("AWS_ENDPOINT_URL")
    code = "import fsspec\nfs = fsspec.filesystem('s3')\nfs.pipe_file('bucket/seen', b'x')\n"
    run = run_blocks(
        [Block("s3fs.md", 1, "python", code, True)], tmp_path, environment(tmp_path, **variables)
    )
    assert run.finished == {1}, run.output
    assert moto.filesystem().cat_file("bucket/seen") == b"x"


# The machinery itself.

EXAMPLE = """\
# Title

```python
from pathlib import Path
answer = 42
```

- a list

  ```bash
  # a comment
  echo "$HOME" > home
  ```

````markdown
```text
not ours
```
````

```console
$ printf '%s' \\
>   typed > typed
printed, not typed
```

```python no-run
import torch
```

~~~python
assert Path("home").exists() and Path("typed").read_text() == "typed" and answer == 42
~~~
"""


def write_document(folder: Path, text: str) -> list[Block]:
    document = folder / "example.md"
    document.write_text(text, encoding="utf-8")
    return read_blocks(document, folder)


def test_blocks_are_found_with_their_lines_and_flags(tmp_path: Path) -> None:
    assert [str(block) for block in write_document(tmp_path, EXAMPLE)] == [
        "example.md:4-python",
        "example.md:11-bash",
        "example.md:22-console",
        "example.md:28-python-not-run",
        "example.md:32-python",
    ]


def test_blocks_share_a_namespace_and_a_folder(tmp_path: Path) -> None:
    blocks = [block for block in write_document(tmp_path, EXAMPLE) if block.runs]
    run = run_blocks(blocks, tmp_path, environment(tmp_path))
    assert run.finished == {4, 11, 22, 32}, run.output


def test_a_failing_block_is_named_by_its_line_and_ends_the_document(tmp_path: Path) -> None:
    text = "```python\nx = 1\n```\n```python\n\n1 / 0\n```\n```python\nx = 2\n```\n"
    run = run_blocks(write_document(tmp_path, text), tmp_path, environment(tmp_path))
    assert run.finished == {2}
    assert 'File "example.md", line 6' in run.output
    assert "ZeroDivisionError" in run.output


@pytest.mark.parametrize("fence", ["> ```python", "```py", "```sh"])
def test_a_fence_that_would_never_run_is_noticed(tmp_path: Path, fence: str) -> None:
    assert write_document(tmp_path, f"{fence}\n1 / 0\n```\n") == []
    assert fences_that_look_runnable(tmp_path / "example.md") == [1]


@pytest.mark.parametrize(
    ("code", "ours"),
    [("ztensor info x.zt\n", True), ("# look\nztensor info x.zt\n", True), ("pip list\n", False)],
)
def test_shell_blocks_must_start_with_our_command(code: str, ours: bool) -> None:
    assert Block("x.md", 1, "bash", code, True).starts_with_our_command is ours
