"""How a client reaches the servers that speak S3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from .endpoint import StoreEndpoint

# The one pair that ministack takes for its root account; the others take any.
KEY = SECRET = "test"
REGION = "us-east-1"


@dataclass(frozen=True)
class S3Endpoint(StoreEndpoint):
    """An S3 server, with path-style addresses."""

    response_checksum_validation: Literal["when_supported", "when_required"] = "when_supported"

    protocol: ClassVar[str] = "s3"

    @property
    def storage_options(self) -> dict[str, Any]:
        """What s3fs takes."""
        options: dict[str, Any] = {
            "key": KEY,
            "secret": SECRET,
            "endpoint_url": self.url,
            "client_kwargs": {"region_name": REGION},
        }
        if self.response_checksum_validation != "when_supported":  # botocore's default
            named = {"response_checksum_validation": self.response_checksum_validation}
            options["config_kwargs"] = named
        return options

    def make_bucket(self, name: str) -> None:
        """Create a bucket."""
        # s3fs's mkdir names the region as a location constraint, which us-east-1 doesn't allow.
        self.filesystem().call_s3("create_bucket", Bucket=name)
