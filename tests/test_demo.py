"""The demo does what it says, with the numbers that it must have."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "examples" / "demo.py"
SECONDS = 120


def run_demo(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the demo in an empty folder, which is also where temporary files go."""
    unwanted = ("AWS_", "COLUMNS", "FORCE_COLOR", "TTY_")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
    return subprocess.run(
        [sys.executable, *(command or (str(DEMO),))],
        cwd=folder,
        env=inherited | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)} | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """The demo, run once, with an AWS account in its environment that it must leave alone."""
    folder = tmp_path_factory.mktemp("demo")
    done = run_demo(
        folder,
        AWS_PROFILE="missing",
        AWS_ENDPOINT_URL="http://127.0.0.1:9",
        http_proxy="http://127.0.0.1:9",
    )
    assert list(folder.iterdir()) == [], "something was left behind"
    return done


@pytest.fixture(scope="module")
def steps(finished: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What the demo says of each step, by the step's name."""
    said: dict[str, str] = {}
    name = ""
    for line in finished.stdout.splitlines():
        if re.match(r"[a-z]+  +\S", line):
            name = line.split()[0]
        if re.match(r"([a-z]+|) {2,}\S", line):
            said[name] = f"{said.get(name, '')} {line.removeprefix(name).strip()}".strip()
    return said


def number(pattern: str, text: str) -> int:
    found = re.search(pattern.replace("#", r"([\d,]+)"), text)
    assert found, text
    return int(found[1].replace(",", ""))


def test_it_succeeds_without_a_warning(finished: subprocess.CompletedProcess[str]) -> None:
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stderr == ""


def test_it_fits_a_screen_and_a_half(finished: subprocess.CompletedProcess[str]) -> None:
    assert len(finished.stdout.splitlines()) <= 64


def test_the_upload_is_multipart_and_sends_the_model_once(
    finished: subprocess.CompletedProcess[str], steps: dict[str, str]
) -> None:
    size = number(r"Size:.*\(# bytes\)", finished.stdout)
    assert size > 8 << 20
    assert (
        number("# requests", steps["write"]) == 5
    )  # begin, two parts, complete, a look at the length
    assert size <= number("# bytes up", steps["write"]) < size + 4096


def test_opening_is_one_request_of_the_end(steps: dict[str, str]) -> None:
    assert "1 request, 65,576 bytes down" in steps["open"]


def test_a_layer_is_one_request_of_its_bytes(steps: dict[str, str]) -> None:
    assert steps["layer"].endswith("1 request, 346,112 bytes down")  # 416 x 416 bfloat16


def test_a_slice_is_one_request_of_its_rows(steps: dict[str, str]) -> None:
    assert steps["slice"].endswith("1 request, 16,640 bytes down")  # 10 x 416 float32


def test_an_append_sends_the_new_bytes_only(
    finished: subprocess.CompletedProcess[str], steps: dict[str, str]
) -> None:
    size = number(r"Size:.*\(# bytes\)", finished.stdout)
    assert number("# bytes copied inside the store", steps["append"]) == size
    sent = number("# bytes up", steps["append"])
    assert 8 * 346_112 <= sent < 8 * 346_112 + 16_384
    assert number("# bytes down", steps["append"]) < 1 << 17  # the manifest, and short answers


def test_everything_is_verified_at_the_end(steps: dict[str, str]) -> None:
    # 11 dense tensors of one component, a sparse one of three, a quantized one of two, 8 moments.
    assert steps["verify"].startswith("25 digests match, and every value is as it was written ")
    assert re.search(r"gets (9\d|100) of 100 sums right", steps["verify"])


def test_the_table_is_that_of_the_command(finished: subprocess.CompletedProcess[str]) -> None:
    assert re.search(
        r"^layers\.1\.mlp\.up_proj\.weight +float32 +\[1664, 416\] +sparse_csr +raw ",
        finished.stdout,
        re.MULTILINE,
    )
    assert re.search(r"^  packed_weight +int32 ", finished.stdout, re.MULTILINE)
    assert re.search(r"^head\.weight .* zstd ", finished.stdout, re.MULTILINE)


def test_without_moto_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import runpy, sys\n"
        "sys.modules['moto'] = None\n"
        f"runpy.run_path({str(DEMO)!r}, run_name='__main__')\n"
    )
    done = run_demo(tmp_path, "-c", code)
    assert done.returncode == 1
    assert done.stderr == "demo failed: it needs moto: pip install 'ztensor-remote[test]'\n"


def test_a_wrong_number_fails_it(tmp_path: Path) -> None:
    """Let the library count one request too many: the server must not agree."""
    code = (
        "import runpy\n"
        "from ztensor_remote.stores.source import Stats\n"
        "add = Stats.add\n"
        "Stats.add = lambda self, count: (add(self, count), add(self, 0))[0]\n"
        f"runpy.run_path({str(DEMO)!r}, run_name='__main__')\n"
    )
    done = run_demo(tmp_path, "-c", code)
    assert done.returncode == 1
    assert "demo failed: the server saw (1, " in done.stderr
