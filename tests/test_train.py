"""The training example: killed at any moment, it ends as if nobody had disturbed it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.servers.s3 import KEY, REGION, SECRET, S3Endpoint

ROOT = Path(__file__).resolve().parents[1]
STEPS = 400


def start(folder: str, endpoint: S3Endpoint) -> subprocess.Popen[str]:
    variables = {
        "PYTHONPATH": str(ROOT),
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint.url,
        "OMP_NUM_THREADS": "1",
    }
    program = str(ROOT / "examples" / "train.py")
    return subprocess.Popen(
        [sys.executable, program, folder, "--steps", str(STEPS), "--every", "20"],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(folder: str, endpoint: S3Endpoint) -> tuple[int, dict[int, str]]:
    """Run to the end; return the step it resumed after, and the losses."""
    with start(folder, endpoint) as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    lines = output.splitlines()
    resumed = int(lines.pop(0).split()[-1]) if lines[0].startswith("resumed") else 0
    return resumed, dict(split(line) for line in lines)


def split(line: str) -> tuple[int, str]:
    step, loss = line.split()
    return int(step), loss


def run_until(folder: str, endpoint: S3Endpoint, step: int) -> None:
    """Kill it as soon as it has done a step."""
    with start(folder, endpoint) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"{step} "):
                break
        else:
            pytest.fail(f"it ended before step {step}")
        process.kill()


def test_killed_and_resumed(moto: S3Endpoint) -> None:
    pytest.importorskip("torch")
    bucket = f"train-{uuid.uuid4().hex[:8]}"
    moto.make_bucket(bucket)
    _, undisturbed = finish(f"s3://{bucket}/undisturbed", moto)
    assert sorted(undisturbed) == list(range(1, STEPS + 1))
    assert len(set(undisturbed.values())) > STEPS / 2
    for step in (55, 230):
        run_until(f"s3://{bucket}/killed", moto, step)
    resumed, losses = finish(f"s3://{bucket}/killed", moto)
    assert 0 < resumed < STEPS
    assert sorted(losses) == list(range(resumed + 1, STEPS + 1))
    assert losses == {step: undisturbed[step] for step in losses}
