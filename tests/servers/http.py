"""A static HTTP server that behaves well, or badly in chosen ways."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import threading
import time
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from io import BufferedReader
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from .endpoint import Endpoint
from .listener import Handler, Listener

# Well above the tick of any file system's clock.
SETTLED_NS = 100_000_000


@dataclass(frozen=True)
class HttpEndpoint(Endpoint):
    """An HTTP server."""

    protocol: ClassVar[str] = "http"

    @property
    def storage_options(self) -> dict[str, Any]:
        """What fsspec's HTTP client takes: nothing."""
        return {}

    def uri(self, path: str) -> str:
        """Return the URL of a file."""
        return f"{self.url}/{path}"


class HttpServer(Listener):
    """The files of a folder, over GET and HEAD with ranges, ETags and If-Match.

    Assign to the attributes to change what the next answers are like.

    Attributes
    ----------
    ignore_ranges
        Answer every range with 200 and the whole file.
    no_etag
        Send no ETag, and take no notice of If-Match.
    latency
        Seconds before the first byte of an answer.
    status
        Answer everything with this status and nothing else.
    """

    def __init__(self, folder: Path, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(_Connection, tls)
        self.folder = folder
        self.endpoint = HttpEndpoint(self.url)
        self.ignore_ranges = False
        self.no_etag = False
        self.latency = 0.0
        self.status: int | None = None
        self._digests: dict[tuple[int, int, int], str] = {}
        self._hashing = threading.Lock()

    def etag(self, file: BufferedReader) -> str:
        """Return the ETag of an open file: of its bytes, for two writes may share one mtime."""
        stat = os.fstat(file.fileno())
        version = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        # One thread at a time: requests that come together need not all read the file.
        with self._hashing:
            digest = self._digests.get(version)
            if digest is None:
                digest = hashlib.file_digest(file, hashlib.blake2b).hexdigest()[:32]
                if time.time_ns() - stat.st_mtime_ns > SETTLED_NS:
                    self._digests[version] = digest
        return f'"{digest}"'


class _Connection(Handler):
    server: HttpServer

    def do_GET(self) -> None:
        self.server.pause(self.server.latency)
        if self.server.status is not None:
            self._answer(self.server.status)
            return
        try:
            file = self._open()
        except OSError:
            self._answer(HTTPStatus.NOT_FOUND)
            return
        with file:
            self._serve(file)

    do_HEAD = do_GET

    def _open(self) -> BufferedReader:
        folder = self.server.folder.resolve()
        path = (folder / unquote(urlsplit(self.path).path).lstrip("/")).resolve()
        if not path.is_relative_to(folder):
            raise FileNotFoundError(path)
        return path.open("rb")

    def _serve(self, file: BufferedReader) -> None:
        stat = os.fstat(file.fileno())
        headers = {"Last-Modified": formatdate(stat.st_mtime, usegmt=True)}
        if not self.server.no_etag:
            headers["ETag"] = self.server.etag(file)
            if not _matches(self.headers["If-Match"], headers["ETag"]):
                self._answer(HTTPStatus.PRECONDITION_FAILED, headers)
                return

        wanted = None
        if not self.server.ignore_ranges:
            headers["Accept-Ranges"] = "bytes"
            if self.command == "GET":
                wanted = _parse_range(self.headers["Range"], stat.st_size)
        if wanted is None:
            self._answer(HTTPStatus.OK, headers, file, range(stat.st_size))
        elif not wanted:
            headers["Content-Range"] = f"bytes */{stat.st_size}"
            self._answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers)
        else:
            headers["Content-Range"] = f"bytes {wanted[0]}-{wanted[-1]}/{stat.st_size}"
            self._answer(HTTPStatus.PARTIAL_CONTENT, headers, file, wanted)

    def _answer(
        self,
        status: int,
        headers: dict[str, str] | None = None,
        file: BufferedReader | None = None,
        positions: range = range(0),
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(positions)))
        self.end_headers()
        if file and positions and self.command == "GET":
            sent = self.connection.sendfile(file, positions.start, len(positions))
            # Cut short by a file that shrank meanwhile.
            self.close_connection |= sent < len(positions)


def _matches(condition: str | None, etag: str) -> bool:
    if condition is None or condition.strip() == "*":
        return True
    return etag in (candidate.strip() for candidate in condition.split(","))


def _parse_range(header: str | None, size: int) -> range | None:
    """Return the positions that a Range header asks for, empty where there are none.

    None means the whole file: no header, or one that a server may ignore.
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if match is None or match.group() == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return range(max(size - int(last), 0), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size) if last else size)
