"""Objects in S3 and its likes, through s3fs's client."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .answer import Answer, RangeNotSatisfiable, Receive, stated_length
from .control import Control
from .event_loop import run
from .failures import Exhausted, status_of
from .limits import Limits
from .location import Location
from .remote import RemoteSource
from .source import Identity
from .target import NoTarget, Target, plain_proxy
from .tls import tls_context

_CHUNK = 1 << 20
VALID = 1800
"""Seconds."""

VERSION_HEADER = "x-amz-version-id"
_OF_S3 = frozenset(("s3-query", "s3v4-query", "v4-query"))
_CHOICE = "ztensor-remote-v4"
_SIGNED_HEADERS = "X-Amz-SignedHeaders"
# Of aiohttp's connector: how long and how many connections are kept.
_OF_NO_CONCERN = frozenset(
    (
        "keepalive_timeout",
        "limit_per_host",
        "force_close",
        "use_dns_cache",
        "ttl_dns_cache",
        "enable_cleanup_closed",
    )
)


class S3Source(RemoteSource):
    """Ranges by GetObject with If-Match, streamed into the destination.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """

    def __init__(self, location: Location, fs: Any, path: str, limits: Limits) -> None:
        super().__init__(location, limits)
        self._fs = fs
        self._bucket, self._key, self._version = fs.split_path(path)

    @property
    def named(self) -> dict[str, str]:
        """The object in the words of the client."""
        named = {"Bucket": self._bucket, "Key": self._key}
        return named | ({"VersionId": self._version} if self._version else {})

    def is_read_by(self, fs: Any) -> bool:
        """Whether it is in the store that a filesystem is of, under the same credentials."""
        return bool(self._fs == fs)

    def sign(self, pin: Identity | None) -> Target:
        """Sign a URL with the credentials and the endpoint of the filesystem.

        https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
        """
        target = run(self._fs, target_of, self._fs, "get_object", self.named)
        return replace(target, version_header=VERSION_HEADER)

    def get(
        self, range_header: str, receive: Receive, *, pin: Identity | None, control: Control
    ) -> None:
        """Send one GetObject."""
        try:
            self.run(self._fs, partial(self._get, range_header, pin), receive, control)
        except Exception as error:
            if status_of(error) == 416:
                raise RangeNotSatisfiable from None
            raise

    async def _get(self, range_header: str, pin: Identity | None, receive: Receive) -> None:
        conditions = {"IfMatch": pin.etag} if pin and pin.etag else {}
        # Only a version that the caller named: it takes a permission (s3:GetObjectVersion) that
        # many readers of the object do not have.
        if self._version:
            conditions["VersionId"] = self._version
        answer = await call_s3(
            self._fs,
            "get_object",
            Bucket=self._bucket,
            Key=self._key,
            Range=range_header,
            **conditions,
        )
        stated = Answer(
            stated_length(answer.get("ContentLength"), answer.get("ContentRange")),
            answer.get("ContentRange"),
            answer.get("ETag"),
            _version(answer),
        )
        async with answer["Body"] as body:
            scatter = receive(stated)
            while scatter.missing and (chunk := await body.read(_CHUNK)):
                scatter.write(chunk)


async def target_of(
    fs: Any, method: str, named: dict[str, Any], headers: Mapping[str, str] | None = None
) -> Target:
    """Sign a URL with the credentials and the endpoint of a filesystem.

    Parameters
    ----------
    method : str
        Of the client, as ``get_object``.
    named : dict
        Its arguments.
    headers : mapping, optional
        What some of them are sent as, in lower case; the others are in the URL.

    Raises
    ------
    NoTarget
    """
    await fs.set_session()
    client = await fs.get_s3(named["Bucket"])
    sent = fs._get_s3_method_kwargs(getattr(client, method), fs.req_kw, **named)
    extra = sent.keys() - named.keys()
    if extra:  # they are headers, which would have to be signed as well
        raise NoTarget(f"s3fs adds {', '.join(sorted(extra))} to its requests")
    headers = headers or {}
    url = await _signed(client, method, named, headers.keys())
    session = client._endpoint.http_session
    _check_session(session)
    return Target(
        url,
        headers,
        tls=_tls(session) if url.startswith("https:") else None,
        proxy=plain_proxy(session._proxy_config.proxy_url_for(url)),
        expires=time.monotonic() + VALID / 2,
    )


async def _signed(client: Any, method: str, named: dict[str, Any], headers: Set[str]) -> str:
    """Return a URL that says all but these headers; others that are signed it alone could send."""
    from botocore.exceptions import BotoCoreError

    try:
        with _signing_v4(client, method):
            url = str(await client.generate_presigned_url(method, named, ExpiresIn=VALID))
    except BotoCoreError as error:
        raise NoTarget(f"s3fs's client can't sign URLs: {type(error).__name__}") from None
    query = dict(parse_qsl(urlsplit(url).query))
    signed = query.get(_SIGNED_HEADERS, "host").split(";")
    if set(signed) - {"host", *headers}:
        raise NoTarget(f"s3fs's client signs {';'.join(signed)}, which it alone can send")
    return url


@contextmanager
def _signing_v4(client: Any, method: str) -> Iterator[None]:
    """Have URLs signed with version 4: botocore still prefers version 2, which stores refuse."""
    event = f"choose-signer.s3.{client.meta.method_to_api_mapping[method]}"
    once = {"unique_id": _CHOICE, "unique_id_uses_count": True}  # others may sign meanwhile
    client.meta.events.register_first(event, _choose_v4, **once)
    try:
        yield
    finally:
        client.meta.events.unregister(event, _choose_v4, **once)


def _choose_v4(signature_version: Any, **_: Any) -> str | None:
    return "s3v4-query" if signature_version in _OF_S3 else None


def _check_session(session: Any) -> None:
    """Refuse what reaches servers in a way that plain connections would not take."""
    if type(session).__name__ != "AIOHTTPSession":
        raise NoTarget(f"s3fs's client has a {type(session).__name__} to reach servers with")
    unknown = sorted(session._connector_args.keys() - _OF_NO_CONCERN)
    if unknown:
        raise NoTarget(f"s3fs has connector_args {', '.join(unknown)}, which are for aiohttp")


def _tls(session: Any) -> ssl.SSLContext:
    from botocore.httpsession import get_cert_path

    if session._cert_file or session._proxy_config.settings:
        raise NoTarget("s3fs has a client certificate, or settings of a proxy's own")
    verify = session._verify
    return tls_context(get_cert_path(verify) if verify else False)


async def call_s3(fs: Any, method: str, **kwargs: Any) -> dict[str, Any]:
    """Call S3 through s3fs, whose client has retries of its own.

    They are the caller's to set (``config_kwargs={"retries": ...}``), and would multiply with ours.
    """
    try:
        answer: dict[str, Any] = await fs._call_s3(method, fs.req_kw, **kwargs)
    except Exception as error:
        raise Exhausted from error
    return answer


def _version(answer: dict[str, Any]) -> str | None:
    version = answer.get("VersionId")
    return None if version in (None, "null") else str(version)
