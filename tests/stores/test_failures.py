"""Foreign failures become ours, tell nothing secret, and are repeated where that may help."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from azure.core.exceptions import (
    HttpResponseError,
    ResourceModifiedError,
    ServiceRequestError,
    ServiceResponseError,
)
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError

from ztensor_remote.errors import (
    AccessDeniedError,
    FormatError,
    NotFoundError,
    ObjectChangedError,
    StoreError,
    StoreTimeoutError,
    ZTensorError,
)
from ztensor_remote.stores import failures
from ztensor_remote.stores.failures import (
    ATTEMPTS,
    Exhausted,
    Transient,
    guarded,
    redact,
    retried,
    scrub,
    status_of,
    translate,
)

URL = "s3://bucket/model.zt"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/a b.zt", "s3://bucket/a b.zt"),
        ("/home/me/model.zt", "/home/me/model.zt"),
        ("https://host:8080/a.zt?X-Amz-Signature=c0ffee#part", "https://host:8080/a.zt"),
        ("https://me:pass@host/a.zt", "https://host/a.zt"),
        ("sftp://me@host/a.zt", "sftp://host/a.zt"),
        ("http://[::1/a.zt?sig=c0ffee", "http://[::1/a.zt"),
    ],
)
def test_redact(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.parametrize(
    "text",
    [
        "GET https://host/key?X-Amz-Credential=c0ffee&X-Amz-Signature=c0ffee failed",
        "url: /key?X-Amz-Credential=c0ffee%2F20260101&X-Amz-Signature=c0ffee",
        "could not reach https://me:c0ffee@host/key",
        "Authorization: Bearer c0ffee.c0ffee.c0ffee",
        "{'Authorization': 'Bearer c0ffee'}",
        "Authorization: Basic c0ffee=",
        "AWS4-HMAC-SHA256 Credential=c0ffee/20260101, SignedHeaders=host, Signature=c0ffee",
        "aws_secret_access_key=c0ffee aws_access_key_id=c0ffee",
        "AWSAccessKeyId=c0ffee",
        '{"access_token": "c0ffee", "refresh_token":"c0ffee"}',
        '{"type": "service_account", "private_key": "-----BEGIN KEY-----\\nc0ffee c0ffee"}',
        "AccountName=me;AccountKey=c0ffee==;EndpointSuffix=core.windows.net",
        "SharedAccessSignature=sv=2026&sig=c0ffee%3D",
        "az://container/key?sv=2026&sig=c0ffee",
        "password='c0ffee c0ffee'",
        "api_key: c0ffee",
    ],
)
def test_scrub_takes_secrets_out(text: str) -> None:
    assert "c0ffee" in text
    assert "c0ffee" not in scrub(text)


@pytest.mark.parametrize(
    "text",
    [
        "NoSuchKey: The specified key does not exist.",
        "Could not connect to the endpoint URL: https://host:9000/bucket/key",
        "Response payload is not completed (received 5 of 10 bytes)",
    ],
)
def test_scrub_leaves_the_rest(text: str) -> None:
    assert scrub(text) == text


def botocore_error(status: int, code: str) -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": "words"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, "GetObject")


def wrapped(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def aiohttp_error(status: int) -> aiohttp.ClientResponseError:
    info = aiohttp.RequestInfo("https://host/key?sig=c0ffee", "GET", None, None)  # type: ignore[arg-type]
    return aiohttp.ClientResponseError(info, (), status=status, message="words")


def azure_error(status: int, kind: type[HttpResponseError] = HttpResponseError) -> Exception:
    error = kind("words\nRequestId: 1\n<Error>\n</Error>")
    error.status_code = status
    return error


CASES: list[tuple[Exception, type[ZTensorError]]] = [
    (FileNotFoundError("key"), NotFoundError),
    (aiohttp_error(404), NotFoundError),
    (wrapped(FileNotFoundError("key"), botocore_error(404, "NoSuchKey")), NotFoundError),
    (PermissionError("words"), AccessDeniedError),
    (aiohttp_error(401), AccessDeniedError),
    (azure_error(403), AccessDeniedError),
    (wrapped(PermissionError("words"), botocore_error(403, "AccessDenied")), AccessDeniedError),
    (aiohttp_error(412), ObjectChangedError),
    (azure_error(412, ResourceModifiedError), ObjectChangedError),
    (wrapped(OSError(22, "words"), botocore_error(412, "PreconditionFailed")), ObjectChangedError),
    (aiohttp_error(503), Transient),
    (azure_error(500), Transient),
    (wrapped(OSError(16, "words"), botocore_error(503, "SlowDown")), Transient),
    (ConnectionResetError(), Transient),
    (aiohttp.ServerDisconnectedError(), Transient),
    (aiohttp.ClientPayloadError("words"), Transient),
    (aiohttp.ClientOSError(104, "words"), Transient),
    (EndpointConnectionError(endpoint_url="https://host"), Transient),
    (ConnectTimeoutError(endpoint_url="https://host"), Transient),
    (ServiceRequestError("words"), Transient),
    (ServiceResponseError("words"), Transient),
    (asyncio.IncompleteReadError(b"", 5), Transient),
    (TimeoutError(), StoreTimeoutError),
    (aiohttp.ServerTimeoutError(), StoreTimeoutError),
    (aiohttp_error(400), StoreError),
    (ValueError("words"), StoreError),
    (FormatError("words"), FormatError),
]


@pytest.mark.parametrize(("error", "kind"), CASES, ids=[repr(error) for error, _ in CASES])
def test_translate(error: Exception, kind: type[ZTensorError]) -> None:
    failure = translate(error, url=URL, doing="read it")
    assert isinstance(failure, kind)
    assert isinstance(failure, Transient) == (kind in (Transient, StoreTimeoutError))
    assert URL in str(failure)
    assert "c0ffee" not in str(failure)
    assert "\n" not in str(failure)
    assert str(pickle.loads(pickle.dumps(failure))) == str(failure)


def test_a_failure_without_words_has_a_name() -> None:
    assert "ValueError" in str(translate(ValueError(), url=URL, doing="read it"))


def test_a_place_that_is_known_already_stays() -> None:
    error = translate(StoreError("words", url="s3://other"), url=URL, doing="read it")
    assert error.url == "s3://other"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (botocore_error(409, "Conflict"), 409),
        (wrapped(OSError(22, "words"), botocore_error(412, "PreconditionFailed")), 412),
        (aiohttp_error(416), 416),
        (azure_error(416), 416),
        (wrapped(Exhausted(), aiohttp_error(404)), 404),
        (ValueError("404"), None),
        (OSError(5, "words"), None),
    ],
)
def test_status_of(error: Exception, status: int | None) -> None:
    assert status_of(error) == status


def test_guarded_does_not_chain_the_foreign_error() -> None:
    def fail() -> None:
        raise ValueError("https://host/key?sig=c0ffee")

    with pytest.raises(StoreError) as caught:
        guarded(fail, url=URL, doing="read it")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


class TestRetried:
    @pytest.fixture(autouse=True)
    def pauses(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        pauses: list[float] = []
        monkeypatch.setattr(failures.time, "sleep", pauses.append)
        return pauses

    def failing(self, count: int, error: Exception) -> Callable[[], int]:
        """Return an operation that fails this often, then returns how often it was called."""
        calls = 0

        def operation() -> int:
            nonlocal calls
            calls += 1
            if calls <= count:
                raise error
            return calls

        return operation

    @pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError(), aiohttp_error(503)])
    def test_until_it_works(self, error: Exception, pauses: list[float]) -> None:
        operation = self.failing(ATTEMPTS - 1, error)
        assert retried(operation, url=URL, doing="read it") == ATTEMPTS
        assert len(pauses) == ATTEMPTS - 1
        assert all(pause > 0 for pause in pauses)
        assert sum(pauses) < 10

    @pytest.mark.parametrize(
        ("error", "kind"),
        [(ConnectionResetError(), StoreError), (TimeoutError(), StoreTimeoutError)],
    )
    def test_until_it_gives_up(self, error: Exception, kind: type[StoreError]) -> None:
        operation = self.failing(99, error)
        with pytest.raises(kind, match=f"tried {ATTEMPTS} times") as caught:
            retried(operation, url=URL, doing="read it")
        # Whoever repeats the whole must not take it for one that may pass.
        assert type(caught.value) is kind

    @pytest.mark.parametrize(
        "error",
        [
            FileNotFoundError(),
            PermissionError(),
            ValueError("words"),
            wrapped(Exhausted(), ConnectionResetError()),
            wrapped(Exhausted(), TimeoutError()),
        ],
    )
    def test_not_where_it_can_not_help(self, error: Exception, pauses: list[float]) -> None:
        with pytest.raises(StoreError):
            retried(self.failing(1, error), url=URL, doing="read it")
        assert pauses == []
