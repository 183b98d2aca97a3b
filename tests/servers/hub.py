"""The few endpoints of the Hugging Face Hub that files are read through."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .listener import Handler, Listener

REPOSITORY = "someone/model"
TOKEN = "hf_c0ffee"


@dataclass
class Commit:
    """What a repository holds, by path."""

    files: dict[str, bytes]

    @property
    def sha(self) -> str:
        """The commit's name."""
        parts = [f"{path}{_sha256(data)}" for path, data in sorted(self.files.items())]
        return hashlib.sha1("".join(parts).encode()).hexdigest()


@dataclass
class Log:
    """Paths that were asked for, and whether with the token."""

    resolved: list[tuple[str, bool]] = field(default_factory=list)


class Hub(Listener):
    """A hub with one private repository, whose files are served by another server.

    Parameters
    ----------
    storage
        URL of a server with a file for each content, named by its SHA-256.
    """

    def __init__(self, storage: str) -> None:
        super().__init__(_Connection)
        self.storage = storage
        self.commits: list[Commit] = []
        self.log = Log()

    def find(self, revision: str) -> Commit:
        """Return a commit by its name, or the newest for a branch."""
        named = [commit for commit in self.commits if commit.sha == revision]
        return named[0] if named else self.commits[-1]


class _Connection(Handler):
    server: Hub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        is_allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
        head, _, rest = path.partition("/resolve/")
        if rest:
            self.server.log.resolved.append((rest, is_allowed))
        if not is_allowed:
            self._answer(401, {"X-Error-Code": "GatedRepo"}, {"error": "no token"})
        elif head == f"/{REPOSITORY}" and rest:
            self._redirect(rest)
        elif path.startswith(f"/api/models/{REPOSITORY}/tree/"):
            files = self.server.find(path.split("/")[6]).files
            self._answer(200, {}, [_described(name, data) for name, data in files.items()])
        elif path.startswith(f"/api/models/{REPOSITORY}"):
            revision = path.rpartition("/revision/")[2] if "/revision/" in path else "main"
            sha = self.server.find(revision).sha
            self._answer(200, {}, {"id": REPOSITORY, "sha": sha, "siblings": []})
        else:
            self._answer(404, {"X-Error-Code": "RepoNotFound"}, {"error": "not found"})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        files = self.server.find(self.path.rpartition("/")[2]).files
        self._answer(
            200, {}, [_described(path, files[path]) for path in body["paths"] if path in files]
        )

    def _redirect(self, rest: str) -> None:
        revision, _, path = rest.partition("/")
        commit = self.server.find(revision)
        if path not in commit.files:
            self._answer(404, {"X-Error-Code": "EntryNotFound"}, {"error": "no such file"})
            return
        digest = _sha256(commit.files[path])
        self._answer(
            302,
            {
                "Location": f"{self.server.storage}/{digest}?Signature=signed",
                "X-Repo-Commit": commit.sha,
                "X-Linked-ETag": f'"{digest}"',
                "X-Linked-Size": str(len(commit.files[path])),
            },
            None,
        )

    def _answer(self, status: int, headers: dict[str, str], value: Any) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _described(path: str, data: bytes) -> dict[str, Any]:
    digest = _sha256(data)
    return {
        "type": "file",
        "path": path,
        "size": len(data),
        "oid": digest[:40],
        "lfs": {"oid": digest, "size": len(data), "pointerSize": 130},
    }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
