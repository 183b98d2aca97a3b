"""Failures of filesystems and their clients, told as ours, without their secrets."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from ..errors import (
    AccessDeniedError,
    NotFoundError,
    ObjectChangedError,
    StoreError,
    StoreTimeoutError,
    ZTensorError,
)

ATTEMPTS = 5
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_LONGEST_WAIT = 60.0
_PROGRESS = 256 << 10
"""Bytes."""
_RETRIED = frozenset((408, 425, 429, 500, 502, 503, 504))

_SECRET = re.compile(
    r"(?i)([\w-]*(?:signature|credential|token|secret|password|authorization|sig|sas"
    r"|(?:access|account|api|private|secret|encryption)[_-]?key(?:[_-]?id)?)"
    r"[\"']?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|(?:(?:bearer|basic)\s+)?[^\s&\"',;)}]+)"
    r"|(bearer\s+)\S+"
)
# What S3, GCS and Azure say, in codes and in sentences.
_NO_BUCKET = re.compile(
    "NoSuchBucket|ContainerNotFound|specified (bucket|container) does not exist"
)
_URL_QUERY = re.compile(r"(\w+://[^\s'\"?]+)\?[^\s'\"]+")
_URL_USER = re.compile(r"(\w+://)[^/@\s]+@")
# Words in the names of the errors of aiohttp, botocore, urllib3, httpx and azure.core.
_PASSING = (
    "Timeout",
    "Connection",
    "Disconnected",
    "Payload",
    "IncompleteRead",
    "Reset",
    "ServiceRequestError",
    "ServiceResponseError",
    "RemoteProtocolError",
    "ConnectError",
    "SSLEOFError",
    "SSLZeroReturnError",
)
_LASTING = ("Certificate", "CertVerification")
_WITH_RETRIES = frozenset(("S3FileSystem", "GCSFileSystem", "AzureBlobFileSystem"))

_Result = TypeVar("_Result")


def redact(url: str) -> str:
    """Return `url` as it may be shown: no user info, no query, no fragment."""
    if "://" not in url:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return scrub(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def scrub(text: str) -> str:
    """Return a foreign error text with anything that looks like a credential taken out."""
    text = _URL_USER.sub(r"\1", _URL_QUERY.sub(r"\1", text))
    return _SECRET.sub(lambda found: f"{found[1] or found[2]}***", text)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status behind an error of any client library, if there is one."""
    seen: BaseException | None = error
    while seen is not None:
        response = getattr(seen, "response", None)
        if isinstance(response, dict):  # botocore
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) or None
        for name in ("status", "status_code", "code"):  # aiohttp, azure, gcsfs
            value = getattr(seen, name, None)
            if isinstance(value, int | str) and str(value).isdigit():
                return int(value)
        seen = seen.__cause__ or seen.__context__
    return None


def is_unclear(error: BaseException) -> bool:
    """Whether a request may have been carried out although it failed: no answer, or a 5xx."""
    status = status_of(error)
    return status is None or status >= 500


class Transient(StoreError):
    """A failure that may pass: the same request is worth sending again.

    Attributes
    ----------
    wait : float
        Seconds that the server asked to wait for.
    """

    wait = 0.0


class TransientTimeout(Transient, StoreTimeoutError):
    """No answer in time, which may pass too."""


class Exhausted(Exception):
    """A failure that may pass, but has outlasted a client's own retries; its cause says which."""


