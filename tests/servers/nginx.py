"""nginx over a folder: what is quick enough for gigabytes, and tells what it has sent.

It looks like an S3 that lets anybody read: a bucket is a folder. Signatures are not looked at.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from .process import ServerProcess, free_port
from .s3 import S3Endpoint

CONFIGURATION = """\
daemon off;
{user}
worker_processes 2;
pid {scratch}/pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    log_format sent '$status $body_bytes_sent $http_range';
    access_log {scratch}/sent.log sent;
    sendfile on;
    keepalive_requests 1000000;
    default_type application/octet-stream;
    client_body_temp_path {scratch}/body;
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {folder};
    }}
}}
"""
LINE = re.compile(r"(?P<status>\d+) (?P<sent>\d+) bytes=(?P<first>\d*)-(?P<last>\d+)")


@dataclass(frozen=True)
class Nginx:
    """A running server.

    Attributes
    ----------
    endpoint : S3Endpoint
    log : Path
        A line a request.
    """

    endpoint: S3Endpoint
    log: Path

    def forget(self) -> None:
        """Begin to count anew."""
        os.truncate(self.log, 0)

    @property
    def bytes(self) -> int:
        """Bytes of all bodies since then."""
        return sum(int(line.split()[1]) for line in self.log.read_text().splitlines())

    def sent(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return what was sent of a span of an object, in the order of the positions."""
        found = []
        for line in filter(None, map(LINE.fullmatch, self.log.read_text().splitlines())):
            if line["status"] == "206" and line["first"]:
                first = int(line["first"])
                found.append((max(first, start), min(first + int(line["sent"]), stop)))
        return sorted(span for span in found if span[0] < span[1])


@contextmanager
def nginx_server(folder: Path, scratch: Path) -> Iterator[Nginx]:
    """Serve the folders in `folder` as buckets; `scratch` is for what the server writes."""
    program = shutil.which("nginx", path=os.pathsep.join((os.environ["PATH"], "/usr/sbin")))
    if program is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = CONFIGURATION.format(user=user, scratch=scratch, folder=folder, port=port)
    (scratch / "nginx.conf").write_text(configuration)
    command = [program, "-p", str(scratch), "-c", str(scratch / "nginx.conf")]
    with ServerProcess(command, S3Endpoint(f"http://127.0.0.1:{port}")) as server:
        yield Nginx(server.endpoint, scratch / "sent.log")
