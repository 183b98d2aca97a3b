"""Objects in S3 whose address and credentials are all in plain sight: no client is made for them.

Importing s3fs and making its client take half a second, which a cold worker would spend before its
first byte. Where the options leave nothing to find out, signing is the same arithmetic for
everybody (SigV4), and obstore does it at once. Everything else, and whatever a server refuses, is
s3fs's.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from .limits import Limits
from .location import Location
from .remote import RemoteSource
from .s3 import VALID, VERSION_HEADER, S3Source
from .source import Identity
from .target import Target
from .tls import tls_context

if TYPE_CHECKING:
    from obstore.store import S3Store

_OPTIONS = frozenset(("key", "secret", "token", "anon", "endpoint_url", "client_kwargs"))
_CLIENT_OPTIONS = frozenset(("region_name", "endpoint_url", "verify"))
_KNOWN_VARIABLES = frozenset(
    (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_CA_BUNDLE",
        "AWS_EC2_METADATA_DISABLED",
    )
)
_FILES = ("~/.aws/config", "~/.aws/credentials", "/etc/boto.cfg", "~/.boto", "~/.config/fsspec")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_IMPORTED_IN = os.getpid()

_MOST_SIGNERS = 64
_signers: dict[str, S3Store] = {}
"""By a hash of whom they sign for."""


@dataclass(frozen=True, slots=True)
class Plain:
    """An address and credentials.

    Attributes
    ----------
    bucket, key : str
    endpoint, region : str
    credentials : mapping or None
        In obstore's words; None for anonymous requests.
    verify : bool or str
        Whom TLS trusts; see `tls_context`.
    """

    bucket: str
    key: str
    endpoint: str
    region: str
    credentials: Mapping[str, str] | None = field(repr=False)
    verify: bool | str

    @property
    def url(self) -> str:
        """The object's URL, for anonymous requests."""
        return f"{self.endpoint.rstrip('/')}/{self.bucket}/{quote(self.key)}"

    def signed(self) -> str:
        """Return a URL that the credentials allow to be read for a while."""
        if self.credentials is None:
            return self.url
        import obstore

        return obstore.sign(self._signer(), "GET", self.key, timedelta(seconds=VALID))

    def _signer(self) -> S3Store:
        """Return the store that signs for these credentials; to make one takes 10 ms."""
        place = (self.bucket, self.endpoint, self.region, sorted((self.credentials or {}).items()))
        name = hashlib.sha256(repr(place).encode()).hexdigest()
        if name not in _signers:
            from obstore.store import S3Store

            if len(_signers) >= _MOST_SIGNERS:
                _signers.clear()
            _signers[name] = S3Store(
                self.bucket,
                endpoint=self.endpoint,
                region=self.region,
                virtual_hosted_style_request=False,
                client_options={"allow_http": True},
                **(self.credentials or {}),  # type: ignore[arg-type]
            )
        return _signers[name]


class PlainS3Source(S3Source):
    """An object whose URLs are signed here; s3fs is there when it is needed.

    Parameters
    ----------
    location : Location
    limits : Limits
    plain : Plain
    """

    def __init__(self, location: Location, limits: Limits, plain: Plain) -> None:
        RemoteSource.__init__(self, location, limits)
        self._plain = plain
        self._bucket, self._key, self._version = plain.bucket, plain.key, None

    @cached_property
    def _fs(self) -> Any:
        return self.location.resolve()[0]

    def sign(self, pin: Identity | None) -> Target:
        """Sign a URL."""
        if os.getpid() != _IMPORTED_IN:  # obstore's threads stayed behind in the parent
            return super().sign(pin)
        url = self._plain.signed()
        return Target(
            url,
            tls=tls_context(self._plain.verify) if url.startswith("https:") else None,
            expires=time.monotonic() + VALID / 2,
            version_header=VERSION_HEADER,
        )


def plain_s3(location: Location) -> Plain | None:
    """Return what a location in S3 says of itself, if nothing else has a say in it."""
    if not location.path.startswith("s3://") or location.fs is not None or _is_configured():
        return None
    options = dict(location.storage_options)
    client = dict(options.get("client_kwargs") or {})
    if options.keys() - _OPTIONS or client.keys() - _CLIENT_OPTIONS:
        return None
    bucket, _, key = location.path.removeprefix("s3://").partition("/")
    region = client.get("region_name") or os.environ.get("AWS_DEFAULT_REGION")
    endpoint = _endpoint(options, client)
    credentials = _credentials(options)
    if not key or "?" in key or endpoint is None or (not options.get("anon") and not credentials):
        return None
    if credentials and find_spec("obstore") is None:
        return None
    return Plain(bucket, key, endpoint, region or "us-east-1", credentials, _verify(client))


def _endpoint(options: Mapping[str, Any], client: Mapping[str, Any]) -> str | None:
    """Return the endpoint, unless it is Amazon's own: there, names of hosts follow from more."""
    named = (
        options.get("endpoint_url")
        or client.get("endpoint_url")
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
    )
    host = urlsplit(named or "").hostname or ""
    return None if not host or "amazonaws." in host else str(named)


def _credentials(options: Mapping[str, Any]) -> dict[str, str] | None:
    if options.get("anon"):
        return None
    given = (options.get("key"), options.get("secret"), options.get("token"))
    if given == (None, None, None):
        environ = os.environ.get
        given = (
            environ("AWS_ACCESS_KEY_ID"),
            environ("AWS_SECRET_ACCESS_KEY"),
            environ("AWS_SESSION_TOKEN"),
        )
    key, secret, token = given
    if not key or not secret:
        return None
    named = {"access_key_id": key, "secret_access_key": secret}
    return named | ({"session_token": token} if token else {})


def _verify(client: Mapping[str, Any]) -> bool | str:
    verify = client.get("verify", os.environ.get("AWS_CA_BUNDLE") or True)
    if verify is True and find_spec("certifi") is not None:  # as botocore does
        import certifi

        return certifi.where()
    return verify  # type: ignore[no-any-return]


def _is_configured() -> bool:
    """Whether there are settings, of botocore or fsspec, that only they know how to read."""
    names = {name for name in os.environ if name.startswith("AWS_")}
    if names - _KNOWN_VARIABLES or any(name.startswith("FSSPEC_") for name in os.environ):
        return True
    if any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES):
        return True
    if any(Path(name).expanduser().exists() for name in _FILES):
        return True
    fsspec = sys.modules.get("fsspec")
    return fsspec is not None and bool(fsspec.config.conf)
