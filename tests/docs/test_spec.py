"""The hex dumps of SPEC.md are real files, and what it says of digests and rules is so."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.reader.models import MEMORY, new_url, written
from ztensor_remote.codecs import Hasher

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "SPEC.md").read_text(encoding="utf-8")
_LINE = re.compile(r"^([0-9a-f]{6})  ((?:[0-9a-f ])+?)(?:  .*)?$")


def dump_in(section: str) -> dict[int, bytes]:
    """Return the lines of the hex dump in a section, by their addresses."""
    body = re.split(rf"^### {re.escape(section)} ", TEXT, flags=re.MULTILINE)[1]
    body = re.split(r"^##+ ", body, flags=re.MULTILINE)[0]
    found = (_LINE.match(line) for line in body.splitlines())
    return {int(line[1], 16): bytes.fromhex(line[2]) for line in found if line}


def file_in(section: str, start: bytes = b"") -> bytes:
    """Return the file that a dump shows, which may go on where another one ended."""
    data = bytearray(start)
    for address, line in dump_in(section).items():
        assert data[address:] == line[: max(0, len(data) - address)], "not what was there"
        data.extend(bytes(max(0, address - len(data))))  # a line with a star
        data[address:] = line
    return bytes(data)


READ: dict[str, tuple[str, str, Any, int]] = {
    "6.4": ("0.1", "r", np.arange(12.0).reshape(2, 1, 3, 1, 2).tolist(), 221),
    "7.4": ("1.0", "s", 2.5, 235),
    "8.4": ("1.2", "s", [2.5], 177),
    "9.8": ("2", "t", [1], 8339),
    "12.2": ("1.2", "w", [0, 1, 2], 284),
}


@pytest.mark.parametrize("section", READ)
def test_a_dump_is_a_file(section: str) -> None:
    version, name, values, size = READ[section]
    data = file_in(section)
    assert len(data) == size
    assert f"{size} bytes" in TEXT
    with zt.open(data) as model:
        assert (model.version, list(model)) == (version, [name])
        assert model[name].numpy().tolist() == values
        model.verify()


def bytes_of(url: str) -> bytes:
    data: bytes = MEMORY.cat_file(url)
    return data


def test_a_dump_of_ours_is_what_we_write() -> None:
    url = written(lambda writer: writer.add_tensor("w", np.arange(3, dtype=np.int32), True))
    assert bytes_of(url) == file_in("12.2")
    with zt.append(url) as writer:
        writer.add_tensor("b", np.float32(2.5))
    assert bytes_of(url) == file_in("13.2", start=file_in("12.2"))


def stated(pattern: str) -> str:
    found = re.search(pattern, TEXT)
    assert found is not None, pattern
    return found[1]


@pytest.mark.parametrize(
    ("add", "version", "pattern"),
    [
        (lambda writer: None, "1.2", r"The empty 1\.2 file is (\d+) bytes"),
        (lambda writer: None, "2", r"The empty canonical file\s+has (65536 \+ 10 \+ 40) bytes"),
    ],
)
def test_sizes_of_empty_files(add: Callable[[zt.Writer], None], version: str, pattern: str) -> None:
    url = written(add, version=version, canonical=version == "2")
    assert len(bytes_of(url)) == sum(map(int, stated(pattern).split(" + ")))


def test_the_empty_seekable_payload() -> None:
    url = new_url()
    with zt.Writer(url, version="2") as writer:
        writer.add_tensor("t", np.zeros(0), compress=True)
    wanted = bytes.fromhex(stated(r"The empty payload is `([0-9a-f ]+)`"))
    with zt.open(url) as model:
        part = model["t"].components["data"]
        assert bytes_of(url)[part.offset :][: part.length] == wanted


@pytest.mark.parametrize(
    ("data", "pattern"),
    [
        (b"123456789", r"`({}:\w+)` \|\n"),
        (b"", r"Empty input: .*?`({}:\w+)`"),
    ],
)
@pytest.mark.parametrize("algorithm", ["crc32c", "sha256", "xxh3"])
def test_check_values_of_digests(algorithm: Any, data: bytes, pattern: str) -> None:
    if algorithm == "sha256" and not data:
        return
    hasher = Hasher(algorithm)
    hasher.update(data)
    assert hasher.text() == stated(pattern.format(algorithm))


def test_rule_names_are_those_of_the_code() -> None:
    used = {
        rule
        for path in (ROOT / "ztensor_remote").rglob("*.py")
        if "interop" not in path.parts  # other formats have rules of their own
        for rule in re.findall(
            r"rule: str(?: \| None)? = \"(\w+)\"|rule=\"(\w+)\"", path.read_text()
        )
        for rule in rule
        if rule
    }
    table = re.split(r"^### 11\.4 ", TEXT, flags=re.MULTILINE)[1]
    rows = re.findall(r"^\| ([A-Z]\w+(?:, \w+)*) \|", table, flags=re.MULTILINE)
    assert {name for row in rows for name in row.split(", ")} == used


def test_references_lead_somewhere() -> None:
    """Sections that the text and the code refer to exist."""
    headings = set(re.findall(r"^##+ (\d+(?:\.\d+)?) ", TEXT, flags=re.MULTILINE))
    sources = [*(ROOT / "ztensor_remote").rglob("*.py"), *(ROOT / "docs").rglob("*.md")]
    texts = [(ROOT / "SPEC.md", TEXT)]
    texts += [(path, path.read_text(encoding="utf-8")) for path in sources]
    for path, text in texts:
        if path.name != "SPEC.md":
            text = "\n".join(line for line in text.splitlines() if "SPEC.md" in line)
        for mentioned in re.findall(r"(?<!RFC \d{4} )§(\d+(?:\.\d+)?)(?![\d.]*\d)", text):
            assert mentioned in headings, f"{path}: §{mentioned}"
