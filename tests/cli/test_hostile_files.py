"""Files made to harm whoever looks at them, and valid ones that are only odd."""

from __future__ import annotations

import math
from pathlib import Path

import cbor2
import pytest

from .command import Command, run, run_in_terminal, without_styles
from .files import DATA, file_1_2, tensor_1_2

ESCAPE = "\x1b[31mred\x1b[0m\x1b]0;title\x07"
NAMES = [ESCAPE, "a\nb\tc\r", "\u202egnp.exe", "\x9b31m", " pad ", "", "[bold]x[/]", "中文" * 30]

ODD_TENSORS = {
    "layout": tensor_1_2(format=ESCAPE),
    "markup": tensor_1_2(format="[red]x"),
    "digest": tensor_1_2(digest=f"{ESCAPE}:00"),
    "long digest": tensor_1_2(digest="d" * 5000),
    "type": tensor_1_2(type=ESCAPE),
    "misplaced type": tensor_1_2(type="complex64"),
    "rank": tensor_1_2(shape=[1] * 64),
    "huge": tensor_1_2(shape=[1 << 60], encoding="zstd"),
    "lying": tensor_1_2(shape=[10], encoding="zstd", uncompressed_length=1 << 63),
    "nothing": {"shape": [3], "format": "x", "components": {}},
    "zero": tensor_1_2(shape=[0], length=0, offset=0),
}
ODD_ATTRIBUTES = {
    ESCAPE: ESCAPE,
    "[b]key": "[i]value",
    "nan": math.nan,
    "tag": cbor2.CBORTag(1234, ["x\x1b"]),
    "bignum": 1 << 20_000,
    "undefined": cbor2.undefined,
    "simple": cbor2.CBORSimpleValue(99),
    "keys": {1: "one", (2, 3): None},
    "long": "x" * 5000,
    "__bytes__": "not bytes",
}


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.zt"
    path.write_bytes(file_1_2({name: tensor_1_2() for name in NAMES}))
    return path


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    path = tmp_path / "odd.zt"
    path.write_bytes(file_1_2({**ODD_TENSORS, "a": tensor_1_2(ODD_ATTRIBUTES)}, ODD_ATTRIBUTES))
    return path


def unprintable(text: str) -> set[str]:
    return {char for char in text if not char.isprintable() and char != "\n"}


def test_names_reach_a_pipe_escaped(names: Path) -> None:
    outcome = run("info", names)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert unprintable(outcome.stdout) == set()
    shown = [line.split("  ")[0] for line in outcome.lines if " uint8 " in line]
    assert shown == [
        r"'\x1b[31mred\x1b[0m\x1b]0;title\x07'",
        r"'a\nb\tc\r'",
        r"'\u202egnp.exe'",
        r"'\x9b31m'",
        "' pad '",
        "''",
        "[bold]x[/]",
        "中文" * 30,
    ]


@pytest.mark.parametrize("width", [60, 200])
def test_names_reach_a_terminal_escaped(names: Path, width: int) -> None:
    text = run_in_terminal("info", names, width=width)
    assert "\x1b[31m" not in text
    assert unprintable(without_styles(text)) == set()
    assert "[bold]x[/]" in text


def test_names_are_themselves_in_json(names: Path, info: Command) -> None:
    outcome = info(names, "--json")
    assert outcome.stdout.isascii()
    assert unprintable(outcome.stdout) == set()
    assert [tensor["name"] for tensor in outcome.json["tensors"]] == NAMES


def test_an_odd_file_is_shown_whole(odd: Path, info: Command) -> None:
    outcome = info(odd)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert unprintable(outcome.stdout) == set()
    for name in ODD_TENSORS:
        assert f"\n{name}  " in outcome.stdout
    assert "x" * 5000 in outcome.stdout
    assert "[b]key = [i]value" in outcome.stdout


def test_an_odd_file_fits_a_terminal(odd: Path) -> None:
    text = without_styles(run_in_terminal("info", odd, width=80))
    assert unprintable(text) == set()
    assert max(map(len, text.splitlines())) <= 80
    assert "characters, all of them with --json)" in " ".join(text.split())


def test_an_odd_file_in_json(odd: Path, info: Command) -> None:
    described = info(odd, "--json").json
    tensors = {tensor["name"]: tensor for tensor in described["tensors"]}
    assert tensors["type"]["dtype"] == f"u8:{ESCAPE}"
    assert tensors["type"]["components"]["data"]["elements"] is None
    assert tensors["huge"]["elements"] == 1 << 60
    assert tensors["nothing"]["components"] == {}
    assert tensors["zero"]["ratio"] is None
    attributes = dict(described["attributes"]["__map__"])
    assert attributes["nan"] == {"__float__": "nan"}
    assert attributes["tag"] == {"__tag__": 1234, "value": ["x\x1b"]}
    assert int(attributes["bignum"]["__int__"], 16) == 1 << 20_000
    assert attributes["undefined"] == {"__simple__": 23}
    assert attributes["simple"] == {"__simple__": 99}
    assert attributes["keys"] == {"__map__": [[1, "one"], [[2, 3], None]]}
    assert attributes["__bytes__"] == "not bytes"
    assert dict(tensors["a"]["attributes"]["__map__"]) == attributes


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("unknown-layout-structural", ["x.custom/1", "scales"]),
        ("unknown-ltype-structural", ["u8:x.future/1", "[999]"]),
        ("view-unknown-encoding-refused", ["x.z/1", "1.60x"]),
        ("zero-size-tensor", ["[0, 4]", "0 B"]),
        ("scalar", ["[]"]),
        ("attributes-kitchen-sink", ["raw = 0x000102", "nested = [null, true]"]),
    ],
)
def test_valid_oddities_of_the_published_corpus(file: str, words: list[str], info: Command) -> None:
    outcome = info(DATA / f"corpus/valid/{file}.zt")
    assert (outcome.status, outcome.stderr) == (0, "")
    for word in words:
        assert word in outcome.stdout


def test_a_big_endian_component_says_so(info: Command) -> None:
    path = DATA / "fixtures/0.1.4/rust_big_endian.zt"
    assert "raw big-endian" in info(path).stdout
    tensors = {tensor["name"]: tensor for tensor in info(path, "--json").json["tensors"]}
    assert tensors["f32_be"]["components"]["data"]["big_endian"] is True
    assert tensors["u8_be"]["components"]["data"]["big_endian"] is False


def test_an_error_with_a_hostile_name_in_it_is_escaped(tmp_path: Path, info: Command) -> None:
    (tmp_path / "bad.zt").write_bytes(file_1_2({ESCAPE: tensor_1_2(offset=1 << 40)}))
    outcome = info(tmp_path / "bad.zt")
    assert outcome.status == 1
    assert unprintable(outcome.stderr) == set()
