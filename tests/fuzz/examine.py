"""All that a user may do with a file of unknown origin, and what must come of it."""

from __future__ import annotations

import io
import json
import posixpath
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import ztensor_remote as zt
from ztensor_remote.cli import main
from ztensor_remote.cli.describe import describe
from ztensor_remote.manifest import ChunkGrid, Component, Manifest, Tensor

from .mutate import Case
from .originals import STEM, Original, in_memory

Outcome = Any
"""What a read gave, in a form that can be compared: arrays as bytes, errors as their types."""
Truth = tuple[Manifest, dict[str, Outcome]]

_COMPARED = 8 << 20
_PLACE_ERRORS = ("BlobAlignment", "ShardIdentity")
_CHECKABLE = ("crc32c:0x", "sha256:", "xxh3:")


def examine(case: Case, place: Callable[[Original], Any], *, limits: zt.Limits) -> str:
    """Do everything with a mutated file.

    Parameters
    ----------
    case : Case
    place : callable
        Puts a file somewhere and returns what opens it.
    limits : Limits

    Returns
    -------
    str
        What became of it: the broken rule, or how many tensors could be read.

    Raises
    ------
    AssertionError
        Wrong data, or two ways to read that disagree.
    Exception
        Any that is not of our tree.
    """
    truth = _truth(case.original)
    located = place(case.mutant)
    try:
        reader = zt.open(located, limits=limits, format=case.mutant.format)
    except zt.ZTensorError as error:
        _check_message(error)
        _check_command(located, case.mutant, opens=False)
        return f"refused: {getattr(error, 'rule', None) or type(error).__name__}"
    with reader:
        _check_listing(reader)
        found = {name: _read(reader[name]) for name in reader}
        _check_all_at_once(reader, found)
        _check_data(case, truth, reader.manifest, found)
    _check_command(located, case.mutant, opens=True)
    failed = sum(isinstance(outcome, Failure) for outcome in found.values())
    return f"opened: {'all' if not failed else 'some' if failed < len(found) else 'none'} read"


@dataclass(frozen=True)
class Failure:
    """An error of our tree."""

    kind: str
    rule: str | None


def attempt(action: Callable[..., Any], *arguments: Any) -> Any:
    """Return what an action gives, or the failure that it may end in."""
    try:
        return action(*arguments)
    except zt.ZTensorError as error:
        _check_message(error)
        return Failure(type(error).__name__, getattr(error, "rule", None))


def _check_message(error: zt.ZTensorError) -> None:
    text = str(error)
    text.encode()
    assert error.message, type(error)
    assert len(text) < 20_000, "an endless message"


# --- what the manifest says -----------------------------------------------------------------------


def _check_listing(reader: zt.Reader) -> None:
    json.dumps(describe(reader), allow_nan=False).encode()
    assert list(reader) == reader.tensor_names and len(reader) == len(reader.tensor_names)
    repr((reader, _short(reader.attributes), reader.identity, reader.stats))
    for name, tensor in reader.items():
        repr((tensor, tensor.shape, tensor.size, tensor.format, tensor.layout))
        repr(_short(tensor.attributes))
        attempt(_dtypes_of, tensor)
        attempt(reader.metadata, name)
        for component in tensor.components.values():
            repr((component, component.dtype, component.digest, component.offset))
            attempt(getattr, component, "decoded_length")


