"""Signed URLs, for peers that only speak HTTP."""

from __future__ import annotations

from datetime import timedelta

from .job import BUCKET, KEY, REGION, SECRET, Place


def signed_url(place: Place, key: str) -> str:
    """Return a URL that a server of S3 answers to."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        BUCKET,
        endpoint=place.url,
        region=REGION,
        access_key_id=KEY,
        secret_access_key=SECRET,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    return obstore.sign(store, "GET", key, timedelta(hours=6))
