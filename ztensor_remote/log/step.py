"""A step that is being written: new blobs into a file of their own, the root last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ..codecs import Hasher
from ..container import Generation
from ..errors import AccessDeniedError, ClosedError, ConcurrentWriteError, StepExistsError
from ..manifest import Component, Manifest, Shard
from ..stores import Folder, aborting, open_sink
from ..types import Bytes
from ..writer.assembly import Assembly, Options
from ..writer.blob import Output
from ..writer.elements import Elements
from ..writer.rules import Checksum, rules_of
from ..writer.shard import DATA_SHARD_FOOTER, ShardSink
from .names import data_name, new_shard, root_name

ALIGNMENT = 4096
"""Bytes: what version 2 allows at the least. A smaller blob is stored in the root itself."""


@dataclass(frozen=True, slots=True)
class Base:
    """An earlier step, whose blobs a new one may refer to."""

    step: int
    manifest: Manifest


class DataFile:
    """A sink for a file of blobs without a manifest, begun when the first byte comes."""

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder = folder
        self._name = name
        self._sink: ShardSink | None = None
        self._is_stored = self._is_given_up = False
        self.url = folder.location.child(name).url

    def write(self, data: Bytes) -> None:
        """Append bytes."""
        if self._is_given_up:
            raise ClosedError("the step was given up", url=self.url)
        if self._sink is None:
            location = self._folder.location.child(self._name)
            self._sink = ShardSink(open_sink(location, create=True))
            self._sink.write(Generation.V2.magic)
        self._sink.write(data)

    def commit(self) -> None:
        """Write the footer of a data shard, and store the file; none if nothing was written."""
        if self._sink is not None:
            self._sink.write(DATA_SHARD_FOOTER)
            self._sink.commit()
            self._is_stored = True

    @property
    def shard(self) -> Shard:
        """What roots say of the file, once it is stored."""
        assert self._sink is not None
        return self._sink.shard(self._name)

    def keep(self) -> None:
        """Leave the file where it is, whatever happens: a root may refer to it."""
        self._is_stored = False
        self._sink = None

    def abort(self) -> None:
        """Leave nothing behind."""
        self._is_given_up = True
        if self._is_stored:
            self._is_stored = False
            self._folder.delete([self._name])
        elif self._sink is not None:
            self._sink.abort()


class RootFile:
    """A sink for the root: it is small, and stored by one request that fails if it is there."""

    def __init__(self, folder: Folder, step: int, data_file: DataFile, *, replaces: bool) -> None:
        self._folder = folder
        self._step = step
        self._data_file = data_file
        self._replaces = replaces
        self._data = bytearray()
        self.url = folder.location.child(root_name(step)).url

    def write(self, data: Bytes) -> None:
        """Append bytes."""
        self._data += data

    def commit(self) -> None:
        """Store the root."""
        name = root_name(self._step)
        # What fails here, such as a full disk, has stored nothing.
        root = self._folder.begin(name, self._data, create=not self._replaces)
        try:
            with aborting(root):
                root.commit()
        except ConcurrentWriteError:
            raise step_exists(self._folder, self._step) from None
        except AccessDeniedError:
            raise
        except BaseException:
            # The root may be there, or on its way. If it is not, `prune` removes what it refers to.
            self._data_file.keep()
            raise

    def abort(self) -> None:
        """Leave nothing of the step behind."""
        self._data.clear()
        self._data_file.abort()


class StepAssembly(Assembly):
    """A step under construction.

    Parameters
    ----------
    folder : Folder
    step : int
    options : Options
        Defaults for the tensors.
    base : Base, optional
        The step before. A component with the digest and the length of one of its blobs is not
        stored again.
    published : callable, optional
        Called when the root is stored.
    replaces : bool
        Whether the root is stored over one of ours.
    """

    def __init__(
        self,
        folder: Folder,
        step: int,
        options: Options,
        *,
        base: Base | None,
        published: Callable[[StepAssembly], None] = lambda step: None,
        replaces: bool = False,
    ) -> None:
        self.step = step
        self.base = base
        self._published = published
        self._shard = new_shard()
        self._data_file = DataFile(folder, data_name(step, self._shard))
        self._data = Output(self._data_file, len(Generation.V2.magic), self._shard)
        root = RootFile(folder, step, self._data_file, replaces=replaces)
        super().__init__(root, rules_of("2").aligned(ALIGNMENT), options)
        self._known = _stored_once(base.manifest) if base else {}

    @property
    def refers_to_base(self) -> bool:
        """Whether the step needs blobs that were stored before it."""
        return bool(self._shards.keys() - {self._shard})

    @property
    def manifest(self) -> Manifest:
        """What the root says."""
        attributes = dict(self.attributes.data)
        return Manifest("2", self.tensors, attributes=attributes, shards=self._shards)

    def _output_of(self, nbytes: int) -> Output:
        return self._output if nbytes < ALIGNMENT else self._data

    def _blob(self, elements: Elements, level: int | None, checksum: Checksum | None) -> Component:
        if checksum != "xxh3" or elements.nbytes < ALIGNMENT:
            return super()._blob(elements, level, checksum)
        hasher = Hasher(checksum)
        for chunk in elements.chunks():
            hasher.update(chunk)
        content = (hasher.text(), elements.nbytes)
        if content not in self._known:
            self._known[content] = super()._blob(elements, level, checksum)
        storage, logical = self.rules.storage(elements.element)
        return replace(self._known[content], dtype=storage, logical=logical)

    def _publish(self) -> None:
        self._data_file.commit()
        self._shards = self._shards_in_use()
        super()._publish()

    def _shards_in_use(self) -> Mapping[str, Shard]:
        parts = (part for tensor in self.tensors.values() for part in tensor.components.values())
        names = {part.shard for part in parts if part.shard is not None}
        earlier = self.base.manifest.shards if self.base else {}
        own = self._shard
        return {
            name: self._data_file.shard if name == own else earlier[name] for name in sorted(names)
        }

    def finalize(self) -> None:
        """Store the new blobs, then the root."""
        super().finalize()
        self._published(self)

    def withdraw(self) -> None:
        """Take back the blobs of a step whose root is gone."""
        self._data_file.abort()


def _stored_once(manifest: Manifest) -> dict[tuple[str, int], Component]:
    """Return the components that may be referred to, by digest and decoded length."""
    return {
        (part.digest, part.stated_length): part
        for tensor in manifest.tensors.values()
        for part in tensor.components.values()
        if part.shard is not None
        and part.stated_length is not None
        and part.digest is not None
        and part.digest.startswith("xxh3:")
    }


def step_exists(folder: Folder, step: int) -> StepExistsError:
    """Return the error for a step that is there."""
    return StepExistsError(
        f"the log has a step {step}; it stays as it is, and nothing of this one was stored",
        url=folder.url,
    )
