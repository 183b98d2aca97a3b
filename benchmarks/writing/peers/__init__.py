"""One module a peer: a way to write tensors to a bucket."""

from __future__ import annotations

from importlib import import_module

from .peer import Peer

CLASSES = {
    "raw": "raw:Raw",
    "ztensor_remote": "zt:ZTensor",
    "ztensor_remote, copy=False": "zt:Lent",
    "ztensor_remote, no digests": "zt:Unchecked",
    "obstore": "obstore:Obstore",
    "obstore, stream": "obstore:ObstoreStream",
    "boto3": "boto3:Boto3",
    "boto3, threads": "boto3:Boto3Threads",
    "s3fs": "s3fs:S3FS",
    "s3fs, stream": "s3fs:S3FSStream",
}


def peer_class(name: str) -> type[Peer]:
    """Return a peer by its name."""
    module, _, attribute = CLASSES[name].partition(":")
    found: type[Peer] = getattr(import_module(f".{module}", __name__), attribute)
    return found
