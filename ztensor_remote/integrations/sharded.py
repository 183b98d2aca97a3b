"""One model that many workers write: a file each, and a root that makes them appear together.

A shard is a whole version-2 file. The root, which is written last, has no tensors of its own: it
refers to those of the shards (SPEC.md §10).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..errors import FormatError, InvalidInputError, NotFoundError
from ..manifest import Shard, Tensor
from ..reader import open
from ..stores import Folder, Location, Sink, open_sink
from ..writer import Writer
from ..writer.assembly import Assembly, Options
from ..writer.rules import check_written_name, rules_of
from ..writer.shard import ShardSink

_LONGEST_STEM = 190
"""Characters of a root's name: those of its shards have 40 more, and at most 255."""


@dataclass(frozen=True)
class Job:
    """What all writers of one model have to know.

    Attributes
    ----------
    place : Location
        Of the root.
    run : str
        Part of the names of all shards, drawn anew for each model that is written.
    options : Options
    """

    place: Location
    run: str
    options: Options

    @classmethod
    def to(cls, place: Location, names: Iterable[str], options: Options) -> Job:
        """Check what can be known before anything is computed.

        Raises
        ------
        InvalidInputError
        """
        if place.data is not None:
            raise InvalidInputError("workers need a path or a URL to write to")
        if len(place.stem) > _LONGEST_STEM:
            raise InvalidInputError(
                f"the names of the shards would be too long: at most {_LONGEST_STEM} characters",
                url=place.url,
            )
        for name in names:
            check_written_name(name, "a tensor")
        rules_of("2").check_attributes(options.attributes or {}, of_tensor=False)
        if place.is_local:  # workers may run in other folders
            place = Location(place.local_path)
        return cls(place, secrets.token_hex(6), options)

    @property
    def folder(self) -> Folder:
        """Where the shards are."""
        return Folder(self.place.sibling(""))

    def is_ours(self, file: str) -> bool:
        """Whether a file is a shard of this model, that of a repeated attempt too."""
        return file.startswith(f"{self.place.stem}-{self.run}-") and file.endswith(".zt")

    def file_of(self, shard: str) -> str:
        """Return the name that readers look for."""
        return f"{self.place.stem}-{shard}.zt"


@dataclass(frozen=True)
class Written:
    """A shard that is stored.

    Attributes
    ----------
    name : str
    shard : Shard
    tensors : mapping of str to Tensor
        As the root has to have them.
    """

    name: str
    shard: Shard
    tensors: Mapping[str, Tensor]


def write_shard(job: Job, add: Callable[[Writer], object]) -> Written:
    """Write some of the tensors, under a name that no other attempt has.

    Parameters
    ----------
    job : Job
    add : callable
        Gives them to a writer.

    Raises
    ------
    InvalidInputError, UnsupportedError, StoreError
        Nothing appeared.
    """
    name = f"{job.run}-{secrets.token_hex(8)}"
    sink = ShardSink(open_sink(job.place.sibling(job.file_of(name)), create=True))
    options = replace(job.options, attributes=None)
    file = Assembly(sink, rules_of("2"), options)
    with Writer._of(file) as writer:
        add(writer)
    return Written(name, sink.shard(), {key: _in_shard(t, name) for key, t in file.tensors.items()})


def _in_shard(tensor: Tensor, shard: str) -> Tensor:
    parts = {role: replace(part, shard=shard) for role, part in tensor.components.items()}
    return replace(tensor, components=parts)


class _Root(Assembly):
    """The root under construction."""

    def __init__(self, sink: Sink, shards: Iterable[Written], names: Iterable[str]) -> None:
        super().__init__(sink, rules_of("2"), Options())
        written = list(shards)
        known = {name: tensor for each in written for name, tensor in each.tensors.items()}
        self.tensors |= {name: known[name] for name in names}
        self._shards = {each.name: each.shard for each in written}


def publish(job: Job, shards: Iterable[Written], names: Iterable[str]) -> None:
    """Write the root, and take away what repeated attempts have left.

    Parameters
    ----------
    job : Job
    shards : iterable of Written
    names : iterable of str
        Of all tensors, in the order of the file.

    Raises
    ------
    StoreError
        Nothing appeared.
    """
    written = list(shards)
    with Writer._of(_Root(open_sink(job.place), written, names)) as root:
        root.attributes.update(job.options.attributes or {})
    discard(job, {job.file_of(each.name) for each in written})


def discard(job: Job, kept: Iterable[str] = ()) -> None:
    """Delete the shards of a model, but for some.

    Raises
    ------
    StoreError
    """
    folder, kept = job.folder, set(kept)
    files = (file for file in folder.entries() if job.is_ours(file))
    folder.delete([file for file in files if file not in kept])


@contextmanager
def discarding(job: Job) -> Iterator[None]:
    """Delete all shards if the block fails, unless the root is there and needs them."""
    try:
        yield
    except BaseException as error:
        try:
            if not _is_published(job):
                discard(job)
        except Exception as second:
            error.add_note(f"Cleaning up failed too: {second}")
        raise


def _is_published(job: Job) -> bool:
    try:
        with open(job.place) as root:
            return any(name.startswith(job.run) for name in root.manifest.shards)
    except (NotFoundError, FormatError):
        return False
