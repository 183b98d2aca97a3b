"""docs/reference.md has every public name, and none that there is not."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

import ztensor_remote as zt
from ztensor_remote.cli.app import app

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")

# Methods of public classes that only the library itself calls.
INTERNAL = {
    "Identity": {"of_files"},
    "Stats": {"add", "add_all", "add_cached"},
    "TensorMetadata": {"of"},
    "TensorPart": {"close", "content_digest", "finish"},
}
ERRORS = {
    name
    for name in zt.__all__
    if inspect.isclass(getattr(zt, name)) and issubclass(getattr(zt, name), Exception)
}
DOCUMENTED = set(zt.__all__) - ERRORS
CLASSES = sorted(name for name in DOCUMENTED if inspect.isclass(getattr(zt, name)))


@dataclass(frozen=True)
class Section:
    """What the reference says of one name."""

    signature: str | None
    members: dict[str, str | None]


def sections() -> dict[str, Section]:
    """Return the section of each ``###`` heading."""
    found = {}
    for part in re.split(r"^### ", TEXT, flags=re.MULTILINE)[1:]:
        name, _, body = re.split(r"^## ", part, flags=re.MULTILINE)[0].partition("\n")
        first = re.search(rf"^`{name}\(([^`]*)\)`", body, flags=re.MULTILINE)
        members: dict[str, str | None] = {}
        for row in re.findall(r"^\| (`.*?) \| ", body, flags=re.MULTILINE):
            for member, _, arguments in re.findall(r"`\.(\w+)(\(([^`]*)\))?`", row):
                members[member] = arguments if _ else None
        assert name not in found, f"two sections of {name}"
        found[name] = Section(first and first[1], members)
    return found


SECTIONS = sections()


def members_of(kind: Any) -> set[str]:
    """Return the public methods, properties and stated attributes of a class of ours."""
    names: set[str] = set()
    for base in kind.__mro__:
        if base.__module__.startswith("ztensor_remote"):
            names |= {*vars(base), *vars(base).get("__annotations__", {})}
            names |= set(attributes_in(base.__doc__ or ""))
    return {name for name in names if not name.startswith("_")} - INTERNAL.get(kind.__name__, set())


def attributes_in(docstring: str) -> list[str]:
    """Return the names under "Attributes" in a numpydoc docstring."""
    _, _, rest = inspect.cleandoc(docstring).partition("Attributes\n----------\n")
    stated = re.split(r"\n\w[\w ]*\n-+\n", rest)[0]
    lines = re.findall(r"^(\w+(?:, \w+)*) : ", stated, flags=re.MULTILINE)
    return [name for line in lines for name in line.split(", ")]


def parameters_of(signature: str) -> list[tuple[str, bool, str | None]]:
    """Return name, whether by keyword only, and default of the parameters in a text."""
    tree = ast.parse(f"def f({signature}): ...").body[0]
    assert isinstance(tree, ast.FunctionDef)
    spec = tree.args
    missing: list[ast.expr | None] = [None] * (len(spec.args) - len(spec.defaults))
    positional = zip(spec.args, [*missing, *spec.defaults], strict=True)
    by_keyword = zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    return [
        (arg.arg, only, None if default is None else repr(eval(ast.unparse(default))))
        for only, args in ((False, positional), (True, by_keyword))
        for arg, default in args
    ]


def parameters_in_code(function: Any) -> list[tuple[str, bool, str | None]]:
    return [
        (
            name,
            parameter.kind is parameter.KEYWORD_ONLY,
            None if parameter.default is parameter.empty else repr(parameter.default),
        )
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    ]


def test_every_name_has_a_section() -> None:
    assert set(SECTIONS) == DOCUMENTED


@pytest.mark.parametrize("name", CLASSES)
def test_members(name: str) -> None:
    kind = getattr(zt, name)
    inherited = {member for member in SECTIONS[name].members if hasattr(kind, member)}
    assert members_of(kind) - set(SECTIONS[name].members) == set(), "not in docs/reference.md"
    assert set(SECTIONS[name].members) - inherited - members_of(kind) == set(), "there is no such"


@pytest.mark.parametrize("name", CLASSES)
def test_signatures_of_methods(name: str) -> None:
    kind = getattr(zt, name)
    for member in members_of(kind):
        there = inspect.getattr_static(kind, member, None)
        stated = SECTIONS[name].members[member]
        assert (stated is not None) == inspect.isfunction(there), f"{name}.{member}: () or not"
        if stated is not None:
            assert parameters_of(stated) == parameters_in_code(there), f"{name}.{member}"


@pytest.mark.parametrize("name", ["CheckpointLog", "Limits", "Reader", "Writer", "append", "open"])
def test_signatures(name: str) -> None:
    stated = SECTIONS[name].signature
    assert stated is not None
    # A dataclass takes its fields by position too; nobody should.
    assert parameters_of(stated) == parameters_in_code(getattr(zt, name))


def test_errors() -> None:
    """The tree of the page is that of the classes, each under its parent, with its builtins."""
    tree = re.search(r"```text\n(ZTensorError\n.*?)```", TEXT, flags=re.DOTALL)
    assert tree is not None
    seen, parents = set(), ["ZTensorError"]
    for line in tree[1].splitlines():
        found = re.match(r"(?P<lead>[ │├└─]*)(?P<name>\w+)(?: \((?P<builtins>[\w, ]+)\))?", line)
        assert found is not None
        depth = len(found["lead"]) // 4
        parents[depth:] = [found["name"]]
        bases = [base.__name__ for base in getattr(zt, found["name"]).__bases__]
        wanted = [parents[depth - 1] if depth else "Exception"]
        stated = found["builtins"].split(", ") if found["builtins"] else []
        assert bases == wanted + stated, line
        assert all(hasattr(builtins, name) for name in stated)
        seen.add(found["name"])
    assert seen == ERRORS


def test_commands_and_their_options() -> None:
    command = typer.main.get_command(app)
    commands: dict[str, Any] = command.commands  # type: ignore[attr-defined]
    named = set(re.findall(r"^\| `ztensor (\w+) ", TEXT, flags=re.MULTILINE))
    assert named == set(commands)
    _, _, after = TEXT.partition("## Command line")
    stated = set(re.findall(r"`(--[\w-]+)", after))
    options = {
        name
        for each in (*commands.values(), *commands["log"].commands.values())
        for parameter in each.params
        for name in parameter.opts
        if name.startswith("--")
    }
    assert options - {"--help"} <= stated
    assert stated - options == set()
