"""Tensors in Ray's object store: fetched once a node, and shared by all workers there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from ..errors import InvalidInputError, ZTensorError
from ..reader.arrays import is_foreign
from ..reader.handle import Handle
from .chunking import groups_of
from .extras import import_extra
from .opening import opened

if TYPE_CHECKING:
    from ray import ObjectRef

Placement: TypeAlias = Literal["nodes", "here", "spread"]

_GROUP = 64 << 20
"""Bytes of tensors that a node fetches at once; twice as much is in its memory for a moment."""

import_ray = partial(import_extra, library="Ray")


class SharedTensors(Mapping[str, Any]):
    """Tensors in Ray's object store, by name; tasks and actors take it as an argument.

    Arrays are read-only views of the object store of the node, without a copy. Ray brings a
    tensor from another node where this one has none. Sparse tensors are SciPy matrices.

    `load` makes it.
    """

    def __init__(self, stored: Mapping[str, Mapping[str, ObjectRef]]) -> None:
        self._stored = stored
        self._anywhere = {name: ref for node in stored.values() for name, ref in node.items()}

    def load(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Return many tensors at once, all by default.

        Raises
        ------
        KeyError
        """
        chosen = list(self if names is None else names)
        ray = import_ray("ray")
        near = self._stored.get(ray.get_runtime_context().get_node_id(), {})
        refs = [near.get(name, self._anywhere[name]) for name in chosen]
        return dict(zip(chosen, map(_unpacked, ray.get(refs)), strict=True))

    def __getitem__(self, name: str) -> Any:
        """Return one tensor."""
        return self.load([name])[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._anywhere)

    def __len__(self) -> int:
        return len(self._anywhere)

    def __contains__(self, name: object) -> bool:
        return name in self._anywhere

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<SharedTensors: {len(self)} tensors on {len(self._stored)} nodes>"


def load(
    source: Any,
    names: Iterable[str] | None = None,
    *,
    placement: Placement = "nodes",
    **options: Any,
) -> SharedTensors:
    """Fetch tensors into Ray's object store, once a node, and return when they are there.

    Parameters
    ----------
    source : Reader, or a location as `Reader` takes it
    names : iterable of str, optional
        All by default.
    placement : {"nodes", "here", "spread"}
        On each node of the cluster; on the caller's node alone; or spread over the nodes, each
        tensor on one of them.
    **options
        Keyword arguments of `Reader`, where it is opened here.

    Returns
    -------
    SharedTensors

    Raises
    ------
    InvalidInputError
        There is no such placement.
    TensorNotFoundError, FormatError, DigestError, StoreError, MissingDependencyError
    """
    with opened(source, options) as reader:
        handle = reader._handle
        sizes = {name: reader[name].nbytes for name in (reader if names is None else names)}
    plan = _placed(groups_of(sizes, _GROUP), placement)
    fetched = {node: _start(handle, groups, node) for node, groups in plan.items() if groups}
    results([done for _, done in fetched.values()])
    return SharedTensors({node: refs for node, (refs, _) in fetched.items()})


def _placed(groups: Sequence[list[str]], placement: Placement) -> dict[str, Sequence[list[str]]]:
    """Return what each node fetches."""
    ray = import_ray("ray")
    if placement == "here":
        return {ray.get_runtime_context().get_node_id(): groups}
    nodes = sorted(node["NodeID"] for node in ray.nodes() if node["Alive"])
    if placement == "nodes":
        return dict.fromkeys(nodes, groups)
    if placement == "spread":
        return {node: groups[index :: len(nodes)] for index, node in enumerate(nodes)}
    raise InvalidInputError(f"placement is 'nodes', 'here' or 'spread', not {placement!r}")


def _start(
    handle: Handle, groups: Sequence[list[str]], node: str
) -> tuple[dict[str, ObjectRef], ObjectRef]:
    """Let a node fetch tensors; return a reference for each, and one that comes at the end."""
    names = [name for group in groups for name in group]
    strategies = import_ray("ray.util.scheduling_strategies")
    task = import_ray("ray").remote(_fetch)
    *refs, done = task.options(
        name="ztensor_remote.ray.load",
        num_cpus=0,  # actors may hold all processors while they wait for this
        num_returns=len(names) + 1,
        scheduling_strategy=strategies.NodeAffinitySchedulingStrategy(node, soft=False),
    ).remote(handle, groups)
    return dict(zip(names, refs, strict=True)), done


def _fetch(handle: Handle, groups: Sequence[list[str]]) -> Iterator[Any]:
    """Yield tensor after tensor: each goes to the object store before the next is asked for."""
    reader = handle.reader()
    with ThreadPoolExecutor(1) as fetching:
        coming = fetching.submit(reader.load, groups[0])
        for group, following in zip_longest(groups, groups[1:], fillvalue=()):
            loaded = coming.result()
            coming = fetching.submit(reader.load, following)
            for name in group:
                yield _packed(loaded.pop(name))
    yield None


def _packed(value: Any) -> Any:
    """Return what Ray stores without a copy: pickle can't do that for dtypes of ml_dtypes."""
    if isinstance(value, np.ndarray) and is_foreign(value.dtype):
        return _Words(value.view(f"u{value.itemsize}"), value.dtype)
    return value


def _unpacked(value: Any) -> Any:
    return value.words.view(value.dtype) if isinstance(value, _Words) else value


class _Words:
    """An array as words of the size of its elements."""

    def __init__(self, words: Any, dtype: Any) -> None:
        self.words, self.dtype = words, dtype


def results(refs: list[ObjectRef]) -> list[Any]:
    """Wait until all tasks have ended, and return their values.

    Raises
    ------
    ZTensorError
        What a task raised, as it was there.
    """
    ray, exceptions = import_ray("ray"), import_ray("ray.exceptions")
    if refs:
        ray.wait(refs, num_returns=len(refs), fetch_local=False)
    try:
        values: list[Any] = ray.get(refs)
    except exceptions.RayTaskError as error:
        if isinstance(error.cause, ZTensorError):
            raise error.cause from None
        raise
    return values
