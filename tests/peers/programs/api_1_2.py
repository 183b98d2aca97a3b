"""Published 1.2.3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import ztensor
from answering import answer, array_of, described, outcome


def read(path: str) -> dict[str, Any]:
    """Read every tensor, in every way the package has."""
    with ztensor.Reader(path) as reader:
        return {name: outcome(lambda: tensor(reader, name)) for name in reader.keys()}  # noqa: SIM118


def tensor(reader: Any, name: str) -> dict[str, Any]:
    meta = reader.metadata(name)
    seen = {
        "layout": meta.format,
        "shape": list(meta.shape),
        "dtype": meta.dtype,
        "type": meta.type,
        "attributes": meta.attributes,
        "components": meta.components,
    }
    if meta.format == "dense":
        return seen | {"reads": dense(reader, name, meta)}
    return seen | {"reads": outcome(lambda: components(reader, name))}


def dense(reader: Any, name: str, meta: Any) -> dict[str, Any]:
    return {
        "item": outcome(lambda: described(reader[name])),
        "read": outcome(lambda: described(reader.read(name).numpy())),
        "read_numpy": outcome(lambda: described(reader.read_numpy(name, copy=True))),
        "read_into": outcome(lambda: described(filled(reader, name, meta))),
    }


def filled(reader: Any, name: str, meta: Any) -> Any:
    array = np.empty(tuple(meta.shape), np.dtype(meta.dtype))
    reader.read_into(name, array)
    return array


def components(reader: Any, name: str) -> dict[str, Any]:
    parts = reader.read(name).components
    return {role: described(array) for role, array in parts.items()}


def write(
    path: str, tensors: list[Mapping[str, Any]], append: bool = False, checksum: str = "none"
) -> None:
    """Write tensors of any layout, or add them to a file."""
    opened = ztensor.Writer.append(path) if append else ztensor.Writer(path)
    with opened as writer:
        for sent in tensors:
            arrays = {role: array_of(part) for role, part in sent["parts"].items()}
            made = ztensor.Tensor(
                arrays,
                shape=sent["shape"],
                format=sent["layout"],
                type=sent.get("type"),
                attributes=sent.get("attributes"),
            )
            writer.write(sent["name"], made, compress=sent["compress"], checksum=checksum)


def remove(source: str, target: str, names: list[str]) -> None:
    """Copy a file without some of its tensors."""
    ztensor.remove_tensors(source, target, names)


if __name__ == "__main__":
    answer(read=read, write=write, remove=remove)
