"""What people are told who mistype a URL, or have no credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ztensor_remote as zt

STORES = ["moto", "ministack", "rclone", "gcs", "azure"]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def opened(store: Any, path: str) -> None:
    zt.open(store.uri(path), storage_options=store.storage_options)


def test_no_such_bucket(store: Any) -> None:
    # fake-gcs-server does not tell a missing bucket from a missing object; GCS itself does.
    missing = "nothing is stored there" if store.protocol == "gs" else "there is no such bucket"
    with pytest.raises(zt.NotFoundError, match=f"can't open it: {missing}") as caught:
        opened(store, "no-bucket-of-this-name/model.zt")
    assert caught.value.url == store.uri("no-bucket-of-this-name/model.zt")


def test_a_bucket_alone(store: Any) -> None:
    with pytest.raises(zt.InvalidInputError, match="names a bucket; add the name of a file"):
        opened(store, "no-bucket-of-this-name")


def test_an_empty_folder(store: Any) -> None:
    for path in ("no-bucket-of-this-name/", "no-bucket-of-this-name/folder/"):
        with pytest.raises(zt.NotFoundError, match="no folder of tensor files: there is nothing"):
            opened(store, path)


def test_no_credentials(moto: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    options = {"endpoint_url": moto.url, "skip_instance_cache": True}
    with pytest.raises(zt.AccessDeniedError, match=r"no credentials .*storage_options.*anon=True"):
        zt.open("s3://bucket/model.zt", storage_options=options)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(zt.NotFoundError, match=r"there is no folder .*nowhere"):
        zt.Writer(tmp_path / "nowhere" / "model.zt")
    assert list(tmp_path.iterdir()) == []
