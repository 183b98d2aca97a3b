"""Uploads that fail: the old object is untouched, no upload is left, and the error says why."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import s3fs

import ztensor_remote as zt
from tests.faults import fault
from tests.servers.faults import CutRequest, Delay, DropResponse, Fault, Status
from tests.servers.proxy import Proxy, Request
from ztensor_remote.errors import AccessDeniedError, InvalidInputError, NotFoundError, StoreError
from ztensor_remote.stores import Location, aborting, locate, open_sink

from .backends import PART, MakeBackend, StoreBackend, Through

ROOT = Path(__file__).parents[2]
OLD = os.urandom(1000)
# More than two parts, and no multiple of anything.
NEW = os.urandom(2 * PART + 12_345)
SMALL = NEW[:100_000]

# botocore's own retries take half a minute when they fail in the end.
ONE_TRY = {"config_kwargs": {"retries": {"total_max_attempts": 1}, "read_timeout": 0.5}}

pytestmark = pytest.mark.usefixtures("small_parts")


@dataclass
class Place:
    """An object behind a proxy."""

    store: StoreBackend
    location: Location
    proxy: Proxy

    def write(self, data: bytes) -> None:
        sink = open_sink(self.location)
        with aborting(sink):
            sink.write(data)
            sink.commit()

    def is_untouched(self) -> bool:
        self.proxy.fault = lambda request: None
        return self.stored == OLD and self.store.open_uploads() == []

    @property
    def stored(self) -> bytes:
        return self.store.read("object")


@pytest.fixture
def place(request: pytest.FixtureRequest, backend_of: MakeBackend, through: Through) -> Place:
    """An object in the store that a test names, tried once where that is S3."""
    store = backend_of(request.param)
    assert isinstance(store, StoreBackend)
    store.put("object", OLD)
    location, proxy = through(store, "object")
    if request.param in ("moto", "ministack"):
        options: Any = {**location.storage_options, **ONE_TRY}
        location = replace(location, storage_options=options)
    return Place(store, location, proxy)


def on(place: str) -> Any:
    return pytest.mark.parametrize("place", place.split(), indirect=True)


Step = Callable[[Request], bool]


def opens(request: Request) -> bool:
    resumable = request.query.get("uploadType") == "resumable"
    return request.method == "POST" and (resumable or "uploads" in request.query)


def sends(request: Request) -> bool:
    query, span = request.query, request.headers.get("content-range", "")
    return "partNumber" in query or query.get("comp") == "block" or span.endswith("/*")


def publishes(request: Request) -> bool:
    query, headers = request.query, request.headers
    whole_s3 = request.method == "PUT" and "x-amz-meta-ztensor-commit" in headers
    complete_s3 = request.method == "POST" and "uploadId" in query
    whole_gcs = query.get("uploadType") == "multipart"
    span = headers.get("content-range", "/*")
    blocks = query.get("comp") == "blocklist"
    return whole_s3 or complete_s3 or whole_gcs or not span.endswith("/*") or blocks


def spoil(step: Step, fault: Fault, *, first: int = 1, count: int = 1000) -> Any:
    """Spoil `count` requests of one kind, from this one (from 1) on."""
    seen = iter(range(1, 10_000))
    return lambda request: fault if step(request) and first <= next(seen) < first + count else None


# Nothing opens an upload to Azure.
every_step = pytest.mark.parametrize(
    ("place", "step"),
    [
        (name, step)
        for name in ("moto", "gcs", "azure")
        for step in (opens, sends, publishes)
        if (name, step) != ("azure", opens)
    ],
    indirect=["place"],
)


@fault(14)
@pytest.mark.usefixtures("short_pauses")
class TestFaultsForEver:
    @every_step
    def test_the_store_is_too_busy(self, place: Place, step: Step) -> None:
        self.fails(place, spoil(step, Status(503), first=2 if step is sends else 1))

    @on("moto gcs azure")
    def test_parts_are_not_answered(self, place: Place) -> None:
        self.fails(place, spoil(sends, DropResponse(), first=2))

    def fails(self, place: Place, fault: Any) -> None:
        place.proxy.fault = fault
        with pytest.raises(StoreError) as caught:
            place.write(NEW)
        assert caught.value.url == place.location.url
        assert place.is_untouched()
        assert len(place.proxy.requests) < 80

    @on("moto gcs azure")
    def test_the_publication_is_not_answered(self, place: Place) -> None:
        place.proxy.fault = spoil(publishes, DropResponse())
        place.write(NEW)
        assert place.stored == NEW
        assert place.store.open_uploads() == []

    @on("moto gcs azure")
    @pytest.mark.parametrize("data", [SMALL, NEW], ids=["small", "large"])
    def test_a_refusal(self, place: Place, data: bytes) -> None:
        place.proxy.fault = spoil(publishes, Status(403))
        with pytest.raises(AccessDeniedError, match=r"credentials"):
            place.write(data)
        assert place.is_untouched()

    @fault(11)
    @on("moto")
    def test_an_answer_of_success_that_holds_an_error(self, place: Place) -> None:
        body = b"<Error><Code>InternalError</Code><Message>try later</Message></Error>"
        place.proxy.fault = spoil(publishes, Status(200, body))
        with pytest.raises(StoreError, match=r"try later"):
            place.write(NEW)
        assert place.is_untouched()


@pytest.mark.usefixtures("short_pauses")
class TestFaultsThatPass:
    @on("moto gcs azure")
    @pytest.mark.parametrize("after", [0, 100_000, PART - 1])
    def test_a_part_is_cut_off(self, place: Place, after: int) -> None:
        store = place.store
        location = locate(
            place.location.path, storage_options=_without(place.location.storage_options)
        )
        place.proxy.fault = spoil(sends, CutRequest(after), first=2, count=1)
        replace(place, location=location).write(NEW)
        assert place.stored == NEW
        assert store.open_uploads() == []

    @on("ministack")
    @pytest.mark.parametrize("lost", [1, 2])
    def test_the_answer_to_the_opening_is_lost(self, place: Place, lost: int) -> None:
        """Of the uploads that were opened, none stays."""
        options = _without(place.location.storage_options)
        place.location = replace(place.location, storage_options=options)
        place.proxy.fault = spoil(opens, DropResponse(), count=lost)
        place.write(NEW)
        assert place.proxy.count(method="POST", query={"uploads": ""}) == lost + 1
        assert place.stored == NEW
        assert place.store.open_uploads() == []

    @on("ministack")
    def test_the_opening_is_never_answered(self, place: Place) -> None:
        place.proxy.fault = spoil(opens, DropResponse())
        rival = open_sink(place.store.location("object"))
        rival.write(NEW)
        parts_of(place.store, 1)
        with pytest.raises(StoreError):
            place.write(NEW[::-1])
        assert len(place.store.open_uploads()) == 1
        rival.commit()
        assert place.stored == NEW
        assert place.store.open_uploads() == []


def _without(options: Any) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in ONE_TRY}


def parts_of(store: StoreBackend, least: int) -> None:
    """Wait until an upload has parts."""
    (upload,) = store.open_uploads()
    named = {"Bucket": store.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
    while len(store.fs.call_s3("list_parts", **named).get("Parts", [])) < least:
        pass


@on("ministack")
def test_a_slow_publication_is_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    place.proxy.fault = spoil(publishes, Delay(2.0))
    place.write(NEW)
    assert place.proxy.count(method="HEAD", status=200) > 1
    assert place.stored == NEW
    assert place.store.open_uploads() == []


@every_step
def test_an_interrupt(place: Place, step: Step) -> None:
    def interrupt(request: Request) -> None:
        if step(request) and not interrupted:
            interrupted.append(request)
            os.kill(os.getpid(), signal.SIGINT)

    interrupted: list[Request] = []
    place.proxy.fault = interrupt
    with pytest.raises(KeyboardInterrupt):
        place.write(NEW)
    assert place.stored in (OLD, NEW)
    assert step is publishes or place.stored == OLD
    assert place.store.open_uploads() == []


@on("ministack")
def test_an_upload_that_somebody_else_aborts(place: Place) -> None:
    sink = open_sink(place.location)
    sink.write(NEW)
    (upload,) = place.store.open_uploads()
    named = {"Bucket": place.store.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
    place.store.fs.call_s3("abort_multipart_upload", **named)
    with pytest.raises(NotFoundError, match=r"aborted by somebody else"):
        sink.commit()
    sink.abort()
    assert place.is_untouched()


@pytest.mark.parametrize("name", ["moto", "gcs", "azure"])
@pytest.mark.parametrize("data", [SMALL, NEW], ids=["small", "large"])
def test_no_such_bucket(backend_of: MakeBackend, name: str, data: bytes) -> None:
    store = backend_of(name)
    assert isinstance(store, StoreBackend)
    sink = open_sink(replace(store, bucket="missing-bucket").location("object"))
    with pytest.raises(NotFoundError, match=r"no such bucket.*missing-bucket"):
        sink.write(data)
        sink.commit()
    sink.abort()


@pytest.mark.parametrize("path", ["bucket", "bucket/", "bucket/folder/"])
@pytest.mark.parametrize("protocol", ["s3", "gs", "az"])
def test_no_name_of_an_object(protocol: str, path: str) -> None:
    options = {"s3": {"anon": True}, "gs": {"token": "anon"}, "az": {"account_name": "nobody"}}
    with pytest.raises(InvalidInputError, match=r"name"):
        open_sink(locate(f"{protocol}://{path}", storage_options=options[protocol]))


@on("moto")
def test_two_writers_of_one_object(place: Place) -> None:
    sinks = [open_sink(place.location) for _ in range(2)]
    for sink, data in zip(sinks, (NEW, NEW[::-1]), strict=True):
        sink.write(data)
    for sink, data in zip(sinks, (NEW, NEW[::-1]), strict=True):
        sink.commit()
        assert place.stored == data
    assert place.store.open_uploads() == []


@fault(13)
@on("moto gcs azure")
def test_a_writer_that_is_dropped(place: Place) -> None:
    writer = zt.Writer(place.location.path, storage_options=place.store.endpoint.storage_options)
    writer.add_tensor("large", np.frombuffer(NEW, np.uint8))
    with pytest.warns(ResourceWarning, match="dropped unfinished"):
        del writer
        gc.collect()
    assert place.is_untouched()


UNFINISHED = """
import json, os, sys
import ztensor_remote as zt
from ztensor_remote.stores import parts
parts.PART_SIZE = 5 << 20
writer = zt.Writer(sys.argv[1], storage_options=json.loads(sys.argv[2]))
with writer.stream_tensor("large", (12 << 20,), "u1") as part:
    part.write(bytes(12 << 20))
if sys.argv[3] == "fork" and not os.fork():
    sys.exit()
if sys.argv[3] == "fork":
    os.wait()
    writer.finalize()
if sys.argv[3] == "error":
    1 / 0
"""


@fault(13)
@on("moto")
@pytest.mark.parametrize("end", ["exit", "error", "fork"])
def test_a_process_that_ends_unfinished(place: Place, end: str) -> None:
    options = json.dumps(dict(place.store.endpoint.storage_options))
    program = [sys.executable, "-c", UNFINISHED, place.location.path, options, end]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == (end == "error")
    assert "Exception ignored" not in done.stderr
    assert place.store.open_uploads() == []
    assert (place.stored == OLD) == (end != "fork")
