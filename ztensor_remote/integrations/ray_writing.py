"""Tensors that Ray's workers have made to a file: each stores a shard, the root comes last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import DuplicateNameError, InvalidInputError
from ..stores import locate
from ..types import StorageOptions
from ..writer import Writer
from ..writer.assembly import DEFAULT, Options
from ..writer.rules import Checksum
from .ray import import_ray, results
from .sharded import Job, Written, discarding, publish, write_shard


def to_zt(
    parts: Iterable[Any],
    url: Any,
    *,
    storage_options: StorageOptions | None = None,
    fs: Any = None,
    compress: bool | int = False,
    checksum: Checksum | str | None = DEFAULT,
    attributes: Mapping[str, Any] | None = None,
    ray_remote_args: Mapping[str, Any] | None = None,
) -> None:
    """Store tensors that lie in Ray's object store as one model of version 2.

    Each part becomes a shard, a file beside `url` that begins with its name, written by a task on
    a node that has the part. The root, `url`, is written at the end by the caller's process:
    before that nothing appears, and after an error the shards are deleted. Those of a model that
    `url` was before stay where they are.

    Parameters
    ----------
    parts : iterable of ObjectRef or mapping
        Each stands for a dict of names to tensors, as `Writer.add_tensor` takes them, such as a
        task or an actor's method returns. Tensors may themselves be given as references.
    url : str, PathLike or UPath
        On a filesystem that all workers reach.
    storage_options, fs, compress, checksum, attributes
        As for `Writer`; `attributes` are those of the file.
    ray_remote_args : mapping, optional
        Options of the tasks, as Ray Data takes them: ``{"num_cpus": 0}`` where actors hold all
        processors.

    Raises
    ------
    InvalidInputError, DuplicateNameError, UnsupportedError
    StoreError, MissingDependencyError
    """
    write = import_ray("ray").remote(_write)
    settings = {"name": "ztensor_remote.ray.to_zt", **(ray_remote_args or {})}
    options = Options(compress, checksum, attributes)
    job = Job.to(locate(url, storage_options=storage_options, fs=fs), (), options)
    with discarding(job):
        shards = results([write.options(**settings).remote(job, part) for part in parts])
        publish(job, shards, _names(shards, job.place.url))


def _names(shards: list[Written], url: str) -> list[str]:
    names = [name for shard in shards for name in shard.tensors]
    for name, times in Counter(names).items():
        if times > 1:
            raise DuplicateNameError("the tensor is in more than one part", tensor=name, url=url)
    return names


def _write(job: Job, part: Any) -> Written:
    ray = import_ray("ray")
    if not isinstance(part, Mapping):
        raise InvalidInputError(
            f"a part is a dict of names to tensors, not a {type(part).__name__}", url=job.place.url
        )

    def add(writer: Writer) -> None:
        for name, value in part.items():
            writer.add_tensor(name, ray.get(value) if isinstance(value, ray.ObjectRef) else value)

    return write_shard(job, add)
