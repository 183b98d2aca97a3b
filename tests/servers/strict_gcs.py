"""A small Google Cloud Storage that enforces what fake-gcs-server does not.

Generations on reads, preconditions on every upload at its beginning and its end, chunks in
multiples of 256 KiB and in order, bytes that are sent again ignored.

``python -m tests.servers.strict_gcs PORT FOLDER`` runs it as a process that may be killed: what it
has confirmed is in the folder, and there again when it is started anew.
"""

from __future__ import annotations

import itertools
import json
import pickle
import re
import sys
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from .gcs import GcsEndpoint
from .listener import Handler, Listener
from .process import ServerProcess, free_port

CHUNK = 1 << 18


@dataclass
class Stored:
    """One generation of an object."""

    generation: int
    data: bytes
    metadata: dict[str, str]
    size: int = 0
    updated: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}")


@dataclass
class Session:
    """A resumable upload."""

    resource: dict[str, Any]
    condition: str | None
    data: bytearray = field(default_factory=bytearray)
    done: Stored | None = None


class StrictGcs(Listener):
    """The server, with one bucket of any name.

    Parameters
    ----------
    folder
        Keeps the newest generations and the sessions, for a server that takes over.

    Attributes
    ----------
    objects
        By name, the newest generation last; older ones keep their data if `versioned`.
    sessions
        Uploads that were begun and not deleted.
    keep
        How many bytes of a chunk are stored at once.
    """

    def __init__(self, port: int = 0, folder: Path | None = None) -> None:
        super().__init__(_Connection, port=port)
        self.endpoint = GcsEndpoint(self.url)
        self.objects: dict[str, list[Stored]] = {}
        self.sessions: dict[str, Session] = {}
        self.versioned = False
        self.keep = 1 << 40
        self.lock = threading.RLock()
        self._generations = itertools.count(1000)
        self._folder = folder
        if folder is not None:
            self._take_over(folder)

    def _take_over(self, folder: Path) -> None:
        for file in folder.glob("object-*"):
            stored = pickle.loads(file.read_bytes())
            self.objects[unquote(file.name.removeprefix("object-"))] = [stored]
        for file in folder.glob("session-*"):
            self.sessions[file.name.removeprefix("session-")] = pickle.loads(file.read_bytes())
        used = [versions[-1].generation for versions in self.objects.values()]
        self._generations = itertools.count(max([1000, *used, *map(int, self.sessions)]) + 1)

    def _save(self, name: str, value: object) -> None:
        if self._folder is None:
            return
        file = self._folder / quote(name, safe="")
        if value is None:
            file.unlink()
            return
        fresh = file.with_name("fresh")
        fresh.write_bytes(pickle.dumps(value))
        fresh.replace(file)

    def find(self, name: str, generation: str | None) -> Stored | None:
        versions = self.objects.get(name, [])[0 if self.versioned else -1 :]
        if generation is None:
            return versions[-1] if versions else None
        return next((it for it in versions if str(it.generation) == generation), None)

    def allows(self, name: str, condition: str | None) -> bool:
        current = self.find(name, None)
        return condition is None or condition == str(current.generation if current else 0)

    def store(self, name: str, data: bytes, metadata: dict[str, str]) -> Stored:
        stored = Stored(next(self._generations), data, metadata, len(data))
        versions = self.objects.setdefault(name, [])
        if not self.versioned:
            for old in versions:
                old.data = b""
        versions.append(stored)
        self._save(f"object-{name}", stored)
        return stored

    def delete(self, name: str) -> bool:
        found = self.objects.pop(name, None) is not None
        if found:
            self._save(f"object-{name}", None)
        return found

    def begin(self, resource: dict[str, Any], condition: str | None) -> str:
        key = str(next(self._generations))
        self.sessions[key] = Session(resource, condition)
        self.save_session(key)
        return key

    def drop(self, key: str) -> None:
        if self.sessions.pop(key, None) is not None:
            self._save(f"session-{key}", None)

    def save_session(self, key: str) -> None:
        self._save(f"session-{key}", self.sessions[key])


