"""Nothing secret is told: not what the caller gave, and not what was signed with it."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from dataclasses import replace
from urllib.parse import quote

import pytest

from tests.servers.azure import KEY, AzureEndpoint
from tests.servers.faults import Fault, Status
from tests.servers.proxy import Proxy, Request
from ztensor_remote.errors import StoreError
from ztensor_remote.stores import Location, locate, open_source

from .backends import HttpBackend, MakeBackend, StoreBackend, Through

DATA = bytes(range(256)) * 100
SECRET = "c0ffeec0ffeec0ffee"
SIGNED = ("X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "sig")

Opened = tuple[Location, Proxy, list[str]]

pytestmark = pytest.mark.usefixtures("short_pauses", "both_ways")


@pytest.fixture(params=["user", "signed", "header", "s3 plain", "s3", "gcs", "azure", "sas"])
def opened(request: pytest.FixtureRequest, backend_of: MakeBackend, through: Through) -> Opened:
    """A location that works, its proxy, and what the caller gave that is secret."""
    names = {"s3 plain": "moto", "s3": "s3fs", "gcs": "gcs", "azure": "azure", "sas": "azure"}
    backend = backend_of(names.get(request.param, "http"))
    assert isinstance(backend, HttpBackend | StoreBackend)
    backend.put("object", DATA)
    location, proxy = through(backend, "object")
    options = dict(location.storage_options)
    given = [SECRET]
    match request.param:
        case "user":
            location = locate(location.path.replace("://", f"://me:{SECRET}@"))
        case "signed":
            location = locate(f"{location.path}?sig={SECRET}&X-Amz-Signature={SECRET}")
        case "header":
            options["headers"] = {"Authorization": f"Bearer {SECRET}", "X-Api-Key": SECRET}
        case "s3 plain" | "s3":
            options |= {"secret": SECRET, "token": SECRET}
        case "gcs":
            from google.oauth2.credentials import Credentials

            options["token"] = Credentials(token=SECRET)
        case "azure":
            given = [KEY]
        case "sas":
            assert isinstance(backend, StoreBackend)
            sas = signature(backend)
            given = [sas, sas.rpartition("sig=")[2]]
            endpoint = backend.endpoint.at(proxy.url)
            assert isinstance(endpoint, AzureEndpoint)
            text = endpoint.storage_options["connection_string"]
            parts = [part for part in text.split(";") if not part.startswith("AccountKey")]
            joined = ";".join([*parts, f"SharedAccessSignature={sas}"])
            options = {"connection_string": joined}
    return replace(location, storage_options=options), proxy, given


def signature(backend: StoreBackend) -> str:
    from datetime import UTC, datetime, timedelta

    from azure.storage.blob import BlobSasPermissions, generate_blob_sas

    signed: str = generate_blob_sas(
        "devstoreaccount1",
        backend.bucket,
        f"{backend.folder}/object",
        account_key=KEY,
        permission=BlobSasPermissions(read=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    return signed


def echoed(request: Request, status: int) -> Fault:
    """Refuse as proxies and frameworks do that show the whole request on their error pages."""
    query = "&".join(f"{name}={quote(text, safe='')}" for name, text in request.query.items())
    page = f"GET http://host{request.path}?{query}\n{json.dumps(request.headers)}"
    return Status(status, f"<Error><Code>Bad</Code><Message>{page}</Message></Error>".encode())


def sent(proxy: Proxy) -> set[str]:
    """What has been sent that lets others in."""
    found = set()
    for request in proxy.requests:
        authorization = request.headers.get("authorization", "")
        found |= {authorization, authorization.rpartition(" ")[2]}
        found |= {request.query.get(name, "") for name in SIGNED}
    return found - {""}


@pytest.mark.parametrize("status", [400, 401, 403, 409])
def test_secrets_stay(opened: Opened, status: int, caplog: pytest.LogCaptureFixture) -> None:
    location, proxy, given = opened
    caplog.set_level(logging.DEBUG, "ztensor_remote")
    source, tail = open_source(location, window=100)
    assert bytes(tail) == DATA[-100:]
    memory = memoryview(bytearray(1000))
    source.read_into(0, memory)
    proxy.fault = lambda request: echoed(request, status)
    with pytest.raises(StoreError) as caught:
        source.read_into(0, memory)
    error = caught.value
    told = [
        str(error),
        repr(error),
        "".join(traceback.format_exception(error)),
        repr(pickle.dumps(error)),
        repr(source),
        source.url,
        repr(location),
        str(source.stats),
        repr(pickle.dumps(source.identity)),
        *(record.getMessage() for record in caplog.records if "ztensor" in record.name),
    ]
    secrets = {*given, *sent(proxy)}
    assert secrets
    shown = [secret for secret in secrets if any(secret in text for text in told)]
    assert not shown, told
