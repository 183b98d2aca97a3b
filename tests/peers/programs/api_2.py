"""Published 2.1.2."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import ztensor
from answering import answer, array_of, described, outcome


def read(path: str) -> dict[str, Any]:
    """Read every part of every tensor."""
    with ztensor.open(path) as source:
        return {
            "attributes": source.attributes,
            "tensors": {tensor.name: outcome(lambda: seen(tensor)) for tensor in source.values()},
        }


def seen(tensor: Any) -> dict[str, Any]:
    dense = tensor.layout == "dense"
    return {
        "layout": tensor.layout,
        "shape": list(tensor.shape),
        "parts": {role: outcome(lambda: part(tensor[role])) for role in tensor.parts},
        "dlpack": outcome(lambda: described(np.from_dlpack(tensor))) if dense else None,
    }


def part(opened: Any) -> dict[str, Any]:
    data = opened.tobytes()
    return {
        "dtype": opened.dtype,
        "type": opened.logical,
        "sha256": hashlib.sha256(data).hexdigest(),
        "verified": opened.verify(),
    }


def verify(path: str, deep: bool) -> list[int]:
    """Return how many parts were compared with a digest, and how many have none."""
    return list(ztensor.verify(path, deep=deep))


def write(
    path: str,
    tensors: list[Mapping[str, Any]],
    attributes: dict[str, Any] | None = None,
    canonical: bool = True,
    append: bool = False,
    align: int | None = None,
) -> None:
    """Write tensors of any layout, or add them to a file."""
    with ztensor.Writer(path, canonical=canonical, append=append, align=align) as writer:
        for sent in tensors:
            writer.add_object(
                sent["name"],
                sent["shape"],
                {role: sent_part(value, sent) for role, value in sent["parts"].items()},
                layout=sent["layout"],
                attributes=sent.get("attributes"),
            )
        if attributes is not None:
            writer.set_attributes(attributes)


def sent_part(value: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    fields = {
        "data": array_of({"dtype": "uint8", "shape": [-1], "hex": value["hex"]}),
        "dtype": value["storage"],
        "logical": value["logical"],
        "encoding": "zt.zstd-seekable/1" if sent["compress"] else None,
    }
    return {key: field for key, field in fields.items() if field is not None}


def rewrite(source: str, target: str) -> None:
    """Copy all that a file holds into a canonical one."""
    with ztensor.open(source) as opened, ztensor.Writer(target, canonical=True) as writer:
        writer.ingest(opened)


if __name__ == "__main__":
    answer(read=read, verify=verify, write=write, rewrite=rewrite)
