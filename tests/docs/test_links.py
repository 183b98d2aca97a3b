"""Links of the documents to files of the project, and to headings in them, lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .test_code_blocks import DOCUMENTS, ROOT

PAGES = [*DOCUMENTS, ROOT / "CHANGELOG.md", ROOT / "SPEC.md"]
_FENCE = re.compile(r"^ *(```|~~~).*?^ *\1", flags=re.DOTALL | re.MULTILINE)


def prose(path: Path) -> str:
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """Return what the headings of a page are called by, as GitHub does it."""
    headings = re.findall(r"^#+ +(.*?) *$", prose(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.is_file(), f"{target}: no such file"
        assert not anchor or anchor in anchors(linked), f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_page_is_linked_from_the_readme(page: Path) -> None:
    assert f"({page.relative_to(ROOT).as_posix()})" in prose(ROOT / "README.md")
