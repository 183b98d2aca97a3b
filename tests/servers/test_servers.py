"""The servers do what other tests rely on, through the fsspec client that each is for."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests.conftest import Recording
from tests.servers.endpoint import StoreEndpoint
from tests.servers.faults import (
    Chunked,
    CorruptByte,
    CutResponse,
    Delay,
    Drip,
    DropResponse,
    Full,
    Headers,
    Reset,
    ShortBody,
    Stall,
    Status,
)
from tests.servers.gcs import GcsEndpoint
from tests.servers.http import HttpEndpoint, HttpServer
from tests.servers.process import ServerFailedError, ServerProcess, free_port
from tests.servers.proxy import Proxy
from tests.servers.rclone import rclone_server
from tests.servers.s3 import S3Endpoint

STORES = ["moto", "ministack", "rclone", "gcs", "strict_gcs", "azure"]
MIB = 1 << 20
TEXT = b"0123456789"

Bucket = Callable[[StoreEndpoint], str]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def get(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Make one plain request; underscores in header names stand for hyphens."""
    address, _, path = url.removeprefix("http://").partition("/")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(http.client.HTTPConnection(address, timeout=30)) as connection:
        connection.request(method, f"/{path}", headers=named)
        response = connection.getresponse()
        answered = {name.lower(): value for name, value in response.getheaders()}
        return response.status, answered, response.read()


def assert_stops_listening(url: str) -> None:
    """Wait for the end of a server that is being killed."""
    port = int(url.rpartition(":")[2])
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.01)
    pytest.fail(f"{url} still takes connections")


class TestStores:
    def test_put_get_range_and_list(self, store: StoreEndpoint, bucket: Bucket) -> None:
        key = f"{bucket(store)}/folder/key"
        client = store.filesystem()
        client.pipe_file(key, TEXT)
        assert client.cat_file(key, start=2, end=5) == b"234"
        assert client.ls(os.path.dirname(key), detail=False) == [key]

    def test_through_the_proxy_every_request_is_counted(
        self, store: StoreEndpoint, bucket: Bucket, recording: Recording
    ) -> None:
        key = f"{bucket(store)}/key"
        recorded, proxy = recording(store)
        client = recorded.filesystem()
        client.pipe_file(key, TEXT)
        assert [request.method for request in proxy.requests][-1] in ("PUT", "POST")
        assert sum(request.request_bytes for request in proxy.requests) >= len(TEXT)
        proxy.clear()

        assert client.cat_file(key, start=2, end=5) == b"234"
        ranges = [request for request in proxy.requests if request.range == "bytes=2-4"]
        assert len(ranges) == 1
        assert ranges[0].response_bytes == 3
        assert ranges[0].path.endswith("/key")

    # aiohttp says so of what gcsfs and adlfs pass to it; neither lets its caller choose.
    @pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
    def test_uploads_in_parts_go_through_the_proxy(
        self, store: StoreEndpoint, bucket: Bucket, recording: Recording
    ) -> None:
        key = f"{bucket(store)}/key"
        content = os.urandom(11 * MIB)
        recorded, proxy = recording(store)
        client = recorded.filesystem()
        with client.open(key, "wb", block_size=5 * MIB) as file:
            # By halves: s3fs makes one part of what comes in one write.
            file.write(content[: 6 * MIB])
            file.write(content[6 * MIB :])
        assert sum(request.request_bytes for request in proxy.requests) >= len(content)
        assert client.cat_file(key) == content

    def test_bad_condition_is_refused_where_the_server_has_conditions(
        self, ministack: S3Endpoint, bucket: Bucket, recording: Recording
    ) -> None:
        name = bucket(ministack)
        recorded, proxy = recording(ministack)
        client = recorded.filesystem()
        client.call_s3("put_object", Bucket=name, Key="k", Body=TEXT, IfNoneMatch="*")
        with pytest.raises(OSError):
            client.call_s3("put_object", Bucket=name, Key="k", Body=b"", IfNoneMatch="*")
        assert proxy.count(method="PUT", status=412) == 1

    def test_moto_refuses_small_parts(self, moto: S3Endpoint, bucket: Bucket) -> None:
        client = moto.filesystem()
        where = {"Bucket": bucket(moto), "Key": "k"}
        upload = client.call_s3("create_multipart_upload", **where)["UploadId"]
        parts = [
            {
                "PartNumber": number,
                "ETag": client.call_s3(
                    "upload_part", **where, UploadId=upload, PartNumber=number, Body=TEXT
                )["ETag"],
            }
            for number in (1, 2)
        ]
        with pytest.raises(OSError, match="smaller than the minimum"):
            client.call_s3(
                "complete_multipart_upload",
                **where,
                UploadId=upload,
                MultipartUpload={"Parts": parts},
            )

    @pytest.mark.parametrize("name", ["moto", "ministack", "rclone"])
    def test_presigned_urls_stay_valid_through_the_proxy(
        self, name: str, bucket: Bucket, recording: Recording, request: pytest.FixtureRequest
    ) -> None:
        server: S3Endpoint = request.getfixturevalue(name)
        key = f"{bucket(server)}/key"
        server.filesystem().pipe_file(key, TEXT)
        recorded, proxy = recording(server)
        options = recorded.storage_options
        options["config_kwargs"] = {"signature_version": "s3v4"}
        url = fsspec.filesystem("s3", skip_instance_cache=True, **options).sign(key)
        _, headers, body = get(url, Range="bytes=2-4")
        assert (headers["content-range"], body) == ("bytes 2-4/10", b"234")
        proxy.fault = lambda request: Full()
        assert get(url, Range="bytes=2-4")[2] == TEXT

    def test_gcs_serves_plain_urls_through_the_proxy(
        self, gcs: GcsEndpoint, bucket: Bucket, recording: Recording
    ) -> None:
        key = f"{bucket(gcs)}/key"
        gcs.filesystem().pipe_file(key, TEXT)
        recorded, _ = recording(gcs)
        status, headers, body = get(f"{recorded.url}/{key}", Range="bytes=-4")
        assert (status, headers["content-range"], body) == (206, "bytes 6-9/10", b"6789")


