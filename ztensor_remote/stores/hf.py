"""Files of the Hugging Face Hub, through the client of huggingface_hub."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from huggingface_hub import hf_hub_url
from huggingface_hub.utils import _http as hub_http

from .answer import Answer, RangeNotSatisfiable, Receive
from .control import Control
from .limits import Limits
from .location import Location
from .remote import RemoteSource
from .source import Identity
from .target import NoTarget, Target, environment_proxy
from .tls import tls_context

_COMMIT = "X-Repo-Commit"
_CONTENT = "X-Linked-ETag"


class HFSource(RemoteSource):
    """Ranges of one commit. The hub knows where its bytes are, and redirects there.

    https://huggingface.co/docs/hub/storage-backends
    """

    pinned_by_url = True

    def __init__(self, location: Location, fs: Any, path: str, limits: Limits) -> None:
        super().__init__(location, limits)
        self._fs = fs
        self._path = path
        self._commit: str | None = None

    def open_tail(self, window: int) -> memoryview:
        """Fetch the last `window` bytes (or all), and pin the commit they came from."""
        tail = super().open_tail(window)
        self._pin_commit()
        return tail

    def open_head(self, window: int) -> memoryview:
        """Fetch the first `window` bytes (or all), and pin the commit they came from."""
        head = super().open_head(window)
        self._pin_commit()
        return head

    def _pin_commit(self) -> None:
        # Commits come and go without a change to this file: they are no part of its identity.
        self._commit, self.identity = self.identity.version, replace(self.identity, version=None)

    def sign(self, pin: Identity | None) -> Target:
        """Return the hub's URL of the file, and the token for it."""
        if _has_own_client():
            raise NoTarget("huggingface_hub was given an HTTP client of its own")
        place = self._fs.resolve_path(self._path)
        if not hasattr(place, "repo_id"):
            raise NoTarget("buckets of the hub are no repositories")
        url = hf_hub_url(
            place.repo_id,
            place.path_in_repo,
            repo_type=place.repo_type,
            revision=self._commit or place.revision,
            endpoint=self._fs.endpoint,
        )
        return Target(
            url,
            headers=self._fs._api._build_hf_headers(),
            tls=tls_context(True),
            proxy=environment_proxy(url),
            conditional=False,
            version_header=_COMMIT,
            content_header=_CONTENT,
            follow=True,
        )

    def get(
        self, range_header: str, receive: Receive, *, pin: Identity | None, control: Control
    ) -> None:
        """Read from the filesystem's file, of one commit."""
        place, api = self._fs.resolve_path(self._path), self._fs._api
        repository = {"repo_id": place.repo_id, "repo_type": place.repo_type}
        commit = self._commit or api.repo_info(**repository, revision=place.revision).sha
        found = api.get_paths_info(**repository, paths=place.path_in_repo, revision=commit)
        if not found or not hasattr(found[0], "size"):
            raise FileNotFoundError(self._path)
        size = int(found[0].size)
        start, stop = _span(range_header, size)
        if start >= stop:
            raise RangeNotSatisfiable
        options = {"size": size, "block_size": stop - start, "cache_type": "none"}
        with self._fs.open(self._path, "rb", revision=commit, **options) as file:
            file.seek(start)
            data = file.read(stop - start)
        content = found[0].lfs.sha256 if found[0].lfs else found[0].blob_id
        content_range = f"bytes {start}-{start + len(data) - 1}/{size}"
        receive(Answer(len(data), content_range, f'"{content}"', commit)).write(data)


def _span(range_header: str, size: int) -> tuple[int, int]:
    """Return the first byte of a range and what follows its last."""
    first, _, last = range_header.removeprefix("bytes=").partition("-")
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1)


def _has_own_client() -> bool:
    """Whether a program has configured how the hub is reached; the names changed with 1.0."""
    for chosen, usual in (
        ("_GLOBAL_CLIENT_FACTORY", "default_client_factory"),
        ("_GLOBAL_BACKEND_FACTORY", "_default_backend_factory"),
    ):
        factory = getattr(hub_http, chosen, None)
        if factory is not None and factory is not getattr(hub_http, usual, None):
            return True
    return False
