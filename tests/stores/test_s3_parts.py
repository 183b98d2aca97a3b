"""Parts sent to S3 by plain requests, and by s3fs's client where it has to be."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest
import s3fs

import ztensor_remote as zt
from tests.servers.faults import Status
from tests.servers.proxy import Proxy, Request
from ztensor_remote import Writer
from ztensor_remote.errors import StoreError
from ztensor_remote.stores import (
    Location,
    open_append,
    open_sink,
    open_source,
    s3_parts,
    s3_urls,
    upload_s3,
)
from ztensor_remote.stores.event_loop import run
from ztensor_remote.stores.s3 import target_of
from ztensor_remote.stores.sink import aborting
from ztensor_remote.stores.upload_s3 import S3Sink

from .backends import PART, MakeBackend, StoreBackend, Through

DATA = os.urandom(2 * PART + 12_345)

pytestmark = pytest.mark.usefixtures("small_parts", "short_pauses")


@dataclass
class Place:
    """An object behind a proxy."""

    store: StoreBackend
    location: Location
    proxy: Proxy

    @property
    def parts(self) -> list[Request]:
        """The requests that carried parts."""
        return [request for request in self.proxy.requests if "partNumber" in request.query]

    def with_options(self, **options: Any) -> Place:
        options = {**self.location.storage_options, **options}
        return replace(self, location=replace(self.location, storage_options=options))

    def write(self) -> S3Sink:
        sink: Any = open_sink(self.location)
        with aborting(sink):
            sink.write(DATA)
            sink.commit()
        assert self.store.read("object") == DATA
        assert self.store.open_uploads() == []
        return sink  # type: ignore[no-any-return]


@pytest.fixture(params=["ministack"])
def place(
    request: pytest.FixtureRequest, backend_of: MakeBackend, through: Through
) -> Iterator[Place]:
    """ministack, which compares every checksum, or the store that a test names."""
    store = backend_of(request.param)
    assert isinstance(store, StoreBackend)
    yield Place(store, *through(store, "object"))
    upload_s3._without_checksums.clear()


on = pytest.mark.parametrize


@on("place", ["moto", "ministack", "rclone"], indirect=True)
def test_parts_are_plain_requests_whose_bytes_are_vouched_for(place: Place) -> None:
    assert place.write().fallback is None
    assert [part.status for part in place.parts] == [200] * 3
    for part in place.parts:
        assert "X-Amz-Signature" in part.query
        assert "authorization" not in part.headers
        assert len(base64.b64decode(part.headers["x-amz-checksum-crc32c"])) == 4
    assert sum(part.request_bytes for part in place.parts) == len(DATA)


def test_a_part_that_was_damaged_on_its_way_is_sent_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, damaged = s3_parts.put, []

    def damage(target: Any, data: memoryview, *, timeout: float) -> Any:
        if "partNumber=2" in target.url and not damaged:
            damaged.append(target)
            return put(target, memoryview(b"\0" + bytes(data)[1:]), timeout=timeout)
        return put(target, data, timeout=timeout)

    monkeypatch.setattr(s3_parts, "put", damage)
    assert place.write().fallback is None
    assert sorted(part.status for part in place.parts) == [200, 200, 200, 400]


def test_what_is_added_and_what_is_copied_have_checksums(place: Place) -> None:
    place.write()
    base, _ = open_source(place.location, window=8)
    sink = open_append(place.location, base, in_place=False)
    with aborting(sink):
        sink.write(DATA)
        sink.commit()
    assert place.store.read("object") == DATA * 2


def test_a_store_without_checksums(place: Place) -> None:
    place.proxy.fault = lambda request: (
        Status(501) if "x-amz-checksum-algorithm" in request.headers else None
    )
    for opened in (2, 3):  # the second upload does not ask again
        assert place.write().fallback is None
        assert place.proxy.count(method="POST", query={"uploads": ""}) == opened
    assert not any("x-amz-checksum-crc32c" in part.headers for part in place.parts)


def test_checksums_that_the_caller_does_not_want(place: Place) -> None:
    named = {"request_checksum_calculation": "when_required"}
    assert place.with_options(config_kwargs=named).write().fallback is None
    assert not any("checksum" in name for part in place.parts for name in part.headers)


def test_tensors_that_are_lent(place: Place) -> None:
    random = np.random.default_rng(0)
    tensors = {
        "large": random.integers(0, 256, 12 << 20, np.uint8),
        "whole": random.integers(0, 256, PART, np.uint8),
        "small": np.arange(1000),
        "turned": random.standard_normal((1 << 10, 1 << 10)).T,
        "swapped": np.arange(1_000_000, dtype=">i8"),
        "bools": np.frombuffer(random.bytes(PART), np.uint8).view(bool),
    }
    wanted = {name: tensor != 0 if name == "bools" else tensor for name, tensor in tensors.items()}
    where = {
        "location": place.location.path,
        "storage_options": place.location.storage_options,
    }
    with Writer(**where, copy=False) as writer:
        for name, tensor in tensors.items():
            writer.add_tensor(name, tensor)
        assert writer.fallback is None
    with zt.open(**where) as model:
        model.verify()
        for name, tensor in model.load().items():
            np.testing.assert_array_equal(tensor, wanted[name])
    assert max(part.request_bytes for part in place.parts) > PART


@on("place", ["ministack", "rclone"], indirect=True)
@on(("seconds", "signed"), [(60.0, 1), (-1.0, 3)])
def test_the_client_signs_one_url_and_others_are_made_like_it(
    place: Place, monkeypatch: pytest.MonkeyPatch, seconds: float, signed: int
) -> None:
    numbers: list[int] = []

    async def counted(fs: Any, method: str, named: Any, headers: Any) -> Any:
        numbers.append(named["PartNumber"])
        return await target_of(fs, method, named, headers)

    monkeypatch.setattr(s3_urls, "target_of", counted)
    monkeypatch.setattr(s3_urls, "_RENEWED_AFTER", seconds)
    assert place.write().fallback is None
    assert [part.status for part in place.parts] == [200] * 3
    assert len(numbers) == signed


@on("token", [None, "to+ken/="])
@on("headers", [{}, {"x-amz-checksum-crc32c": "AAAAAA=="}])
def test_urls_are_those_that_the_client_would_sign(
    token: str | None, headers: dict[str, str]
) -> None:
    fs = s3fs.S3FileSystem(
        key="key", secret="secret", token=token, endpoint_url="http://127.0.0.1:1"
    )
    named = {"Bucket": "bucket", "Key": "a b/ü+.zt", "UploadId": "up+/="}
    urls = s3_urls.PartURLs(fs, named)
    part = {"ChecksumCRC32C": "AAAAAA=="} if headers else {}
    urls.target({"PartNumber": 1, **part}, headers)
    while True:  # until both were signed in the same second
        ours = urls.target({"PartNumber": 22, **part}, headers).url
        theirs = run(fs, target_of, fs, "upload_part", named | part | {"PartNumber": 22}, headers)
        date = [parse_qs(url)["X-Amz-Date"] for url in (ours, theirs.url)]
        if date[0] == date[1]:
            break
    assert ours == theirs.url
    assert "partNumber=22&" in ours


@on("place", ["moto"], indirect=True)
def test_keys_of_the_caller_go_by_the_client(place: Place) -> None:
    key = base64.b64encode(b"k" * 32).decode()
    named = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}
    writer = Writer(
        place.location.path,
        storage_options={**place.location.storage_options, "s3_additional_kwargs": named},
    )
    with writer, writer.stream_tensor("a", (len(DATA),), "u1") as part:
        part.write(DATA)
    assert "SSECustomerKey" in str(writer.fallback)
    assert key not in str(writer.fallback)
    sent = "x-amz-server-side-encryption-customer-key"
    assert [sent in part.headers for part in place.parts] == [True] * 3


def test_what_the_server_refuses_goes_by_the_client(place: Place) -> None:
    place.proxy.fault = lambda request: (
        Status(403, b"<Code>Nope</Code>") if "X-Amz-Signature" in request.query else None
    )
    assert "refused a plain request (403 Nope)" in str(place.write().fallback)


def test_the_length_that_was_published_is_compared(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink: Any = open_sink(place.location)
    call = sink._call

    def shortened(method: str, **kwargs: Any) -> Any:
        answer = call(method, **kwargs)
        return answer | {"ContentLength": 1} if method == "head_object" else answer

    monkeypatch.setattr(sink, "_call", shortened)
    sink.write(DATA)
    with pytest.raises(StoreError, match=rf"sent {len(DATA)} bytes, the store published 1"):
        sink.commit()
    sink.abort()
