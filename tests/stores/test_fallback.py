"""What plain requests can't honour is left to the filesystem's client, and `stats` says why."""

from __future__ import annotations

import base64
import os
import pickle
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import fsspec
import pytest
from fsspec.implementations.http import get_client

from tests.servers.certificates import Certificates
from tests.servers.faults import Status
from tests.servers.http import HttpServer
from tests.servers.proxy import Proxy
from tests.servers.s3 import S3Endpoint
from ztensor_remote.errors import StoreError
from ztensor_remote.stores import Location, Source, locate, open_source
from ztensor_remote.stores.s3_plain import PlainS3Source

from .backends import HttpBackend, MakeBackend, StoreBackend, Through

DATA = os.urandom(50_000)
SECRET = "c0ffee"


@dataclass
class S3:
    """An object in S3 behind a proxy, opened with more options than usual."""

    backend: StoreBackend
    location: Location
    proxy: Proxy

    def with_options(self, **options: Any) -> Location:
        return replace(self.location, storage_options={**self.location.storage_options, **options})


@pytest.fixture
def s3(backend_of: MakeBackend, through: Through) -> S3:
    backend = backend_of("moto")
    assert isinstance(backend, StoreBackend)
    backend.put("object", DATA)
    return S3(backend, *through(backend, "object"))


def read(location: Location) -> Source:
    """Read the object, all of it and a part."""
    source, tail = open_source(location, window=len(DATA))
    assert bytes(tail) == DATA
    part = bytearray(1000)
    source.read_into(500, memoryview(part))
    assert bytes(part) == DATA[500:1500]
    return source


