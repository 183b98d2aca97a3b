"""One module a peer: a way to read tensors from a bucket.

A peer does what of `Peer` it can; the cases that need more leave it out.
"""

from __future__ import annotations

from importlib import import_module

from .peer import Peer

CLASSES = {
    "curl": "curl:Curl",
    "raw": "raw:Raw",
    "ztensor_remote": "zt:ZTensor",
    "ztensor_remote+crc32c": "zt:ZTensorChecked",
    "obstore": "obstore:Obstore",
    "boto3": "boto3:Boto3",
    "s3fs": "s3fs:S3FS",
    "safetensors": "safetensors:Safetensors",
    "zarr": "zarr:Zarr",
    "tensorstore": "tensorstore:TensorStore",
    "Run:ai": "runai:RunAI",
    "s3torchconnector": "s3torch:S3Torch",
    "tensorizer": "tensorizer:Tensorizer",
    "torch DCP": "dcp:DCP",
    "narrow runs": "columns:Narrow",
    "merged runs": "columns:Merged",
    "whole rows": "columns:WholeRows",
}


def peer_class(name: str) -> type[Peer]:
    """Return a peer by its name."""
    module, _, attribute = CLASSES[name].partition(":")
    found: type[Peer] = getattr(import_module(f".{module}", __name__), attribute)
    return found
