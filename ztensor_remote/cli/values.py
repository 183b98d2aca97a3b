"""``ztensor cat`` and ``stats``: the elements of a tensor, and what they are like."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import AsJson, Overwrite, StorageOption, StorageOptionsFile, Url, storage_options

if TYPE_CHECKING:
    from ..examine import Statistics
    from ..reader import LazyTensor
    from ..reader.arrays import Array

_BAR = 40


def cat(
    url: Url,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A tensor, or a part of it: weight[0:10,-1].")
    ],
    npy: Annotated[
        str | None,
        typer.Option("--npy", metavar="FILE", help="Write a .npy file, and print nothing."),
    ] = None,
    as_json: AsJson = False,
    overwrite: Overwrite = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
) -> None:
    """Print the elements of a tensor; of a part, only its bytes are fetched.

    What NumPy has no type of its own for (bfloat16, float8) becomes float32 in a .npy file.
    """
    from ..reader import open
    from .render import print_json, print_line
    from .selection import parse_selection

    options = storage_options(storage_option, storage_options_file)
    with open(url, storage_options=options) as reader:
        tensor_name, key = parse_selection(reader, name)
        tensor = reader[tensor_name]
        if npy is not None:
            _write_npy(tensor, key, npy, overwrite)
            return
        array = _selected(tensor, key)
    if as_json:
        print_json(
            {
                "schema": "ztensor-cat/1",
                "name": tensor_name,
                "dtype": array.dtype.name,
                "shape": list(array.shape),
                "values": _values(array),
            }
        )
    else:
        print_line(_text(array))


def _selected(tensor: LazyTensor, key: Any) -> Array:
    import numpy as np

    from ..errors import InvalidInputError

    try:
        return np.asarray(tensor[key])
    except IndexError as error:
        raise InvalidInputError(str(error), tensor=tensor.name) from None


def _text(array: Array) -> str:
    import numpy as np

    return np.array2string(array, threshold=array.size + 1, max_line_width=100)


def _values(array: Array) -> Any:
    import numpy as np

    from .json_values import jsonable

    if array.dtype.kind == "c":
        array = np.stack([array.real, array.imag], -1)
    elif array.dtype.kind not in "biuf":
        array = array.astype(np.float32)
    return jsonable(array.tolist())


def _write_npy(tensor: LazyTensor, key: Any, target: str, overwrite: bool) -> None:
    import numpy as np

    from ..reader.blocks import blocks
    from ..rewrite.places import refuse_existing
    from ..stores import aborting, locate, open_sink

    place = locate(target)
    if not overwrite:
        refuse_existing(place)
    is_whole = key is ... and tensor.layout == "dense"
    dtype, shape, pieces = tensor.dtype, tensor.shape, blocks(tensor) if is_whole else None
    if pieces is None:
        array = _selected(tensor, key)
        dtype, shape, pieces = array.dtype, array.shape, iter([array])
    stored = dtype if dtype.kind in "biufc" else np.dtype(np.float32)
    head = BytesIO()
    header = {"descr": stored.newbyteorder("<").str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, header)
    sink = open_sink(place, create=not overwrite)
    with aborting(sink):
        for data in _npy_bytes(head.getvalue(), pieces, stored):
            sink.write(data)
        sink.commit()


def _npy_bytes(head: bytes, pieces: Iterator[Array], dtype: Any) -> Iterator[bytes]:
    yield head
    for piece in pieces:
        yield piece.astype(dtype.newbyteorder("<"), order="C", copy=False).tobytes()


def stats(
    url: Url,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    bins: Annotated[int, typer.Option(min=1, help="Of the histogram.")] = 20,
    as_json: AsJson = False,
    storage_option: StorageOption = None,
    storage_options_file: StorageOptionsFile = None,
) -> None:
    """Show what the elements of a tensor are like: extremes, mean, NaNs, a histogram."""
    from ..examine import statistics
    from ..reader import open
    from .render import print_json, print_rows

    options = storage_options(storage_option, storage_options_file)
    with open(url, storage_options=options) as reader:
        found = statistics(reader[name], bins=bins)
    if as_json:
        from dataclasses import asdict

        print_json({"schema": "ztensor-stats/1", "name": name, **asdict(found)})
        return
    print_rows(_facts(found))
    if found.counts:
        print_rows([["", "", ""], *_histogram(found)], right=[0, 1])


def _facts(found: Statistics) -> list[list[str]]:
    finite = [found.minimum, found.maximum, found.mean, found.std]
    labels = ["minimum", "maximum", "mean", "std"]
    numbers = {label: value for label, value in zip(labels, finite, strict=True)}
    return [
        *([label, "-" if value is None else f"{value:.7g}"] for label, value in numbers.items()),
        *([label, f"{getattr(found, label):,}"] for label in ("count", "zeros", "nan", "inf")),
    ]


def _histogram(found: Statistics) -> Iterator[list[str]]:
    most = max(found.counts)
    for edge, count in zip(found.edges, found.counts, strict=False):
        yield [f"{edge:.4g}", f"{count:,}", "#" * -(-count * _BAR // most)]