class TestS3:
    def test_nothing_special(self, s3: S3) -> None:
        for options in ({}, {"config_kwargs": {"connect_timeout": 9}}):
            assert read(s3.with_options(**options)).stats.fallback is None

    def test_keys_of_the_caller(self, s3: S3) -> None:
        key = base64.b64encode(SECRET.encode() * 5 + b"xx").decode()
        named = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}
        source = read(s3.with_options(s3_additional_kwargs=named))
        assert "SSECustomerKey" in str(source.stats.fallback)
        sent = "x-amz-server-side-encryption-customer-key"
        assert [sent in request.headers for request in s3.proxy.requests] == [True, True]
        assert_secret_is_kept(source, key)

    def test_the_requester_pays(self, s3: S3) -> None:
        source = read(s3.with_options(requester_pays=True))
        assert "RequestPayer" in str(source.stats.fallback)
        payers = [request.headers.get("x-amz-request-payer") for request in s3.proxy.requests]
        assert payers == ["requester", "requester"]

    def test_a_signer_of_ones_own(self, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
        from aiobotocore import signers

        known = signers.botocore.auth.AUTH_TYPE_MAPS
        monkeypatch.setitem(known, "acme", known["s3v4"])
        source = read(s3.with_options(config_kwargs={"signature_version": "acme"}))
        assert "can't sign" in str(source.stats.fallback)

    def test_headers_that_are_signed(self, s3: S3) -> None:
        fs = fsspec.filesystem("s3", skip_instance_cache=True, **s3.location.storage_options)
        fs.connect()

        def add(request: Any, **_: Any) -> None:
            request.headers["x-amz-acme"] = "1"

        fs.s3.meta.events.register("before-sign.s3.GetObject", add)
        source = read(locate(s3.backend.key("object"), fs=fs))
        assert "x-amz-acme" in str(source.stats.fallback)
        assert all("x-amz-acme" in request.headers for request in s3.proxy.requests)

    def test_sockets_of_ones_own(self, s3: S3) -> None:
        location = s3.with_options(config_kwargs={"connector_args": {"keepalive_timeout": 5}})
        assert read(location).stats.fallback is None
        named = {"connector_args": {"family": socket.AF_INET}}
        try:
            source = read(s3.with_options(config_kwargs=named))
        except StoreError as error:  # newer clients refuse what they do not know
            assert "connector_args" in str(error) or "ParamValidation" in str(error)
        else:
            assert "family" in str(source.stats.fallback)

    def test_through_a_proxy_that_wants_a_password(
        self, s3: S3, recording: Any, moto: S3Endpoint
    ) -> None:
        _, between = recording(moto)
        url = between.url.replace("http://", f"http://me:{SECRET}@")
        options = {**moto.storage_options, "config_kwargs": {"proxies": {"http": url}}}
        source = read(locate(s3.location.path, storage_options=options))
        assert source.stats.fallback is None
        wanted = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()
        assert {request.headers["proxy-authorization"] for request in between.requests} == {wanted}
        assert between.count() == 2
        assert_secret_is_kept(source, SECRET)

    def test_a_proxy_of_another_kind(self, s3: S3) -> None:
        proxies = {"http": "https://127.0.0.1:1"}
        location = s3.with_options(
            config_kwargs={"proxies": proxies, "retries": {"max_attempts": 0}}
        )
        location.storage_options["config_kwargs"]["retries"]["mode"] = "standard"
        fs, path = location.resolve()
        from ztensor_remote.stores import Limits
        from ztensor_remote.stores.s3 import S3Source
        from ztensor_remote.stores.target import NoTarget

        with pytest.raises(NoTarget, match="proxy of kind https"):
            S3Source(location, fs, path, Limits()).sign(None)

    def test_what_the_server_refuses(self, s3: S3) -> None:
        s3.proxy.fault = lambda request: (
            Status(403, b"<Code>Nope</Code>") if "X-Amz-Signature" in request.query else None
        )
        assert "refused a plain request (403 Nope)" in str(read(s3.location).stats.fallback)


class TestTLS:
    @pytest.fixture
    def served(
        self, request: pytest.FixtureRequest, moto: S3Endpoint, certificates: Certificates
    ) -> Iterator[Proxy]:
        context = certificates.context(wants_client=getattr(request, "param", False))
        with Proxy(moto.url, context) as proxy:
            yield proxy

    def location(self, s3: S3, proxy: Proxy, *, plain: bool, **client: Any) -> Location:
        options = dict(s3.backend.endpoint.at(proxy.url).storage_options)
        options["client_kwargs"] = {**options["client_kwargs"], **client}
        if not plain:
            options["use_listings_cache"] = False
        return locate(s3.location.path, storage_options=options)

    @pytest.mark.parametrize("plain", [True, False])
    def test_whom_the_caller_trusts(
        self, s3: S3, served: Proxy, certificates: Certificates, plain: bool
    ) -> None:
        for verify in (str(certificates.authority), False):
            source = read(self.location(s3, served, plain=plain, verify=verify))
            assert isinstance(source, PlainS3Source) == plain
            assert source.stats.fallback is None
        served.clear()
        with pytest.raises(StoreError, match=r"(?i)certificate|SSL"):
            location = self.location(s3, served, plain=plain)
            location.storage_options["config_kwargs"] = {"retries": {"max_attempts": 0}}
            read(location)
        assert served.count() == 0

    @pytest.mark.parametrize("served", [True], indirect=True)
    def test_certificates_of_clients(
        self, s3: S3, served: Proxy, certificates: Certificates
    ) -> None:
        location = self.location(s3, served, plain=False, verify=str(certificates.authority))
        files = tuple(map(str, certificates.client))
        location.storage_options["config_kwargs"] = {"client_cert": files}
        assert "client certificate" in str(read(location).stats.fallback)

    def test_web_servers(self, backend_of: MakeBackend, certificates: Certificates) -> None:
        backend = backend_of("http")
        assert isinstance(backend, HttpBackend)
        backend.put("object", DATA)
        trusting = ssl.create_default_context(cafile=certificates.authority)
        with HttpServer(backend.folder, certificates.context()) as server:
            url = f"{server.url}/object"
            for setting in (trusting, False):
                location = locate(url, storage_options={"ssl": setting})
                assert read(location).stats.fallback is None
            with pytest.raises(StoreError, match=r"(?i)certificate"):
                read(locate(url))


def in_a_way_of_ones_own(**options: Any) -> Any:
    return get_client(**options)


class TestWebServers:
    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"client_kwargs": {"trust_env": True}}, "trust_env"),
            ({"cookies": {"session": SECRET}}, "cookies"),
            ({"get_client": in_a_way_of_ones_own}, "way of its own"),
        ],
    )
    def test_what_is_for_aiohttp(
        self, backend_of: MakeBackend, options: dict[str, Any], reason: str
    ) -> None:
        backend = backend_of("http")
        backend.put("object", DATA)
        location = locate(backend.location("object").path, storage_options=options)
        source = read(location)
        assert reason in str(source.stats.fallback)
        assert_secret_is_kept(source, SECRET)

    @pytest.mark.parametrize(
        "options",
        [
            {"headers": {"Authorization": f"Bearer {SECRET}"}},
            {"client_kwargs": {"headers": {"Authorization": f"Bearer {SECRET}"}}},
            {},
        ],
    )
    @pytest.mark.usefixtures("both_ways")
    def test_credentials_stay_with_the_first_server(
        self, backend_of: MakeBackend, through: Through, recording: Any, options: dict[str, Any]
    ) -> None:
        backend = backend_of("http")
        assert isinstance(backend, HttpBackend)
        backend.put("object", DATA)
        location, first = through(backend, "object")
        elsewhere, other = recording(backend.server.endpoint)
        first.fault = lambda request: Status(
            302, headers=(("Location", f"{elsewhere.url}/object?sig=signed"),)
        )
        user = "" if options else f"me:{SECRET}@"
        path = location.path.replace("http://", f"http://{user}")
        source = read(locate(path, storage_options=options))
        first.fault = lambda request: None
        assert_secret_is_kept(source, SECRET)
        assert {"authorization" in request.headers for request in first.requests} == {True}
        assert {"authorization" in request.headers for request in other.requests} == {False}
        assert other.count(status=206) == 2


