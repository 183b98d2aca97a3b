"""How ``ztensor`` fails: one line on stderr, an exit code that says why, and no secrets."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest

import ztensor_remote as zt
from tests.servers.http import HttpServer

from .command import MODULE, ROOT, Outcome, environment, run
from .files import DATA, write_model


def assert_fails(outcome: Outcome, status: int, *words: str) -> None:
    """Assert that a command printed one line, on stderr, with these words in it."""
    assert outcome.status == status, outcome.stderr
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("ztensor: error: ")
    assert outcome.stderr.count("\n") == 1
    for word in words:
        assert word in outcome.stderr


# --- help and usage -----------------------------------------------------------------------------


def test_without_a_command_there_is_help() -> None:
    outcome = run()
    assert (outcome.status, outcome.stderr) == (0, "")
    assert "Usage: ztensor" in outcome.stdout
    assert outcome.stdout == run("--help").stdout == run("-h").stdout


def test_help_has_an_example_and_the_exit_codes() -> None:
    for arguments in ([], ["info"]):
        text = " ".join(run(*arguments, "--help").stdout.split())
        assert "Example: ztensor info s3://" in text
        assert "Exit codes: 0 " in text


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(option: str) -> None:
    assert run(option) == Outcome(0, f"ztensor {zt.__version__}\n", "")


def test_version_is_told_without_loading_the_command_line() -> None:
    code = (
        "import sys; from ztensor_remote.cli import main; main(['--version']); "
        "print(sorted({'typer', 'rich', 'numpy', 'fsspec', 'cbor2'} & set(sys.modules)))"
    )
    assert run(command=(sys.executable, "-c", code)).lines[-1] == "[]"


def test_help_does_without_the_library() -> None:
    code = (
        "import sys; from ztensor_remote.cli import main; main(['info', '--help']); "
        "print(sorted({'numpy', 'fsspec', 'cbor2'} & set(sys.modules)))"
    )
    assert run(command=(sys.executable, "-c", code)).lines[-1] == "[]"


def test_the_console_script_is_the_same_command(tmp_path: Path) -> None:
    try:
        [entry] = [
            entry
            for entry in distribution("ztensor-remote").entry_points
            if (entry.group, entry.name) == ("console_scripts", "ztensor")
        ]
    except PackageNotFoundError:
        pytest.skip("the project is not installed here")
    assert entry.value == "ztensor_remote.cli:main"
    script = Path(sys.executable).with_name("ztensor")
    write_model(tmp_path / "model.zt")
    outcome = run("info", tmp_path / "model.zt", command=(str(script),))
    assert outcome == run("info", tmp_path / "model.zt")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nonsense"], "nonsense"),
        (["info"], "URL"),
        (["info", "a.zt", "b.zt"], "b.zt"),
        (["info", "--nonsense", "a.zt"], "--nonsense"),
        (["info", "a.zt", "--storage-option", "key"], "KEY=VALUE"),
        (["info", "a.zt", "--storage-option", "=value"], "KEY=VALUE"),
        (["info", "a.zt", "--storage-options", "missing.json"], "missing.json"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], word: str, tmp_path: Path) -> None:
    assert_fails(run(*arguments, cwd=tmp_path), 2, word, "--help")


@pytest.mark.parametrize("text", ["", "{", "[1]", "5", "\x00"])
def test_a_bad_file_of_options_is_2(text: str, tmp_path: Path) -> None:
    (tmp_path / "options.json").write_text(text, encoding="utf-8")
    arguments = ["info", "a.zt", "--storage-options", "options.json"]
    assert_fails(run(*arguments, cwd=tmp_path), 2, "options.json")


# --- files and stores ---------------------------------------------------------------------------


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_a_missing_file(json_option: list[str], tmp_path: Path) -> None:
    path = tmp_path / "missing.zt"
    assert_fails(run("info", path, *json_option), 1, str(path), "nothing is stored there")


def test_a_folder(tmp_path: Path) -> None:
    assert_fails(run("info", tmp_path), 1, str(tmp_path))


def test_a_file_of_another_kind() -> None:
    assert_fails(run("info", __file__), 1, __file__, "not a zTensor file")


def test_a_file_without_content(tmp_path: Path) -> None:
    (tmp_path / "nothing.zt").touch()
    assert_fails(run("info", tmp_path / "nothing.zt"), 1, "nothing.zt")


def test_a_truncated_file(tmp_path: Path) -> None:
    write_model(tmp_path / "model.zt")
    content = (tmp_path / "model.zt").read_bytes()
    (tmp_path / "model.zt").write_bytes(content[:-20])
    assert_fails(run("info", tmp_path / "model.zt"), 1, "model.zt")


def test_a_corrupt_manifest() -> None:
    file = DATA / "corpus/reject/manifest-hash-mismatch.zt"
    assert_fails(run("info", file, "--json"), 1, str(file), "hash")


def test_an_unknown_protocol() -> None:
    assert_fails(run("info", "nonsense://bucket/model.zt"), 1, "nonsense://bucket/model.zt")


def test_an_unknown_storage_option(tmp_path: Path) -> None:
    arguments = ["s3://bucket/model.zt", "--storage-option", "nonsense=sesame-1234"]
    outcome = run("info", *arguments)
    assert_fails(outcome, 1, "s3://bucket/model.zt")
    assert "sesame" not in outcome.stderr


def test_a_missing_file_on_a_server(http_server: HttpServer) -> None:
    url = http_server.endpoint.uri("missing.zt")
    assert_fails(run("info", url), 1, url, "nothing is stored there")


def test_a_server_that_denies(http_server: HttpServer) -> None:
    http_server.status = 403
    outcome = run("info", f"{http_server.endpoint.uri('model.zt')}?X-Amz-Signature=sesame-1234")
    assert_fails(outcome, 1, "access denied")
    assert "sesame" not in outcome.stderr


def test_secrets_are_never_printed(http_server: HttpServer, tmp_path: Path) -> None:
    secret = "sesame-1234"
    (tmp_path / "options.json").write_text(f'{{"key": "{secret}"', encoding="utf-8")
    write_model(tmp_path / "model.zt")
    address = http_server.url.partition("://")[2]
    outcomes = [
        run("info", "a.zt", "--storage-option", f"={secret}"),
        run("info", "a.zt", "--storage-option", secret),
        run("info", "a.zt", "--storage-options", tmp_path / "options.json"),
        run("info", f"http://user:{secret}@{address}/missing.zt"),
        run("info", f"http://{address}/missing.zt?token={secret}"),
        run("info", f"http://{address}/model.zt?token={secret}"),
        run("info", f"http://{address}/model.zt?token={secret}", "--json"),
    ]
    assert [outcome.status for outcome in outcomes] == [2, 2, 2, 1, 1, 0, 0]
    for outcome in outcomes:
        assert secret not in outcome.stdout + outcome.stderr


# --- the output goes away -----------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_closed_pipe_ends_it_quietly(options: list[str], tmp_path: Path) -> None:
    with zt.Writer(tmp_path / "many.zt") as w:
        for index in range(3000):
            w.add_tensor(f"tensor_{index}", np.zeros(1, np.uint8))
    shell = shutil.which("bash")
    assert shell is not None
    command = " ".join([*MODULE, "info", "many.zt", *options])
    done = subprocess.run(
        [shell, "-c", f"{command} | head -1; exit ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout in ("URL:         many.zt\n", "{\n")
    assert done.stderr == ""
    assert done.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize("arguments", [["info", "model.zt"], ["--version"], ["--help"]])
def test_a_full_disk_is_an_error(arguments: list[str], tmp_path: Path) -> None:
    write_model(tmp_path / "model.zt")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*MODULE, *arguments],
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "ztensor: error: can't write the output: No space left on device\n"


def test_ctrl_c_ends_it_quietly(http_server: HttpServer) -> None:
    http_server.latency = 60
    process = subprocess.Popen(
        [*MODULE, "info", http_server.endpoint.uri("model.zt")],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Shells have background jobs, and what these start, ignore it.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    wait_until_reached(http_server)
    os.kill(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout, stderr) == (130, "", "")


def wait_until_reached(server: HttpServer) -> None:
    for _ in range(600):
        if server._sockets:
            time.sleep(0.3)
            return
        time.sleep(0.05)
    raise AssertionError("the request never came")


def test_an_output_that_knows_little_of_unicode(tmp_path: Path) -> None:
    with zt.Writer(tmp_path / "names.zt") as w:
        w.add_tensor("名前", np.zeros(1))
    outcome = run("info", "names.zt", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert (outcome.status, outcome.stderr) == (0, "")
    assert "\\u540d\\u524d" in outcome.stdout


def test_the_entry_point_is_declared() -> None:
    assert 'ztensor = "ztensor_remote.cli:main"' in (ROOT / "pyproject.toml").read_text("utf-8")