class TestHttpServer:
    @pytest.fixture(autouse=True)
    def url(self, http_server: HttpServer, tmp_path: Path) -> str:
        (tmp_path / "a file").write_bytes(TEXT)
        (tmp_path / "empty").touch()
        return http_server.endpoint.uri("a%20file")

    def test_is_readable_through_fsspec(self, http_server: HttpServer, url: str) -> None:
        client = http_server.endpoint.filesystem()
        assert client.cat_file(url, start=2, end=5) == b"234"
        assert client.info(url)["size"] == 10

    @pytest.mark.parametrize(
        ("wanted", "content_range", "body"),
        [
            ("bytes=2-4", "bytes 2-4/10", b"234"),
            ("bytes=7-", "bytes 7-9/10", b"789"),
            ("bytes=7-99", "bytes 7-9/10", b"789"),
            ("bytes=-3", "bytes 7-9/10", b"789"),
            ("bytes=-99", "bytes 0-9/10", TEXT),
        ],
    )
    def test_ranges(self, url: str, wanted: str, content_range: str, body: bytes) -> None:
        status, headers, received = get(url, Range=wanted)
        assert (status, headers["content-range"], received) == (206, content_range, body)

    @pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=-0"])
    def test_range_outside_the_file(self, url: str, wanted: str) -> None:
        status, headers, _ = get(url, Range=wanted)
        assert (status, headers["content-range"]) == (416, "bytes */10")

    def test_suffix_of_an_empty_file(self, http_server: HttpServer) -> None:
        assert get(http_server.endpoint.uri("empty"), Range="bytes=-1")[0] == 416
        assert get(http_server.endpoint.uri("empty"))[::2] == (200, b"")

    @pytest.mark.parametrize("wanted", ["bytes=4-2", "bytes=0-1,3-4", "lines=1-2"])
    def test_range_to_ignore(self, url: str, wanted: str) -> None:
        assert get(url, Range=wanted)[::2] == (200, TEXT)

    def test_head_has_the_headers_of_get(self, url: str) -> None:
        _, of_get, _ = get(url)
        status, of_head, body = get(url, "HEAD")
        assert (status, body) == (200, b"")
        assert of_head | {"date": ""} == of_get | {"date": ""}

    def test_etag_follows_the_content(self, url: str, tmp_path: Path) -> None:
        etag = get(url)[1]["etag"]
        assert get(url, If_Match=etag)[0] == 200
        assert get(url, If_Match=f'"other", {etag}')[0] == 200
        # At once, of the same size: the file's time need not differ.
        (tmp_path / "a file").write_bytes(TEXT[::-1])
        assert get(url, If_Match=etag)[0] == 412

    @pytest.mark.parametrize("path", ["missing", "", "../secret"])
    def test_missing(self, http_server: HttpServer, tmp_path: Path, path: str) -> None:
        (tmp_path.parent / "secret").touch()
        assert get(http_server.endpoint.uri(path))[0] == 404

    def test_ignored_ranges(self, http_server: HttpServer, url: str) -> None:
        http_server.ignore_ranges = True
        status, headers, body = get(url, Range="bytes=2-4")
        assert (status, body) == (200, TEXT)
        assert "accept-ranges" not in headers

    def test_no_etag(self, http_server: HttpServer, url: str) -> None:
        http_server.no_etag = True
        status, headers, _ = get(url, If_Match='"other"')
        assert status == 200
        assert "etag" not in headers

    def test_latency(self, http_server: HttpServer, url: str) -> None:
        http_server.latency = 0.2
        begin = time.monotonic()
        get(url)
        assert time.monotonic() - begin >= 0.2

    def test_status(self, http_server: HttpServer, url: str) -> None:
        http_server.status = 503
        assert get(url)[::2] == (503, b"")