class _Connection(Handler):
    server: StrictGcs

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        size = int(self.headers.get("Content-Length", 0))
        self.body = self.rfile.read(size)
        with self.server.lock:
            if len(self.body) == size:
                self._route(url.path)
                return
            if self.command == "PUT":
                self._keep_piece()
        raise ConnectionAbortedError("the client went away")

    do_PUT = do_POST = do_DELETE = do_GET

    def _route(self, path: str) -> None:
        name = unquote(path.rpartition("/o/")[2])
        match self.command, path.split("/")[1]:
            case "GET", "download":
                self._download(name)
            case "GET", _ if path.endswith("/o"):
                self._list()
            case "GET", _:
                self._describe(self.server.find(name, None), name)
            case "PUT" | "POST", "upload" if "upload_id" in self.query:
                self._chunk(self.query["upload_id"])
            case "POST", "upload":
                self._upload()
            case "POST", _ if path.endswith("/b"):
                self._answer(200, b"{}")
            case "POST", _:
                self._compose(unquote(path.rpartition("/o/")[2].removesuffix("/compose")))
            case "DELETE", "upload":
                self.server.drop(self.query["upload_id"])
                self._answer(499)
            case "DELETE", _ if self.server.delete(name):
                self._answer(204)
            case "DELETE", _:
                self._refuse(404, "No such object")
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
        self._answer_json(_resource(name, stored))

    def _answer_json(self, answer: dict[str, Any]) -> None:
        self._answer(200, json.dumps(answer).encode(), Content_Type="application/json")

    def _list(self) -> None:
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter")
        items, folders = [], set()
        for name, versions in sorted(self.server.objects.items()):
            below, cut, _ = name.removeprefix(prefix).partition(delimiter or "\0")
            if name.startswith(prefix) and cut:
                folders.add(prefix + below + cut)
            elif name.startswith(prefix):
                items.append(_resource(name, versions[-1]))
        listed = {"kind": "storage#objects", "items": items, "prefixes": sorted(folders)}
        self._answer_json(listed)

    def _refuse(self, status: int, message: str) -> None:
        self._answer(status, json.dumps({"error": {"code": status, "message": message}}).encode())

    def _download(self, name: str) -> None:
        stored = self.server.find(name, self.query.get("generation"))
        if stored is None:
            self._refuse(404, "No such object")
            return
        size = len(stored.data)
        if self.headers["Range"] is None:
            self._answer(200, stored.data, X_Goog_Generation=stored.generation)
            return
        first, last = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers["Range"]).groups()  # type: ignore[union-attr]
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
            boundary = self.headers["Content-Type"].partition("boundary=")[2].strip('"').encode()
            _, first, second, _ = self.body.split(b"--" + boundary)
            end = b"\n" if first.startswith(b"\n") else b"\r\n"  # gcsfs's, and ours
            resource = json.loads(first.partition(2 * end)[2])
            data = second.partition(2 * end)[2].removesuffix(end)
        if not self.server.allows(resource["name"], condition):
            self._refuse(412, "At least one of the pre-conditions you specified did not hold.")
        elif data is None:
            key = self.server.begin(resource, condition)
            self._answer(
                200, Location=f"http://{self.headers['Host']}/upload/session?upload_id={key}"
            )
        else:
            stored = self.server.store(resource["name"], data, resource.get("metadata", {}))
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

    def _keep_piece(self) -> None:
        """Store what has come of a chunk before the client went away, as GCS does."""
        session = self.server.sessions.get(self.query["upload_id"])
        sent = re.fullmatch(r"bytes (\d+)-\d+/.*", self.headers["Content-Range"])
        if session and not session.done and sent and int(sent[1]) <= len(session.data):
            whole = len(self.body) // CHUNK * CHUNK
            session.data += self.body[:whole][len(session.data) - int(sent[1]) :]
            self.server.save_session(self.query["upload_id"])

    def _chunk(self, key: str) -> None:
        session = self.server.sessions.get(key)
        if session is None:
            self._refuse(404, "No such upload")
            return
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
            self._proceed(key, session, None if total == "*" else int(total))

    def _proceed(self, key: str, session: Session, total: int | None) -> None:
        name = session.resource["name"]
        if len(session.data) != total:
            self.server.save_session(key)
            sent = {"Range": f"bytes=0-{len(session.data) - 1}"} if session.data else {}
            self._answer(308, **sent)
        elif not self.server.allows(name, session.condition):
            self._refuse(412, "At least one of the pre-conditions you specified did not hold.")
        else:
            data = bytes(session.data)
            session.data.clear()
            session.done = self.server.store(name, data, session.resource.get("metadata", {}))
            self.server.save_session(key)
            self._describe(session.done, name)


def _resource(name: str, stored: Stored) -> dict[str, Any]:
    return {
        "name": name,
        "metadata": stored.metadata,
        "size": str(stored.size),
        "generation": str(stored.generation),
        "updated": stored.updated,
    }


def strict_gcs_server(folder: Path) -> ServerProcess[GcsEndpoint]:
    """Return a process that keeps its objects in a folder, not yet started."""
    port = free_port()
    command = [sys.executable, "-m", __name__, str(port), str(folder)]
    return ServerProcess(command, GcsEndpoint(f"http://127.0.0.1:{port}"))


if __name__ == "__main__":
    with StrictGcs(int(sys.argv[1]), Path(sys.argv[2])) as running:
        threading.Event().wait()