def translate(error: BaseException, *, url: str, doing: str) -> ZTensorError:
    """Return the error of our tree that stands for a foreign one."""
    if isinstance(error, ZTensorError):
        return error.at(url=url)
    if isinstance(error, Exhausted) and error.__cause__ is not None:
        return _final(translate(error.__cause__, url=url, doing=doing))
    status = status_of(error)
    # Azure's client adds the whole answer below.
    reason = scrub(str(error).strip().partition("\n")[0] or type(error).__name__)
    if isinstance(error, FileNotFoundError) or status == 404:
        missing = (
            "there is no such bucket" if _NO_BUCKET.search(reason) else "nothing is stored there"
        )
        return NotFoundError(f"can't {doing}: {missing}", url=url)
    if "Credential" in type(error).__name__:  # of botocore, google.auth, azure.identity
        return AccessDeniedError(
            f"can't {doing}: no credentials were found ({reason}); give them in storage_options, "
            "or anon=True for what is public",
            url=url,
        )
    if isinstance(error, PermissionError) or status in (401, 403):
        return AccessDeniedError(
            f"can't {doing}: access denied ({reason}); check the credentials in storage_options "
            "and the permissions on the object",
            url=url,
        )
    if status == 412:
        return ObjectChangedError(
            "the object was replaced after it was opened; open it again", url=url
        )
    if isinstance(error, TimeoutError):
        return TransientTimeout(f"can't {doing}: the store did not answer in time", url=url)
    message = f"can't {doing}: {type(error).__name__}: {reason}"
    if status not in _RETRIED and not _may_pass(error):
        return StoreError(message, url=url)
    failure = Transient(message, url=url)
    failure.wait = _retry_after(error)
    return failure


def _retry_after(error: BaseException) -> float:
    """Return the seconds that the server asks to wait for (RFC 9110 §10.2.3), 0 where it does not.

    Dates are not read: they would compare two clocks.
    """
    headers: Any = getattr(error, "headers", None)
    if headers is None:
        headers = getattr(getattr(error, "response", None), "headers", None)
    text = headers.get("Retry-After") if hasattr(headers, "get") else None
    return float(text) if text is not None and re.fullmatch(r"\d{1,9}", str(text)) else 0.0


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError | EOFError):
        return True
    names = " ".join(kind.__name__ for kind in type(error).__mro__)
    return any(word in names for word in _PASSING) and not any(word in names for word in _LASTING)


def by_client(fs: Any, operation: Callable[[], _Result]) -> _Result:
    """Run calls of a filesystem; those that may fail in passing are not repeated twice over.

    The clients of object stores have retries of their own, up to a minute of them, which
    would multiply with ours.
    """
    try:
        return operation()
    except Exception as error:
        if _WITH_RETRIES.isdisjoint(kind.__name__ for kind in type(fs).__mro__):
            raise
        raise Exhausted from error


def guarded(operation: Callable[[], _Result], *, url: str, doing: str) -> _Result:
    """Run `operation`; what it raises arrives as an error of our tree.

    The foreign error is not chained: its text and request may hold signed URLs.
    """
    try:
        return operation()
    except Exception as error:
        failure = translate(error, url=url, doing=doing)
    raise failure


def retried(
    operation: Callable[[], _Result],
    *,
    url: str,
    doing: str,
    progress: Callable[[], int] = lambda: 0,
    pause: Callable[[float], object] | None = None,
) -> _Result:
    """Run `operation` as `guarded` does, again while it fails in a way that may pass.

    Parameters
    ----------
    progress : callable
        Tells the bytes that have arrived: a failure after many of them is as good as a first one.
    pause : callable
        Waits for some seconds, ``time.sleep`` by default.
    """
    attempt, reached = 0, progress()
    while True:
        try:
            return guarded(operation, url=url, doing=doing)
        except Transient as error:
            failure = error
        if progress() - reached >= _PROGRESS:
            attempt, reached = 0, progress()
        attempt += 1
        if attempt == ATTEMPTS:
            failure.message += f" (tried {ATTEMPTS} times)"
            raise _final(failure)
        seconds = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)
        seconds = max(seconds, min(failure.wait, _LONGEST_WAIT))
        guarded(partial(pause or time.sleep, seconds), url=url, doing=doing)


def _final(failure: ZTensorError) -> ZTensorError:
    """Return a failure as one that is not worth repeating."""
    if not isinstance(failure, Transient):
        return failure
    kind = StoreTimeoutError if isinstance(failure, StoreTimeoutError) else StoreError
    return kind(failure.message, url=failure.url)
