"""A file made of tensors of others: bytes that stay the same are copied as they are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..codecs import Hasher
from ..container import Generation
from ..errors import UnsupportedError, located
from ..interop import why_unread
from ..manifest import Component
from ..manifest.dtypes import DType
from ..reader import Blobs, LazyTensor
from ..reader.blocks import blocks
from ..reader.sparse import CSR
from ..stores import CopyingSink, Sink
from ..writer.adders import Adders
from ..writer.assembly import DEFAULT, Assembly, Options
from ..writer.blob import BlobWriter
from ..writer.rules import Checksum, Rules
from .feed import Feed, StoredBlob
from .runs import Run, objects_of, runs_of
from .stored import StoredElements

_LEVEL = 3
"""For what was compressed, and can't stay as it is."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A tensor that is to be copied, and its name in the new file."""

    tensor: LazyTensor
    name: str

    @property
    def blobs(self) -> Blobs:
        """The file that holds it."""
        return self.tensor._blobs

    @property
    def url(self) -> str:
        """Where it comes from, as it may be shown."""
        return self.blobs.url_of(self.tensor._tensor)

    @property
    def parts(self) -> Iterable[Component]:
        """Its components."""
        return self.tensor._tensor.components.values()

    @property
    def place(self) -> tuple[str, int]:
        """The shard that holds it, and its first stored byte there."""
        return min(((part.shard or "", part.offset) for part in self.parts), default=("", 0))


