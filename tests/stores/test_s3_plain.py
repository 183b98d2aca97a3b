"""S3 without s3fs: only where nothing is left to find out, and with the signatures of others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers.proxy import Proxy, Request
from tests.servers.s3 import S3Endpoint
from ztensor_remote.errors import AccessDeniedError
from ztensor_remote.stores import Location, locate, open_source
from ztensor_remote.stores.s3_plain import PlainS3Source, plain_s3

from .backends import MakeBackend, StoreBackend, Through

DATA = bytes(range(256)) * 100
NAMES = ["object", "a b/ü+%&=.zt", "deep/er/äöü.zt"]
PLAIN = {"key": "k", "secret": "s", "endpoint_url": "http://127.0.0.1:1"}
PROGRAM = """
import sys
import ztensor_remote.stores as stores
location = stores.locate(sys.argv[1], storage_options={
    "key": sys.argv[2], "secret": sys.argv[3], "endpoint_url": sys.argv[4]})
source, tail = stores.open_source(location, window=10)
memory = memoryview(bytearray(100))
source.read_into(500, memory)
print(bytes(memory).hex(), *sorted({"s3fs", "fsspec", "aiobotocore", "asyncio"} & {*sys.modules}))
"""


@pytest.fixture(autouse=True)
def settings_of_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


# These two verify signatures, of each kind of request.
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("store", ["rclone", "ministack", "moto"])
def test_signatures_are_accepted(store: str, name: str, backend_of: MakeBackend) -> None:
    backend = backend_of(store)
    assert isinstance(backend, StoreBackend)
    backend.put(name, DATA)
    source, tail = open_source(plain_location(backend, name), window=10)
    assert isinstance(source, PlainS3Source)
    assert bytes(tail) == DATA[-10:]
    assert source.stats.fallback is None


def plain_location(backend: StoreBackend, name: str, **changes: Any) -> Location:
    options = {**backend.endpoint.storage_options, **changes}
    options.pop("config_kwargs", None)
    return locate(backend.endpoint.uri(backend.key(name)), storage_options=options)


def test_nothing_of_s3fs_is_imported(backend_of: MakeBackend) -> None:
    backend = backend_of("ministack")
    assert isinstance(backend, StoreBackend) and isinstance(backend.endpoint, S3Endpoint)
    backend.put("object", DATA)
    options = backend.endpoint.storage_options
    answer = subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM, f"s3://{backend.key('object')}"),
            *(options["key"], options["secret"], backend.endpoint.url),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == [DATA[500:600].hex()]


def test_wrong_keys_are_denied(backend_of: MakeBackend) -> None:
    backend = backend_of("rclone")
    assert isinstance(backend, StoreBackend)
    backend.put("object", DATA)
    location = plain_location(backend, "object", secret="wrong")
    with pytest.raises(AccessDeniedError) as caught:
        open_source(location, window=10)
    assert "wrong" not in str(caught.value)


def test_what_a_server_refuses_is_left_to_s3fs(backend_of: MakeBackend, through: Through) -> None:
    backend = backend_of("moto")
    assert isinstance(backend, StoreBackend)
    backend.put("object", DATA)
    location, proxy = through(backend, "object")
    refuse_signed_urls(proxy)
    source, tail = open_source(location, window=10)
    assert bytes(tail) == DATA[-10:]
    assert "refused a plain request" in str(source.stats.fallback)


def refuse_signed_urls(proxy: Proxy) -> None:
    from tests.servers.faults import Status

    def refuse(request: Request) -> Any:
        return Status(403) if "X-Amz-Signature" in request.query else None

    proxy.fault = refuse


class TestWhatIsPlain:
    def found(self, url: str = "s3://bucket/a/key", **options: Any) -> Any:
        return plain_s3(locate(url, storage_options=options))

    def test_keys_and_endpoint(self) -> None:
        plain = self.found(**PLAIN, token="t")
        assert (plain.bucket, plain.key, plain.region) == ("bucket", "a/key", "us-east-1")
        assert plain.credentials["session_token"] == "t"
        assert "'s'" not in repr(plain)

    def test_anonymous(self) -> None:
        plain = self.found(anon=True, endpoint_url="http://127.0.0.1:1/")
        assert plain.signed() == "http://127.0.0.1:1/bucket/a/key"

    def test_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        assert self.found().region == "eu-central-1"

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"key": "k", "secret": "s"},  # Amazon's own endpoints have rules of their own
            {**PLAIN, "endpoint_url": "https://s3.eu-central-1.amazonaws.com"},
            {**PLAIN, "requester_pays": True},
            {**PLAIN, "profile": "p"},
            {**PLAIN, "config_kwargs": {"s3": {"addressing_style": "virtual"}}},
            {**PLAIN, "client_kwargs": {"use_ssl": False}},
            {"endpoint_url": "http://127.0.0.1:1"},
        ],
    )
    def test_others_are_left_to_s3fs(self, options: dict[str, Any]) -> None:
        assert self.found(**options) is None

    @pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/key?versionId=1", "gs://b/k"])
    def test_other_addresses(self, url: str) -> None:
        assert self.found(url, **PLAIN) is None

    @pytest.mark.parametrize(
        "configure",
        [
            lambda patch: patch.setenv("AWS_PROFILE", "p"),
            lambda patch: patch.setenv("AWS_USE_FIPS_ENDPOINT", "true"),
            lambda patch: patch.setenv("HTTPS_PROXY", "http://127.0.0.1:1"),
            lambda patch: patch.setenv("FSSPEC_S3_KEY", "k"),
            lambda patch: (Path.home() / ".aws").mkdir() or (Path.home() / ".aws/config").touch(),
        ],
        ids=["profile", "fips", "proxy", "fsspec", "file"],
    )
    def test_settings_from_elsewhere(
        self, configure: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configure(monkeypatch)
        assert self.found(**PLAIN) is None
