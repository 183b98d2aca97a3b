"""A small Google Cloud Storage that enforces what fake-gcs-server does not.

Generations on reads, preconditions on every upload at its beginning and its end, chunks in
multiples of 256 KiB and in order, bytes that are sent again ignored.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.gcs import GcsEndpoint
from tests.servers.listener import Handler, Listener

CHUNK = 1 << 18


@dataclass
class Stored:
    """One generation of an object."""

    generation: int
    data: bytes
    metadata: dict[str, str]


@dataclass
class Session:
    """A resumable upload."""

    resource: dict[str, Any]
    condition: str | None
    data: bytearray = field(default_factory=bytearray)
    done: Stored | None = None


class StrictGcs(Listener):
    """The server, with one bucket of any name.

    Attributes
    ----------
    objects
        By name, the newest generation last; older ones stay readable if `versioned`.
    sessions
        Uploads that were begun and not deleted.
    keep
        How many bytes of a chunk are stored at once.
    """

    def __init__(self) -> None:
        super().__init__(_Connection)
        self.endpoint = GcsEndpoint(self.url)
        self.objects: dict[str, list[Stored]] = {}
        self.sessions: dict[str, Session] = {}
        self.versioned = False
        self.keep = 1 << 40
        self.lock = threading.RLock()
        self._generations = itertools.count(1000)

    def find(self, name: str, generation: str | None) -> Stored | None:
        versions = self.objects.get(name, [])[0 if self.versioned else -1 :]
        if generation is None:
            return versions[-1] if versions else None
        return next((it for it in versions if str(it.generation) == generation), None)

    def allows(self, name: str, condition: str | None) -> bool:
        current = self.find(name, None)
        return condition is None or condition == str(current.generation if current else 0)

    def store(self, name: str, data: bytes, metadata: dict[str, str]) -> Stored:
        stored = Stored(next(self._generations), data, metadata)
        self.objects.setdefault(name, []).append(stored)
        return stored

    def begin(self, resource: dict[str, Any], condition: str | None) -> str:
        key = str(next(self._generations))
        self.sessions[key] = Session(resource, condition)
        return key


class _Connection(Handler):
    server: StrictGcs

    def do_GET(self) -> None:
        with self.server.lock:
            self._route()

    do_PUT = do_POST = do_DELETE = do_GET

    def _route(self) -> None:
        url = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = unquote(url.path.rpartition("/o/")[2])
        match self.command, url.path.split("/")[1]:
            case "GET", "download":
                self._download(name)
            case "GET", _:
                self._describe(self.server.find(name, None), name)
            case "POST", "upload":
                self._upload()
            case "POST", _:
                self._compose(unquote(url.path.rpartition("/o/")[2].removesuffix("/compose")))
            case "PUT", "upload":
                self._chunk(self.server.sessions[self.query["upload_id"]])
            case "DELETE", "upload":
                self.server.sessions.pop(self.query["upload_id"])
                self._answer(499)
            case "DELETE", _:
                found = self.server.objects.pop(name, None)
                self._answer(204) if found else self._refuse(404, "No such object")
            case _:
                self._answer(501)

    def _answer(self, status: int, body: bytes = b"", **headers: object) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _describe(self, stored: Stored | None, name: str) -> None:
        if stored is None:
            self._refuse(404, "No such object")
            return
        resource = {
            "name": name,
            "metadata": stored.metadata,
            "size": str(len(stored.data)),
            "generation": str(stored.generation),
        }
        self._answer(200, json.dumps(resource).encode(), Content_Type="application/json")

    def _refuse(self, status: int, message: str) -> None:
        self._answer(status, json.dumps({"error": {"code": status, "message": message}}).encode())

    def _download(self, name: str) -> None:
        stored = self.server.find(name, self.query.get("generation"))
        if stored is None:
            self._refuse(404, "No such object")
            return
        size = len(stored.data)
        first, last = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers["Range"] or "").groups()  # type: ignore[union-attr]
        start = int(first) if first else max(0, size - int(last))
        stop = min(size, int(last) + 1) if first and last else size
        if start >= size:
            self._refuse(416, "The requested range cannot be satisfied.")
            return
        self._answer(
            206,
            stored.data[start:stop],
            Content_Range=f"bytes {start}-{stop - 1}/{size}",
            X_Goog_Generation=stored.generation,
            ETag=f'"{stored.generation}"',
        )

    def _upload(self) -> None:
        condition = self.query.get("ifGenerationMatch")
        if self.query["uploadType"] == "resumable":
            resource, data = json.loads(self.body), None
        else:
            boundary = self.headers["Content-Type"].partition("boundary=")[2].encode()
            _, first, second, _ = self.body.split(b"--" + boundary)
            resource = json.loads(first.partition(b"\r\n\r\n")[2])
            data = second.partition(b"\r\n\r\n")[2][:-2]
        if not self.server.allows(resource["name"], condition):
            self._refuse(412, "At least one of the pre-conditions you specified did not hold.")
        elif data is None:
            key = self.server.begin(resource, condition)
            self._answer(200, Location=f"{self.server.url}/upload/session?upload_id={key}")
        else:
            stored = self.server.store(resource["name"], data, resource["metadata"])
            self._describe(stored, resource["name"])

    def _compose(self, name: str) -> None:
        """Join objects; https://cloud.google.com/storage/docs/json_api/v1/objects/compose."""
        wanted = json.loads(self.body)
        sources = [
            self.server.find(source["name"], source.get("generation"))
            for source in wanted["sourceObjects"]
        ]
        if not 1 <= len(sources) <= 32:
            self._refuse(400, "The number of source components must be between 1 and 32.")
        elif not all(sources):
            self._refuse(404, "No such object")
        elif not self.server.allows(name, self.query.get("ifGenerationMatch")):
            self._refuse(412, "At least one of the pre-conditions you specified did not hold.")
        else:
            data = b"".join(source.data for source in sources if source)
            metadata = wanted["destination"].get("metadata", {})
            self._describe(self.server.store(name, data, metadata), name)

    def _chunk(self, session: Session) -> None:
        if session.done is not None:
            self._describe(session.done, session.resource["name"])
            return
        first, last, total = re.fullmatch(  # type: ignore[union-attr]
            r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", self.headers["Content-Range"]
        ).groups()
        stored = len(session.data)
        start = int(first) if first else int(total)
        if start > stored or len(self.body) != (int(last) + 1 - start if last else 0):
            self._refuse(400, "Bytes are missing.")
        elif total == "*" and len(self.body) % CHUNK:
            self._refuse(400, "The number of bytes uploaded must be a multiple of 256 KiB.")
        else:
            session.data += self.body[stored - start :][: self.server.keep]
            self._proceed(session, None if total == "*" else int(total))

    def _proceed(self, session: Session, total: int | None) -> None:
        name = session.resource["name"]
        if len(session.data) != total:
            sent = {"Range": f"bytes=0-{len(session.data) - 1}"} if session.data else {}
            self._answer(308, **sent)
        elif not self.server.allows(name, session.condition):
            self._refuse(412, "At least one of the pre-conditions you specified did not hold.")
        else:
            data = bytes(session.data)
            session.done = self.server.store(name, data, session.resource["metadata"])
            self._describe(session.done, name)