class Copying(Assembly):
    """A file that tensors of other files are copied into.

    Blobs that tensors share stay shared.

    Parameters
    ----------
    sink : Sink
    rules : Rules
    options : Options
        `compress` None leaves each component as it is; `checksum` "default" keeps each digest of
        an algorithm that the version has, and makes its own where there is none.
    tell : callable
        Told the stored bytes that were read.
    """

    def __init__(
        self,
        sink: Sink,
        rules: Rules,
        options: Options,
        *,
        tell: Callable[[int], object] = lambda count: None,
    ) -> None:
        super().__init__(sink, rules, options)
        self._begin(options, tell)

    def _begin(self, options: Options, tell: Callable[[int], object]) -> None:
        self._compress = options.compress
        self._keeps_digests = options.checksum == DEFAULT
        self._tell = tell
        self._copied: dict[StoredBlob, Component] = {}
        self._runs: dict[StoredBlob, Run] = {}

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._output.offset

    def copy(self, chosen: Sequence[Chosen]) -> None:
        """Add tensors, in this order.

        Raises
        ------
        DuplicateNameError, UnsupportedError, FormatError, DigestError, StoreError
        """
        feed = Feed(self._announced(chosen), tell=self._tell)  # which begins with its first use
        self._runs = self._runs_inside(chosen, feed)
        try:
            self._take_objects()
            for each in chosen:
                with located(url=each.url, tensor=each.tensor.name):
                    if self._is_rearranged(each.tensor):
                        self._add_rearranged(each)
                    else:
                        self._add(each, feed)
        finally:
            feed.close()

    def _announced(self, chosen: Sequence[Chosen]) -> Iterator[StoredBlob]:
        """Yield the blobs in the order in which they will be copied, each once."""
        seen = set()
        for each in chosen:
            if self._is_rearranged(each.tensor):
                continue
            for role in self._roles(each.tensor):
                blob = StoredBlob(each.blobs, each.tensor._tensor.components[role])
                if blob not in seen:
                    seen.add(blob)
                    if blob not in self._runs or self._lacks_digest(blob.part):
                        yield blob

    def _runs_inside(self, chosen: Sequence[Chosen], feed: Feed) -> dict[StoredBlob, Run]:
        """Return what the store is to copy inside, by the blobs in it."""
        sink = self._output.sink
        if not isinstance(sink, CopyingSink):
            return {}
        blobs = list[StoredBlob]()
        for each in chosen:
            with located(url=each.blobs.source.url, tensor=each.tensor.name):
                if self._is_rearranged(each.tensor):
                    continue
                for elements in self._elements(each, feed).values():
                    blob = StoredBlob(each.blobs, elements.part)
                    if self._keeps(elements) and sink.copies_from(blob.source):
                        blobs.append(blob)
        if sink.copies_whole:
            all_chosen = {StoredBlob(each.blobs, part) for each in chosen for part in each.parts}
            return objects_of(blobs, all_chosen, self.rules.alignment)
        return runs_of(blobs, self.rules.alignment)

    def _take_objects(self) -> None:
        """Put whole objects before all that has to be sent, as the sink wants them."""
        sink = self._output.sink
        if isinstance(sink, CopyingSink) and sink.copies_whole:
            with self.failing_for_good():
                for run in dict.fromkeys(self._runs.values()):
                    self._copy_run(run)

    def _roles(self, tensor: LazyTensor) -> list[str]:
        parts = tensor._tensor.components
        return sorted(parts, key=lambda role: parts[role].offset)

    # --- where versions differ in how a tensor is put together ---------------------------------

    def _is_rearranged(self, tensor: LazyTensor) -> bool:
        if tensor._tensor.is_rearranged:
            return True
        if tensor.layout not in ("sparse_csr", "sparse_coo"):
            return False
        version = tensor._blobs.manifest.of_tensor(tensor._tensor).version
        is_of_2 = self.rules.generation is Generation.V2
        return version == "0.1" or (version == "2") != is_of_2 or self.rules.version == "1.0"

    def _add_rearranged(self, each: Chosen) -> None:
        tensor = each.tensor
        adders = Adders()
        adders._file = self
        is_compressed = any(part.is_compressed for part in tensor._tensor.components.values())
        compress = is_compressed if self._compress is None else None
        if tensor.layout == "dense":
            self._add_in_c_order(each, adders, compress)
        else:
            self._add_sparse(each, adders, compress)
        self._tell(sum(part.length for part in tensor._tensor.components.values()))

    def _add_in_c_order(self, each: Chosen, adders: Adders, compress: bool | None) -> None:
        tensor, attributes = each.tensor, each.tensor._tensor.attributes
        with adders.stream_tensor(
            each.name, tensor.shape, tensor.dtype, compress=compress, attributes=attributes
        ) as part:
            for block in blocks(tensor):
                part.write(block)

    def _add_sparse(self, each: Chosen, adders: Adders, compress: bool | None) -> None:
        sparse, attributes = each.tensor.sparse(), each.tensor._tensor.attributes
        if isinstance(sparse, CSR):
            adders.add_sparse_csr(
                each.name,
                sparse.values,
                sparse.indices,
                sparse.indptr,
                sparse.shape,
                compress=compress,
                attributes=attributes,
            )
        else:
            adders.add_sparse_coo(
                each.name,
                sparse.values,
                sparse.coords,
                sparse.shape,
                compress=compress,
                attributes=attributes,
            )

    # --- all others ---------------------------------------------------------------------------

    def _add(self, each: Chosen, feed: Feed) -> None:
        tensor = each.tensor._tensor
        why = None if tensor.components else why_unread(tensor.format)
        if why is not None:
            raise UnsupportedError(why)
        options = Options(attributes=tensor.attributes)
        elements = self._elements(each, feed)
        with self._alone():
            shape = self._check_new(each.name, tensor.shape, options)
            sizes: Mapping[str, tuple[DType, int]] = {
                role: (each.element, each.nbytes) for role, each in elements.items()
            }
            self._check_storable(each.name, shape, tensor.format, sizes, options)
            with self.failing_for_good():
                parts = {role: self._copied_part(role, each) for role, each in elements.items()}
                self._keep(each.name, shape, tensor.format, parts, options)

    def _elements(self, each: Chosen, feed: Feed) -> dict[str, StoredElements]:
        lazy, parts = each.tensor.components, each.tensor._tensor.components
        return {
            role: StoredElements.of(lazy[role], each.blobs, parts[role], feed)
            for role in self._roles(each.tensor)
        }

    def _copied_part(self, role: str, elements: StoredElements) -> Component:
        blob = StoredBlob(elements.blobs, elements.part)
        if blob not in self._copied:
            with located(component=role):
                self._copied[blob] = self._copy(elements)
        return self._copied[blob]

    def _copy(self, elements: StoredElements) -> Component:
        if self._keeps(elements):
            return self._as_stored(elements)
        blob = BlobWriter(
            self._output,
            self.rules,
            elements.element,
            level=self._level_for(elements),
            checksum=self._checksum_for(elements.part),
            is_chunked=elements.part.chunk_digests is not None,
        )
        elements.decode(blob.write)
        return blob.finish()

    def _keeps(self, elements: StoredElements) -> bool:
        """Whether the bytes stay as they are stored."""
        part = elements.part
        stays = self._level_for(elements) is None if part.is_raw else self._compress is None
        can_tell = elements.has_digest_of_stored or not self._lacks_digest(part)
        return stays and can_tell and elements.is_storable(self.rules)

    def _lacks_digest(self, part: Component) -> bool:
        """Whether a digest has to be made of the bytes."""
        checksum = self._checksum_for(part)
        return checksum is not None and not (part.digest or "").startswith(f"{checksum}:")

    def _as_stored(self, elements: StoredElements) -> Component:
        part, checksum = elements.part, self._checksum_for(elements.part)
        digest = part.digest if checksum is not None else None
        run = self._runs.get(StoredBlob(elements.blobs, part))
        start = self._begin_blob() if run is None else self._inside(run, part)
        if run is not None and not self._lacks_digest(part):
            self._tell(part.length)
        else:
            hasher = Hasher(checksum) if checksum and self._lacks_digest(part) else None
            for piece in elements.stored():
                if run is None:
                    self._output.write(piece, digest=hasher)
                elif hasher is not None:
                    hasher.update(piece)
            digest = digest if hasher is None else hasher.text()
        storage, logical = self.rules.storage(elements.element)
        return replace(
            part,
            dtype=storage,
            logical=logical,
            offset=start,
            decoded_length=None if part.is_raw else elements.nbytes,
            digest=digest,
            shard=self._output.shard,
        )

    def _begin_blob(self) -> int:
        self._output.pad_to(self.rules.alignment)
        return self._output.offset

    def _inside(self, run: Run, part: Component) -> int:
        """Return where a blob is in the new file; all of its run is copied with the first."""
        target = self._copy_run(run) if run.target is None else run.target
        return target + part.offset - run.start

    def _copy_run(self, run: Run) -> int:
        self._output.pad_to(self.rules.alignment, ahead=run.ahead)
        run.target = self._output.offset
        self._output.copy_from(run.source, run.start, run.stop)
        return run.target

    def _level_for(self, elements: StoredElements) -> int | None:
        """Return the zstd level of a component that is not copied as it is stored."""
        if elements.element.is_packed and self.rules.version != "2":
            return None  # as `Assembly._encoding` has it
        if self._compress is None:
            return None if elements.part.is_raw else _LEVEL
        return self._level

    def _checksum_for(self, part: Component) -> Checksum | None:
        if self._keeps_digests and part.digest is not None:
            for algorithm in self.rules.checksums:
                if part.digest.startswith(f"{algorithm}:"):
                    return algorithm
        return self._checksum
