"""The layers of the package: imports point left, and each layer keeps to its own business.

Sources are read with `ast`; nothing is imported, so an optional library need not be installed and
an import inside a function counts like any other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "ztensor_remote"

LAYERS = (
    ("errors", "types"),
    ("crc",),
    ("container",),
    ("manifest", "codecs"),
    ("stores",),
    ("interop",),
    ("reader",),
    ("writer",),
    ("log",),
    ("rewrite",),
    ("examine",),
    ("integrations",),
)
# The root module and the single files beside it (numpy.py, torch.py, testing.py, …) offer what the
# layers have; the command line may use them, and only __main__ may use the command line.
FACE = len(LAYERS)
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}
RANKS |= {"cli": FACE + 1, "__main__": FACE + 2}
ORDER = " <- ".join(", ".join(names) for names in LAYERS) + " <- cli"

FORBIDDEN = {("stores", "manifest"), ("stores", "codecs")}
FSSPEC_FOR_TYPING = {"reader", "writer", "rewrite"}
CONTAINER_FORBIDS = {
    "asyncio",
    "http",
    "io",
    "ml_dtypes",
    "mmap",
    "numpy",
    "os",
    "pathlib",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "urllib",
}
VAGUE_NAMES = {"util", "utils"}
MOST_LINES = 400


@dataclass(frozen=True, order=True)
class Offence:
    """One broken rule, at a place that editors can jump to."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Import:
    """One imported module, by its absolute name."""

    line: int
    target: tuple[str, ...]
    for_typing: bool


@dataclass(frozen=True)
class Module:
    """One source file of the package."""

    path: str
    name: tuple[str, ...]
    package: tuple[str, ...]
    source: str

    @property
    def layer(self) -> str:
        return layer_of(self.name)


def layer_of(name: tuple[str, ...]) -> str:
    """The first part below the package; the package's own name for its root module."""
    return name[1] if len(name) > 1 else name[0]


def rank_of(layer: str) -> int:
    return RANKS.get(layer, FACE)


def modules_of(package: Path) -> list[Module]:
    """Every module below a package folder."""
    modules = []
    for path in sorted(package.rglob("*.py")):
        relative = path.relative_to(package.parent)
        folder = relative.parent.parts
        is_package = path.stem == "__init__"
        modules.append(
            Module(
                relative.as_posix(),
                folder if is_package else (*folder, path.stem),
                folder,
                path.read_text(encoding="utf-8"),
            )
        )
    return modules


class ImportFinder(ast.NodeVisitor):
    """Collects what a module imports, wherever in it the import stands."""

    def __init__(self, module: Module, known: frozenset[tuple[str, ...]]) -> None:
        self.module = module
        self.known = known
        self.for_typing = False
        self.found: list[Import] = []

    def add(self, node: ast.stmt | ast.expr, target: tuple[str, ...]) -> None:
        self.found.append(Import(node.lineno, target, self.for_typing))

    def absolute(self, level: int, name: str) -> tuple[str, ...]:
        """Resolve a name that `level` leading dots make relative to the module's package."""
        parts = tuple(name.split(".")) if name else ()
        if level == 0:
            return parts
        package = self.module.package
        return package[: len(package) - level + 1] + parts

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.add(node, self.absolute(0, alias.name))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self.absolute(node.level, node.module or "")
        for alias in node.names:
            # `from . import file` names a module, `from . import open_file` something in one.
            member = (*base, alias.name)
            self.add(node, member if member in self.known else base)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name in {"import_module", "__import__"} and node.args:
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                target = argument.value.lstrip(".")
                self.add(node, self.absolute(len(argument.value) - len(target), target))
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        outer = self.for_typing
        self.for_typing = outer or ast.unparse(node.test) in {
            "TYPE_CHECKING",
            "typing.TYPE_CHECKING",
        }
        for statement in node.body:
            self.visit(statement)
        self.for_typing = outer
        self.visit(node.test)
        for statement in node.orelse:
            self.visit(statement)


def direction_offence(module: Module, target: tuple[str, ...]) -> str | None:
    """Say why a module of the package may not import another one, if it may not."""
    here, there = module.layer, layer_of(target)
    if here == there or rank_of(here) == rank_of(there) == FACE:
        return None
    if rank_of(there) < rank_of(here) and (here, there) not in FORBIDDEN:
        return None
    return f"{here} may not import {there} ({'.'.join(target)}): imports point left in {ORDER}"


def may_import_fsspec(layer: str, for_typing: bool) -> bool:
    return layer == "stores" or (for_typing and layer in FSSPEC_FOR_TYPING)


def import_offences(module: Module, imports: list[Import]) -> Iterator[tuple[int, str]]:
    """Check each import of a module against the layers."""
    root = module.name[0]
    for item in imports:
        library = item.target[0]
        if library == root:
            message = direction_offence(module, item.target)
            if message:
                yield item.line, message
        if library == "fsspec" and not may_import_fsspec(module.layer, item.for_typing):
            yield item.line, f"{module.layer} may not import fsspec: only stores does"
        if module.layer == "container" and library in CONTAINER_FORBIDS:
            yield item.line, f"container may not import {library}: it is pure, no I/O and no numpy"


def module_offences(module: Module, known: frozenset[tuple[str, ...]]) -> Iterator[tuple[int, str]]:
    """Check one module against every rule."""
    vague = VAGUE_NAMES & {part.strip("_") for part in module.name}
    if vague:
        yield 1, f"nothing is called {vague.pop()}: name it for what it does"
    lines = len(module.source.splitlines())
    if lines > MOST_LINES:
        yield lines, f"{lines} lines: a module over {MOST_LINES} is two modules"
    tree = ast.parse(module.source, filename=module.path)
    finder = ImportFinder(module, known)
    finder.visit(tree)
    yield from import_offences(module, finder.found)
    if module.layer == "container":
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id == "open":
                yield node.lineno, "container may not open files: it is pure, no I/O and no numpy"