class TestOthers:
    def test_sessions_of_gcs(self, backend_of: MakeBackend) -> None:
        backend = backend_of("gcs")
        assert isinstance(backend, StoreBackend)
        backend.put("object", DATA)
        options = {**backend.endpoint.storage_options, "session_kwargs": {"trust_env": True}}
        source = read(locate(backend.location("object").path, storage_options=options))
        assert "session_kwargs" in str(source.stats.fallback)

    def test_requester_pays_in_gcs(self, backend_of: MakeBackend, through: Through) -> None:
        backend = backend_of("gcs")
        assert isinstance(backend, StoreBackend)
        backend.put("object", DATA)
        location, proxy = through(backend, "object")
        options = {**location.storage_options, "requester_pays": "payer"}
        assert read(replace(location, storage_options=options)).stats.fallback is None
        assert {request.query["userProject"] for request in proxy.requests} == {"payer"}

    def test_azure_goes_through_the_proxy_of_the_environment(
        self, backend_of: MakeBackend, recording: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        backend = backend_of("azure")
        assert isinstance(backend, StoreBackend)
        backend.put("object", DATA)
        _, between = recording(backend.endpoint)
        for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", between.url)
        assert read(backend.location("object")).stats.fallback is None
        assert between.count() == 3


def assert_secret_is_kept(source: Source, secret: str) -> None:
    shown = [repr(source), str(source.stats), repr(source.identity), source.url]
    shown += [repr(getattr(source, name, None)) for name in ("location", "_lane", "_plain")]
    with pytest.raises(StoreError) as caught:
        open_source(replace(source.location, path=source.location.path + "/no"), window=9)  # type: ignore[attr-defined]
    shown += [str(caught.value), repr(caught.value), repr(pickle.dumps(caught.value))]
    assert secret not in " ".join(shown)
