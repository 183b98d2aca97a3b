"""Multipart uploads that the store opened although its answer was lost: nobody knows their ids."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Any, Protocol

_ROUNDING = timedelta(seconds=2)
_SLOW = 1.0
"""Seconds. A client that repeats requests by itself does not always say that it did."""


class Call(Protocol):
    """Call S3."""

    def __call__(self, method: str, **kwargs: Any) -> dict[str, Any]:
        """Do one request."""


class Strays:
    """What may be left of attempts to open one upload.

    The store lists uploads with their keys and times only. One of the same key, opened during our
    attempts, and without a part when ours has ended, is ours: another writer opens its upload when
    it has a part to send.

    Parameters
    ----------
    bucket, key : str
    """

    def __init__(self, bucket: str, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._begun = monotonic()
        self._ended: float | None = None
        self._may_exist = True

    def opened(self, answer: dict[str, Any]) -> None:
        """Take note of the answer that came in the end."""
        self._ended = monotonic()
        repeated = answer.get("ResponseMetadata", {}).get("RetryAttempts", 0)
        self._may_exist = bool(repeated) or self._ended - self._begun > _SLOW

    def abort(self, call: Call, *, ours: str | None = None) -> None:
        """Find them, and abort them; where the store does not let us, a lifecycle rule must."""
        if not self._may_exist:
            return
        self._may_exist = False
        with suppress(Exception):
            answer = call("list_multipart_uploads", Bucket=self._bucket, Prefix=self._key)
            earliest, latest = self._window(answer)
            for upload in answer.get("Uploads", []):
                named = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                if named["Key"] != self._key or named["UploadId"] == ours:
                    continue
                if not earliest <= upload["Initiated"] <= latest:
                    continue
                if not call("list_parts", Bucket=self._bucket, MaxParts=1, **named).get("Parts"):
                    call("abort_multipart_upload", Bucket=self._bucket, **named)

    def _window(self, answer: dict[str, Any]) -> tuple[datetime, datetime]:
        """Return when the attempts began and ended, by the clock of the store."""
        store = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        now = monotonic()
        began = store - timedelta(seconds=now - self._begun)
        ended = store - timedelta(seconds=now - (self._ended or now))
        return began - _ROUNDING, ended + _ROUNDING