class TestProxy:
    @pytest.fixture
    def proxied(
        self, http_server: HttpServer, recording: Recording, tmp_path: Path
    ) -> tuple[str, Proxy]:
        (tmp_path / "key").write_bytes(TEXT)
        recorded, proxy = recording(http_server.endpoint)
        return recorded.uri("key"), proxy

    def test_record_of_a_request(self, proxied: tuple[str, Proxy]) -> None:
        url, proxy = proxied
        get(f"{url}?a=%2F&b", Range="bytes=2-4")
        get(url, "HEAD")
        first, second = proxy.requests
        assert (first.method, first.path, first.query) == ("GET", "/key", {"a": "/", "b": ""})
        assert (first.range, first.status, first.response_bytes) == ("bytes=2-4", 206, 3)
        assert first.headers["host"] == url.split("/")[2]
        assert (second.method, second.status, second.response_bytes) == ("HEAD", 200, 0)
        assert proxy.response_bytes == 3
        assert (proxy.count(), proxy.count(method="GET", status=206)) == (2, 1)
        proxy.clear()
        assert proxy.requests == []

    def test_connections_are_kept_alive(self, proxied: tuple[str, Proxy]) -> None:
        connection = http.client.HTTPConnection(proxied[0].split("/")[2])
        with closing(connection):
            connection.connect()
            address = connection.sock.getsockname()
            for _ in range(3):
                connection.request("GET", "/key")
                assert connection.getresponse().read() == TEXT
                assert connection.sock.getsockname() == address

    def test_chunked_and_expectant_uploads(
        self, gcs: GcsEndpoint, bucket: Bucket, recording: Recording
    ) -> None:
        name = bucket(gcs)
        recorded, proxy = recording(gcs)
        connection = http.client.HTTPConnection(recorded.url.removeprefix("http://"))
        with closing(connection):
            connection.request(
                "POST",
                f"/upload/storage/v1/b/{name}/o?uploadType=media&name=key",
                iter([TEXT, TEXT]),
                {"Expect": "100-continue"},
                encode_chunked=True,
            )
            assert connection.getresponse().status == 200
        assert proxy.requests[0].request_bytes == 20
        assert gcs.filesystem().cat_file(f"{name}/key") == TEXT + TEXT

    def test_status(self, proxied: tuple[str, Proxy]) -> None:
        url, proxy = proxied
        faults = iter([Status(503, b"later")])
        proxy.fault = lambda request: next(faults, None)
        assert get(url)[::2] == (503, b"later")
        assert get(url)[::2] == (200, TEXT)
        assert [request.status for request in proxy.requests] == [503, 200]

    def test_delay(self, proxied: tuple[str, Proxy]) -> None:
        url, proxy = proxied
        proxy.fault = lambda request: Delay(0.2)
        begin = time.monotonic()
        assert get(url)[2] == TEXT
        assert time.monotonic() - begin >= 0.2

    def test_full(self, proxied: tuple[str, Proxy]) -> None:
        url, proxy = proxied
        proxy.fault = lambda request: Full()
        assert get(url, Range="bytes=2-4")[::2] == (200, TEXT)
        assert proxy.requests[0].range == "bytes=2-4"

    def test_cut_response(self, proxied: tuple[str, Proxy]) -> None:
        url, proxy = proxied
        proxy.fault = lambda request: CutResponse(4)
        with pytest.raises(http.client.IncompleteRead) as caught:
            get(url)
        assert (caught.value.partial, caught.value.expected) == (b"0123", 6)
        assert proxy.response_bytes == 4

    def test_reset(self, proxied: tuple[str, Proxy]) -> None:
        url, proxy = proxied
        proxy.fault = lambda request: Reset(4)
        with pytest.raises(ConnectionResetError):
            get(url)

    def test_stall(self, proxied: tuple[str, Proxy]) -> None:
        url, proxy = proxied
        proxy.fault = lambda request: Stall(4, seconds=0.1)
        with pytest.raises(http.client.IncompleteRead) as caught:
            get(url)
        assert caught.value.partial == TEXT[:4]

    def test_drip(self, proxied: tuple[str, Proxy]) -> None:
        url, proxy = proxied
        proxy.fault = lambda request: Drip(0.001)
        assert get(url)[::2] == (200, TEXT)

    def test_headers(self, proxied: tuple[str, Proxy]) -> None:
        url, proxy = proxied
        proxy.fault = lambda request: Headers((("etag", '"other"'), ("X-New", "new")))
        status, headers, body = get(url)
        assert (status, headers["etag"], headers["x-new"], body) == (200, '"other"', "new", TEXT)

    def test_chunked(self, proxied: tuple[str, Proxy]) -> None:
        url, proxy = proxied
        proxy.fault = lambda request: Chunked(b"more")
        status, headers, body = get(url)
        assert (status, headers["transfer-encoding"], body) == (200, "chunked", TEXT + b"more")
        assert "content-length" not in headers

    def test_short_body(self, proxied: tuple[str, Proxy]) -> None:
        url, proxy = proxied
        proxy.fault = lambda request: ShortBody(1)
        assert get(url)[::2] == (200, TEXT[:-1])
        status, headers, body = get(url, Range="bytes=2-4")
        assert (status, headers["content-length"], body) == (206, "2", b"23")
        assert headers["content-range"] == "bytes 2-3/10"

    def test_corrupt_byte(self, proxied: tuple[str, Proxy]) -> None:
        url, proxy = proxied
        proxy.fault = lambda request: CorruptByte(1)
        assert get(url, Range="bytes=2-4")[2] == bytes([ord("2"), ord("3") ^ 0xFF, ord("4")])

    def test_drop_response(self, moto: S3Endpoint, bucket: Bucket, recording: Recording) -> None:
        name = bucket(moto)
        recorded, proxy = recording(moto)
        proxy.fault = lambda request: DropResponse() if proxy.count() == 1 else None
        recorded.filesystem().pipe_file(f"{name}/key", TEXT)
        # The client knew nothing of the first, and did it again.
        assert [request.status for request in proxy.requests] == [200, 200]

    def test_body_faults_reach_past_the_first_block(
        self, proxied: tuple[str, Proxy], tmp_path: Path
    ) -> None:
        url, proxy = proxied
        content = os.urandom(MIB)
        (tmp_path / "key").write_bytes(content)
        proxy.fault = lambda request: ShortBody(100_000)
        assert get(url)[2] == content[:-100_000]
        proxy.fault = lambda request: CorruptByte(MIB - 1)
        assert get(url)[2] == content[:-1] + bytes([content[-1] ^ 0xFF])
        proxy.fault = lambda request: CutResponse(500_000)
        with pytest.raises(http.client.IncompleteRead) as caught:
            get(url)
        assert caught.value.partial == content[:500_000]

    def test_a_dead_server_gives_no_answer(self) -> None:
        with Proxy(f"http://127.0.0.1:{free_port()}") as proxy:
            with pytest.raises(http.client.RemoteDisconnected):
                get(proxy.url)
            assert proxy.requests[0].status == 0

    def test_nothing_is_left_behind(self, tmp_path: Path) -> None:
        before = set(threading.enumerate())
        (tmp_path / "key").write_bytes(TEXT)
        with HttpServer(tmp_path) as server, Proxy(server.url) as proxy:
            server.latency = 60
            address = proxy.url.removeprefix("http://")
            idle, waiting = (http.client.HTTPConnection(address) for _ in range(2))
            idle.connect()
            waiting.request("GET", "/key")
            while not proxy.requests:
                time.sleep(0.01)
        idle.close()
        waiting.close()
        assert set(threading.enumerate()) <= before


