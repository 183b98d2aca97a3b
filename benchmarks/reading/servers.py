"""The servers that are read from: nginx where there is one, and an S3 that verifies signatures."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.servers.http import HttpEndpoint, HttpServer
from tests.servers.process import ServerProcess, free_port
from tests.servers.rclone import rclone_server

from .job import Place
from .relay import Relay

CONFIGURATION = """\
daemon off;
{user}
worker_processes 2;
pid {scratch}/pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    log_format short '$request_method $status $body_bytes_sent';
    access_log {log} short;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    keepalive_timeout 1h;
    default_type application/octet-stream;
    client_body_temp_path {scratch}/body;
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=512;
        {tls}
        root {folder};
    }}
}}
"""
TLS = """listen 127.0.0.1:{port} ssl backlog=512;
        ssl_certificate {scratch}/certificate.pem;
        ssl_certificate_key {scratch}/key.pem;
        ssl_session_cache shared:bench:1m;"""


@dataclass(frozen=True)
class Count:
    """What a server was asked for and sent, from one point in time to another."""

    requests: int
    bytes: int


@dataclass(frozen=True)
class Servers:
    """Where the data can be read.

    Attributes
    ----------
    name
        The program behind `plain`.
    plain, tls, signed
        Over HTTP, over TLS, and where every signature is verified. None where that is missing.
    log
        A line a request to `plain` and `tls`, where the server writes one.
    missing
        Why a place is None.
    """

    name: str
    plain: Place
    tls: Place | None
    signed: Place | None
    log: Path | None
    missing: dict[str, str]

    @contextmanager
    def away(self, place: Place, seconds: float) -> Iterator[Place]:
        """Give the same place from a distance."""
        if not seconds:
            yield place
            return
        parts = urlsplit(place.url)
        assert parts.port is not None
        with Relay(parts.port, seconds) as relay:
            yield Place(f"{parts.scheme}://127.0.0.1:{relay.port}", place.ca)

    def position(self) -> int:
        """Return where the log ends now."""
        return self.log.stat().st_size if self.log else 0

    def count(self, since: int) -> Count | None:
        """Count what came after a position of the log."""
        if self.log is None:
            return None
        with self.log.open() as log:
            log.seek(since)
            lines = [line.split() for line in log]
        return Count(len(lines), sum(int(size) for _, _, size in lines))


@contextmanager
def servers(folder: Path, scratch: Path, *, signed: bool) -> Iterator[Servers]:
    """Serve ``folder/BUCKET``; ``scratch`` is for what servers write."""
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        if shutil.which("nginx"):
            certificate = _certificate(scratch)
            name, plain, tls = stack.enter_context(_nginx(folder, scratch, certificate))
            log = scratch / "requests.log"
            if tls is None:
                missing["tls"] = "openssl, which makes the certificate, is not installed"
        else:
            server = stack.enter_context(HttpServer(folder))
            name, plain, tls, log = "a server in Python", Place(server.url), None, None
            missing["tls"] = "nginx is not installed"
        verifying = None
        if signed:
            try:
                verifying = Place(stack.enter_context(rclone_server()).endpoint.url)
            except FileNotFoundError as error:
                missing["signed"] = str(error)
        yield Servers(name, plain, tls, verifying, log, missing)


@contextmanager
def _nginx(
    folder: Path, scratch: Path, certificate: Path | None
) -> Iterator[tuple[str, Place, Place | None]]:
    port, tls_port = free_port(), free_port()
    (scratch / "nginx.conf").write_text(
        CONFIGURATION.format(
            user="user root;" if os.geteuid() == 0 else "",
            scratch=scratch,
            folder=folder,
            port=port,
            log=scratch / "requests.log",
            tls=TLS.format(port=tls_port, scratch=scratch) if certificate else "",
        )
    )
    command = ["nginx", "-p", str(scratch), "-c", str(scratch / "nginx.conf")]
    with ServerProcess(command, HttpEndpoint(f"http://127.0.0.1:{port}")) as server:
        shown = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True)
        name = shown.stderr.strip().removeprefix("nginx version: ")
        tls = Place(f"https://127.0.0.1:{tls_port}", str(certificate)) if certificate else None
        yield name, Place(server.endpoint.url), tls


def _certificate(scratch: Path) -> Path | None:
    if not shutil.which("openssl"):
        return None
    certificate = scratch / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-addext", "keyUsage=digitalSignature,keyCertSign"),
            *("-keyout", str(scratch / "key.pem"), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    ssl.create_default_context(cafile=certificate)
    return certificate