def _short(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out integers that Python refuses to print."""
    return {
        key: value
        for key, value in attributes.items()
        if not (isinstance(value, int) and value.bit_length() > 4096)
    }


def _dtypes_of(tensor: zt.LazyTensor) -> None:
    repr((tensor.dtype, tensor.nbytes))


# --- what it holds --------------------------------------------------------------------------------


def _read(tensor: zt.LazyTensor) -> Outcome:
    """Read a tensor in every way; return its elements, or its components where it has no such."""
    whole = attempt(tensor.numpy)
    parts = {role: attempt(part.read) for role, part in tensor.components.items()}
    for part in tensor.components.values():
        attempt(part.numpy)
    if tensor.layout.startswith("sparse"):
        attempt(tensor.sparse)
        attempt(tensor.scipy)
    attempt(tensor.read_into, np.empty((), np.float32))
    for key in _keys(tensor.shape):
        piece = attempt(tensor.__getitem__, key)
        if isinstance(piece, Failure) or isinstance(whole, Failure) or whole.nbytes > _COMPARED:
            continue
        assert _bits(piece) == _bits(whole[key]), f"{tensor.name!r}[{key}] is not what it is whole"
    if isinstance(whole, Failure):
        return parts if whole.kind == "UnsupportedError" else whole
    return _bits(whole) if whole.nbytes <= _COMPARED else whole.shape


def _bits(array: Any) -> tuple[Any, ...]:
    return np.shape(array), array.dtype.name, array.tobytes()


def _keys(shape: tuple[int, ...]) -> Iterator[Any]:
    yield ...
    if len(shape) < 64:  # the most that NumPy has
        yield (None, ...)
    if not shape:
        yield ()
        return
    yield slice(1, 3)
    yield slice(None, None, -2)
    if 0 < shape[0] < 1 << 31:
        yield 0
        yield [0, -1]
        yield slice(-1, None)
        if len(shape) > 1 and shape[1]:
            yield (slice(0, 2), -1)


def _check_all_at_once(reader: zt.Reader, found: Mapping[str, Outcome]) -> None:
    loaded = attempt(reader.load)
    if not isinstance(loaded, Failure):
        assert list(loaded) == list(found)
        # Sparse tensors come as SciPy's, which need no memory for zeros.
        failed = {name: outcome for name, outcome in found.items() if _is_broken(outcome)}
        assert not failed, f"load reads {failed}, which can't be read one by one"
    verified = attempt(reader.verify)
    if not isinstance(verified, Failure):
        failed = {name: outcome for name, outcome in found.items() if _is_broken(outcome)}
        assert not failed, f"verify passes {failed}, which can't be read"


def _is_broken(outcome: Outcome) -> bool:
    """Whether a tensor could not be read because of what is stored."""
    excuses = ("LimitError", "UnsupportedError")
    return isinstance(outcome, Failure) and outcome.kind not in excuses


# --- whether it is right --------------------------------------------------------------------------


def _check_data(case: Case, truth: Truth, manifest: Manifest, found: Mapping[str, Outcome]) -> None:
    """Compare with the original wherever the mutation left a tensor alone, or digests vouch."""
    was, before = truth
    for name, outcome in found.items():
        tensor = manifest.tensors[name]
        stored = _stored(case.mutant, manifest, tensor)
        if tensor.strides is None:
            _check_raw(name, tensor.layout, tensor.components, stored, outcome)
        old = was.tensors.get(name)
        if old is None or manifest.version != was.version or _sense(tensor) != _sense(old):
            continue
        untouched = stored == _stored(case.original, was, old)
        is_vouched = all(
            (part.digest or "").startswith(_CHECKABLE) for part in tensor.components.values()
        )
        if isinstance(outcome, Failure):
            is_here = all(part.shard is None for part in tensor.components.values())
            excused = outcome.rule in _PLACE_ERRORS or not is_here
            assert not untouched or excused or outcome == before[name], (
                f"{name!r} was left alone and can't be read: {outcome}"
            )
        elif untouched or is_vouched:
            assert outcome == before[name] or _has_failure(outcome), f"{name!r} has wrong data"


def _has_failure(outcome: Outcome) -> bool:
    return isinstance(outcome, dict) and any(isinstance(p, Failure) for p in outcome.values())


def _check_raw(
    name: str, layout: str, parts: Mapping[str, Component], stored: Mapping[str, Any], outcome: Any
) -> None:
    """Check that raw elements are the bytes of the file where the manifest says they are."""
    if layout != "dense" or not isinstance(outcome, tuple) or len(outcome) != 3:
        return
    part = parts["data"]
    if part.is_raw and not part.big_endian and part.element.name not in ("bool", "float4_e2m1fn"):
        assert outcome[2] == stored["data"], f"{name!r} is not what is stored"


def _stored(file: Original, manifest: Manifest, tensor: Tensor) -> dict[str, bytes]:
    """Return the bytes of a tensor's components."""
    return {role: _bytes_of(file, manifest, part) for role, part in tensor.components.items()}


def _bytes_of(file: Original, manifest: Manifest, part: Component) -> bytes:
    data = file.data
    if part.shard is not None:
        # One of several files, or a shard of one of them, or of the file itself.
        root, _, name = part.shard.rpartition("/")
        shard = manifest.shards.get(part.shard)
        stem = posixpath.splitext(root)[0] or STEM
        name = name if shard is None else shard.file or f"{stem}-{name}.zt"
        data = file.files.get(name, b"")
    if part.grid is not None:
        spans = zip(part.grid.offsets.tolist(), part.grid.lengths.tolist(), strict=True)
        return b"".join(data[start : start + length] for start, length in spans)
    return data[part.offset : part.offset + part.length] if part.length else b""


def _sense(tensor: Any) -> Any:
    """Return what decides how bytes are read, without the place they lie at."""
    parts = {role: replace(part, offset=0, grid=None) for role, part in tensor.components.items()}
    grids = [_facts(part.grid) for part in tensor.components.values() if part.grid is not None]
    return tensor.shape, tensor.format, tensor.strides, parts, grids


def _facts(grid: ChunkGrid) -> Any:
    arrays = (grid.numbers, grid.lengths, grid.masks)
    of_all = (grid.shape, grid.chunk, grid.filters, grid.fill)
    return of_all, [array.tolist() for array in arrays]


@cache
def _truth(original: Original) -> Truth:
    located = in_memory(original) if original.shards else original.data
    limits = zt.Limits(connections=4)
    with zt.open(located, limits=limits, format=original.format) as reader:
        return reader.manifest, {name: _read(reader[name]) for name in reader}


# --- the command line -----------------------------------------------------------------------------


def _check_command(located: Any, file: Original, *, opens: bool) -> None:
    if not isinstance(located, Path) or file.format != "auto":
        return
    for options in ([], ["--json"]):
        status, out, err = _run(["info", str(located), *options])
        assert status == (0 if opens else 1), f"ztensor info: {status}\n{err}"
        assert bool(out) == opens and bool(err) != opens
        assert not {c for c in out + err if not c.isprintable() and c != "\n"}, "control characters"
        if opens and options:
            json.loads(out, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@contextmanager
def _captured() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        yield out, err


def _run(arguments: list[str]) -> tuple[int, str, str]:
    with _captured() as (out, err):
        status = main(arguments)
    return status, out.getvalue(), err.getvalue()