class TestServerProcess:
    def test_a_failed_start_shows_the_output(self) -> None:
        endpoint = S3Endpoint(f"http://127.0.0.1:{free_port()}")
        server = ServerProcess(["sh", "-c", "echo no luck; exit 3"], endpoint)
        with pytest.raises(ServerFailedError, match=r"status 3(.|\n)*no luck"):
            server.start()

    def test_killed_and_started_again(self) -> None:
        with rclone_server() as server:
            client = server.endpoint.filesystem()
            server.endpoint.make_bucket("bucket")
            client.pipe_file("bucket/key", TEXT)
            server.kill()
            with pytest.raises(ConnectionRefusedError):
                get(server.endpoint.url)
            server.start()
            assert client.cat_file("bucket/key") == TEXT

    def test_ends_with_its_children(self) -> None:
        port = free_port()
        # The server is a child of the program that is started, and survives it if it is let.
        command = f"{sys.executable} -m http.server {port} --bind 127.0.0.1 & wait"
        endpoint = HttpEndpoint(f"http://127.0.0.1:{port}")
        with ServerProcess(["sh", "-c", command], endpoint):
            assert get(endpoint.url)[0] == 200
        assert_stops_listening(endpoint.url)

    def test_ends_with_a_test_run_that_is_killed(self) -> None:
        script = (
            "from tests.servers.moto import moto_server\n"
            "with moto_server() as server:\n"
            "    print(server.endpoint.url, flush=True)\n"
            "    input()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            text=True,
        ) as run:
            assert run.stdout is not None
            url = run.stdout.readline().strip()
            assert get(url)[0] == 200
            run.kill()
        assert_stops_listening(url)