def offences_in(package: Path) -> list[Offence]:
    """Every broken rule below a package folder, by place."""
    modules = modules_of(package)
    known = frozenset(module.name for module in modules)
    return sorted(
        Offence(module.path, line, message)
        for module in modules
        for line, message in module_offences(module, known)
    )


def test_every_module_keeps_to_its_layer() -> None:
    assert {module.layer for module in modules_of(PACKAGE)} >= {"errors", "types", "container"}
    offences = offences_in(PACKAGE)
    assert not offences, "\n" + "\n".join(map(str, offences))


# The checker itself, on trees small enough to see through.


def make_tree(folder: Path, sources: Mapping[str, str]) -> Path:
    """Write a package `pkg` with the given modules, and those that they import from."""
    package = folder / "pkg"
    layers = [name for names in LAYERS[1:] for name in names]
    files = {f"{layer}/__init__.py": "" for layer in [*layers, "cli"]}
    files |= {"__init__.py": "", "errors.py": "", "types.py": "", "reader/file.py": ""}
    for name, source in (files | dict(sources)).items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return package


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("writer/stream.py", "from ..reader.file import File"),
        ("writer/stream.py", "from ..reader import file"),
        ("reader/lazy.py", "from . import file\nfrom .file import File"),
        ("reader/__init__.py", "from .file import File"),
        ("reader/lazy.py", "from .. import errors\nfrom ..types import Bytes"),
        ("interop/gguf/parser.py", "from ...manifest import Manifest"),
        ("stores/local.py", "import fsspec\nfrom fsspec.spec import AbstractFileSystem"),
        ("reader/file.py", "if TYPE_CHECKING:\n    from fsspec.callbacks import Callback"),
        ("container/magic.py", "import struct\nfrom ..errors import FormatError"),
        ("torch.py", "from . import open\nfrom .numpy import load_file\nfrom .writer import W"),
        ("cli/info.py", "import pkg as zt\nfrom .. import open\nfrom .render import table"),
        ("__main__.py", "from .cli import main"),
        ("errors.py", "import os\n" * MOST_LINES),
    ],
)
def test_imports_that_point_left_are_allowed(tmp_path: Path, name: str, source: str) -> None:
    assert offences_in(make_tree(tmp_path, {name: source})) == []


@pytest.mark.parametrize(
    ("name", "source", "line", "message"),
    [
        ("reader/a.py", "\nfrom ..writer import Writer", 2, "reader may not import writer"),
        ("reader/a.py", "from .. import writer", 1, "reader may not import writer"),
        ("reader/a.py", "import pkg.writer", 1, "reader may not import writer"),
        ("reader/a.py", "from pkg.cli import main", 1, "reader may not import cli"),
        ("reader/a.py", "from .. import open", 1, "reader may not import pkg"),
        ("reader/a.py", "from ..torch import load", 1, "reader may not import torch"),
        ("reader/b/c.py", "from ...writer import W", 1, "reader may not import writer"),
        ("interop/a.py", "def f():\n    from ..reader import file", 2, "import reader"),
        ("reader/a.py", "if TYPE_CHECKING:\n    from ..writer import W", 2, "import writer"),
        ("interop/a.py", "m = importlib.import_module('pkg.reader.file')", 1, "import reader"),
        ("interop/a.py", "m = import_module('..reader', __package__)", 1, "import reader"),
        ("errors.py", "from .types import Bytes", 1, "errors may not import types"),
        ("manifest/a.py", "from ..codecs import raw", 1, "manifest may not import codecs"),
        ("codecs/a.py", "from ..manifest import m", 1, "codecs may not import manifest"),
        ("stores/a.py", "from ..manifest import m", 1, "stores may not import manifest"),
        ("stores/a.py", "from ..codecs import raw", 1, "stores may not import codecs"),
        ("numpy.py", "from .cli import main", 1, "numpy may not import cli"),
        ("reader/a.py", "import fsspec", 1, "only stores does"),
        ("reader/a.py", "if x:\n    pass\nelse:\n    import fsspec", 4, "only stores does"),
        ("cli/a.py", "if TYPE_CHECKING:\n    import fsspec", 2, "only stores does"),
        ("writer/a.py", "from fsspec.core import url_to_fs", 1, "only stores does"),
        ("container/a.py", "import numpy as np", 1, "container may not import numpy"),
        ("container/a.py", "import os.path", 1, "container may not import os"),
        ("container/a.py", "from io import BytesIO", 1, "container may not import io"),
        ("container/a.py", "import socket", 1, "container may not import socket"),
        ("container/a.py", "def f(p):\n    return open(p)", 2, "container may not open files"),
        ("reader/utils.py", "", 1, "nothing is called utils"),
        ("reader/_util/a.py", "", 1, "nothing is called util"),
        ("errors.py", "#\n" * (MOST_LINES + 1), MOST_LINES + 1, "over 400 is two modules"),
    ],
)
def test_an_offence_is_reported_where_it_stands(
    tmp_path: Path, name: str, source: str, line: int, message: str
) -> None:
    [offence] = offences_in(make_tree(tmp_path, {name: source}))
    assert str(offence).startswith(f"pkg/{name}:{line}: ")
    assert message in offence.message
