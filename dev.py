#!/usr/bin/env python3
"""Run the demo, the tests or every check of ztensor_remote from a bare clone.

    python3 dev.py demo               a tour of the library, on servers of its own
    python3 dev.py test [pytest ...]  the tests; what follows goes to pytest
    python3 dev.py check [pytest ...] ruff and mypy, then the tests; all of them count

All tests run on every core; with arguments for pytest, in one process, where -x, -s and --pdb are
as one knows them.

The interpreter that runs this file makes .venv beside it, and installs the project there with what
the command needs. That happens once, and again when pyproject.toml changes. Paths given to pytest
are relative to the project, whatever the current folder is.
"""

# Annotations are quoted and the syntax is old, so that an old Python gets as far as being told its
# version instead of a SyntaxError.

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "installed.json"

OLDEST_PYTHON = (3, 11)
DEMO_EXTRAS = {"demo"}
TEST_EXTRAS = {"test"}
CHECK_EXTRAS = {"test", "dev"}
CHECKS = (("ruff", "check"), ("ruff", "format", "--check"), ("mypy",))
# Each process has servers of its own; those of more than four would be most of the work.
EVERY_CORE = ("--numprocesses=logical", "--maxprocesses=4", "--dist=worksteal")

# Each of these would let packages in from outside .venv, or install into another place.
FOREIGN_VARIABLES = {
    "CONDA_PREFIX",
    "PIP_PREFIX",
    "PIP_TARGET",
    "PIP_USER",
    "PYTHONHOME",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "__PYVENV_LAUNCHER__",
}


def environment() -> "dict[str, str]":
    """The caller's environment, with .venv first on PATH and nothing of another environment."""
    variables = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
    variables["PATH"] = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])
    variables["PYTHONNOUSERSITE"] = "1"
    return variables


def run(command: "list[str]") -> int:
    """Run a command in the project folder; return its exit code."""
    return subprocess.call(command, cwd=str(ROOT), env=environment())


def replace_this_process(command: "list[str]") -> int:
    """Become the command, so that signals and the exit code are its own."""
    if os.name == "nt":
        return run(command)  # exec there returns to the shell before the command has ended
    os.chdir(str(ROOT))
    os.execve(command[0], command, environment())


def read_stamp() -> "dict[str, object]":
    """What was installed into .venv; empty when nothing was, or not to the end."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def install_to_stderr(command: "list[str]", failure: str) -> None:
    """Run one step of the installation; standard output stays the command's own."""
    status = subprocess.call(command, cwd=str(ROOT), env=environment(), stdout=sys.stderr)
    if status:
        sys.exit("dev.py: " + failure)


def prepare(extras: "set[str]") -> str:
    """Bring .venv up to date with pyproject.toml and return its interpreter."""
    state = {
        "python": "{}.{}".format(*sys.version_info[:2]),
        "root": str(ROOT),  # an editable install points at the folder, so a copy needs its own
        "pyproject": hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest(),
    }
    stamp = read_stamp()
    installed = stamp.pop("extras", [])
    have = set(installed) if isinstance(installed, list) else set()
    if PYTHON.exists() and stamp == state and extras <= have:
        return str(PYTHON)

    if not PYTHON.exists() or stamp.get("python") != state["python"]:
        print("dev.py: making .venv with Python " + state["python"], file=sys.stderr, flush=True)
        # A .venv of another Python that this script made is replaced; anybody else's is only used.
        clear = ["--clear"] if stamp else []
        install_to_stderr(
            [sys.executable, "-I", "-m", "venv", *clear, str(VENV)],
            "could not make .venv (see above)",
        )
    if STAMP.exists():
        STAMP.unlink()  # an interrupted installation must not count as one
    wanted = sorted(extras | have)
    target = f".[{','.join(wanted)}]"
    print("dev.py: installing " + target + ", once", file=sys.stderr, flush=True)
    install_to_stderr(
        [str(PYTHON), "-I", "-m", "pip", "install", "--no-input", "--editable", target],
        f"could not install {target} (see above)",
    )
    STAMP.write_text(json.dumps(dict(state, extras=wanted)), encoding="utf-8")
    return str(PYTHON)


def demo(arguments: "list[str]") -> int:
    """Run the tour."""
    return replace_this_process([prepare(DEMO_EXTRAS), "examples/demo.py", *arguments])


def pytest(python: str, arguments: "list[str]") -> "list[str]":
    """Return the command that runs the tests."""
    return [python, "-m", "pytest", *(arguments or EVERY_CORE)]


def test(arguments: "list[str]") -> int:
    """Run the tests."""
    return replace_this_process(pytest(prepare(TEST_EXTRAS), arguments))


def check(arguments: "list[str]") -> int:
    """Run ruff, mypy and the tests, each whatever the others said."""
    python = prepare(CHECK_EXTRAS)
    failed = [" ".join(tool) for tool in CHECKS if run([python, "-m", *tool])]
    # Said before pytest starts: its own closing line stays the last.
    print("dev.py: " + ("failed: " + ", ".join(failed) if failed else "ruff and mypy passed"))
    sys.stdout.flush()
    return run(pytest(python, arguments)) or int(bool(failed))


COMMANDS = {"demo": demo, "test": test, "check": check}


def main() -> int:
    """Read the command line and run the command."""
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(
            "dev.py: ztensor_remote needs Python {}.{} or newer; this is Python {}.{}.{} ({}). "
            "Run dev.py with a newer one, such as: python3.12 dev.py test".format(
                *OLDEST_PYTHON, *sys.version_info[:3], sys.executable
            )
        )
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, help="passed on to pytest, or to the demo"
    )
    options = parser.parse_args()
    try:
        return COMMANDS[options.command](options.arguments)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
