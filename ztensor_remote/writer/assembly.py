"""The file as it grows: what may be added, where it goes, how it ends."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from threading import RLock
from typing import Any, Literal

from ..container import Footer, build_footer
from ..errors import ClosedError, DuplicateNameError, InvalidInputError, located
from ..manifest import Component, Manifest, Shard, Tensor, encode_manifest, manifest_hash
from ..manifest.dtypes import DType
from ..manifest.fields import MAX_RANK, MAX_U64
from ..stores import Sink
from .abandoned import watch
from .attributes import Attributes
from .blob import BlobWriter, Output
from .elements import Elements
from .part import TensorPart
from .rules import Checksum, Rules, check_written_name, compression_level, is_normal
from .sharing import SharedBlobs

DEFAULT = "default"
"""The version's own digest: crc32c for 1.x, xxh3 for 2."""


@dataclass(frozen=True, slots=True)
class Options:
    """How one tensor is stored; None and "default" leave it to the writer.

    Attributes
    ----------
    compress : bool, int or None
    checksum : str or None
    attributes : mapping or None
    chunk_digests, copy : bool
        For all tensors of the file.
    """

    compress: bool | int | None = None
    checksum: Checksum | str | None = DEFAULT
    attributes: Mapping[str, Any] | None = None
    chunk_digests: bool = False
    copy: bool = True


class Assembly:
    """A file under construction.

    Everything is checked before its first byte is written. A failure after that leaves the file
    incomplete: it is given up, and says so when it is used again. It belongs to the process that
    made it: a forked child can neither go on with it nor spoil it.

    Parameters
    ----------
    sink : Sink
    rules : Rules
    options : Options
        Defaults for the tensors.
    dedup, canonical : bool
    base : Manifest, optional
        What the file already holds; the sink then continues after its `offset` bytes.
    """

    def __init__(
        self,
        sink: Sink,
        rules: Rules,
        options: Options,
        *,
        dedup: bool = False,
        canonical: bool = False,
        base: Manifest | None = None,
        offset: int = 0,
    ) -> None:
        self.state: Literal["open", "failed", "finalized", "aborted"] = "open"
        self.rules = rules
        self.url = sink.url
        self.tensors: dict[str, Tensor] = dict(base.tensors) if base else {}
        self._output = Output(sink, offset)
        self._shards: Mapping[str, Shard] = base.shards if base else {}
        self._canonical = canonical
        self._is_chunked = options.chunk_digests
        self._copies = options.copy
        self._shared = SharedBlobs(rules) if dedup or canonical else None
        self._part: TensorPart | None = None
        self._process = os.getpid()
        self._turn = RLock()
        with self.failing_for_good():
            initial = deepcopy(dict(base.attributes)) if base else None
            self.attributes = Attributes(rules, self._check_going_on, initial)
            self._level = compression_level(options.compress)
            self._checksum: Checksum | None = rules.checksums[0]
            self._checksum = self._chosen(options.checksum)
            if base is None:
                self._output.write(rules.generation.magic)
        watch(self)

    @property
    def fallback(self) -> str | None:
        """Why parts are not sent by plain requests, where the sink has such."""
        return getattr(self._output.sink, "fallback", None)

    # --- adding ------------------------------------------------------------------------------

    def add(
        self,
        name: str,
        shape: Sequence[int],
        layout: str,
        components: Mapping[str, Elements],
        options: Options,
    ) -> None:
        """Add a tensor whose components are all at hand."""
        with located(url=self.url, tensor=name), self._alone():
            sizes = self._check_new(name, shape, options)
            blobs = {role: (part.element, part.nbytes) for role, part in components.items()}
            self._check_storable(name, sizes, layout, blobs, options)
            order = sorted(components) if self.rules.version == "2" else list(components)
            chosen = {role: self._encoding(options, components[role].element) for role in order}
            with self.failing_for_good():
                parts = {role: self._blob(components[role], *chosen[role]) for role in order}
                self._keep(name, sizes, layout, parts, options)

    @contextmanager
    def part(
        self, name: str, shape: Sequence[int], element: DType, options: Options
    ) -> Iterator[TensorPart]:
        """Add a dense tensor whose bytes come piece by piece."""
        place = {"url": self.url, "tensor": name}
        with located(**place), self._alone():
            sizes = self._check_new(name, shape, options)
            blob_size = element.nbytes(math.prod(sizes))
            self._check_storable(name, sizes, "dense", {"data": (element, blob_size)}, options)
            level, checksum = self._encoding(options, element)
            with self.failing_for_good():
                output = self._output_of(blob_size)
                blob = BlobWriter(
                    output,
                    self.rules,
                    element,
                    level=level,
                    checksum=checksum,
                    is_chunked=self._is_chunked,
                )
                part = self._part = TensorPart(
                    name,
                    sizes,
                    element,
                    blob,
                    url=self.url,
                    storing=self.failing_for_good,
                    hash_content=self._shared is not None,
                )
        with self.failing_for_good():
            try:
                yield part
                if self.state == "aborted":  # in the block, on purpose
                    return
                with located(**place), self._alone():
                    component = part.finish()
                    self._keep_streamed(part, component, level, checksum)
                    self._keep(name, sizes, "dense", {"data": component}, options)
            finally:
                part.close()
                self._part = None

    def _blob(self, elements: Elements, level: int | None, checksum: Checksum | None) -> Component:
        content = SharedBlobs.content_of(elements.chunks()) if self._shared else None
        if self._shared and content:
            shared = self._shared.find(content, level, checksum, elements.element)
            if shared is not None:
                return shared
        output = self._output_of(elements.nbytes)
        blob = BlobWriter(
            output,
            self.rules,
            elements.element,
            level=level,
            checksum=checksum,
            is_chunked=self._is_chunked,
        )
        lent = elements.is_in_place and not self._copies
        for chunk in elements.chunks():
            blob.write(chunk, lent=lent)
        component = blob.finish()
        if self._shared and content:
            self._shared.keep(content, level, checksum, component)
        return component

    def _output_of(self, nbytes: int) -> Output:
        """Return what a blob of so many decoded bytes is written to."""
        return self._output

    def _keep_streamed(
        self, part: TensorPart, component: Component, level: int | None, checksum: Checksum | None
    ) -> None:
        """Let later tensors share a streamed blob; it is written itself, whatever it equals."""
        if self._shared is None:
            return
        content = part.content_digest()
        if self._canonical and self._shared.find(content, level, checksum, part.element):
            raise InvalidInputError(
                "a canonical file stores equal bytes once, and this content is already in it; add "
                "it with add_tensor",
                tensor=part.name,
            )
        self._shared.keep(content, level, checksum, component)

    def _keep(
        self,
        name: str,
        shape: tuple[int, ...],
        layout: str,
        parts: Mapping[str, Component],
        options: Options,
    ) -> None:
        attributes = dict(options.attributes) if options.attributes else None
        self.tensors[name] = self.rules.tensor(name, shape, layout, dict(parts), attributes)

    # --- checks, before a byte is written ----------------------------------------------------

    def check_open(self) -> None:
        """Refuse to go on with a file that is finished, given up, or amid a streamed tensor."""
        self._check_going_on()
        if self._part is not None:
            raise InvalidInputError(
                f"tensor {self._part.name!r} is still being streamed", url=self.url
            )

    def _check_going_on(self) -> None:
        if not self.is_ours:
            raise ClosedError(
                "the writer stayed with the process that made it; make another one here, under "
                "another name",
                url=self.url,
            )
        if self.state == "failed":
            raise ClosedError(
                "an earlier error left the file incomplete; it was given up. Write it again with "
                "a new writer",
                url=self.url,
            )
        if self.state != "open":
            raise ClosedError(
                f"the writer is {self.state}; make a new one, or append to the file", url=self.url
            )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads waiting: a file takes one tensor at a time."""
        self._check_going_on()  # first: in a forked child the lock may be held for ever
        with self._turn:
            yield

    @property
    def is_ours(self) -> bool:
        """Whether this process made it, and not the one that it was forked from."""
        return self._process == os.getpid()

    def _check_new(self, name: str, shape: Sequence[int], options: Options) -> tuple[int, ...]:
        self.check_open()
        check_written_name(name, "a tensor")
        if name in self.tensors:
            raise DuplicateNameError("there is a tensor of this name", tensor=name, url=self.url)
        if self._canonical:
            self._check_canonical(name)
        self.rules.check_attributes(options.attributes or {}, of_tensor=True)
        return _checked_shape(name, shape)

    def _check_canonical(self, name: str) -> None:
        last = next(reversed(self.tensors), None)
        if last is not None and name.encode() < last.encode():
            raise InvalidInputError(
                f"canonical files hold tensors in the order of their names: {name!r} must come "
                f"before {last!r}",
                url=self.url,
            )
        if not is_normal(name):
            raise InvalidInputError(f"canonical files want names in Unicode NFC: {name!r}")

    def _check_storable(
        self,
        name: str,
        shape: tuple[int, ...],
        layout: str,
        blobs: Mapping[str, tuple[DType, int]],
        options: Options,
    ) -> None:
        if not blobs:
            raise InvalidInputError("a tensor needs a component", tensor=name)
        if not isinstance(layout, str):
            raise InvalidInputError(f"a layout id is text, not {layout!r}", tensor=name)
        parts = {}
        for role, (element, length) in blobs.items():
            check_written_name(role, "a component")
            storage, logical = self.rules.storage(element)
            parts[role] = Component(storage, 0, length, logical)
        self.rules.check_tensor(self.rules.tensor(name, shape, layout, parts, options.attributes))

    def _encoding(self, options: Options, element: DType) -> tuple[int | None, Checksum | None]:
        """Return zstd level and digest algorithm of a component."""
        stated = options.compress
        level = self._level if stated is None else compression_level(stated)
        if self._canonical and level is not None:
            raise InvalidInputError("canonical files are not compressed")
        if element.is_packed and self.rules.version != "2":
            level = None  # published 1.x readers would fill what they miss with zeros (§13.3)
        return level, self._chosen(options.checksum)

    def _chosen(self, checksum: Checksum | str | None) -> Checksum | None:
        chosen: Any = self._checksum if checksum == DEFAULT else checksum
        self.rules.check_checksum(chosen)
        if self._canonical and chosen != "xxh3":
            raise InvalidInputError("canonical files have xxh3 digests")
        return chosen  # type: ignore[no-any-return]

    # --- ending ------------------------------------------------------------------------------

    def finalize(self) -> None:
        """Write manifest and footer, and publish."""
        with self._alone():
            self.check_open()
            self._finalize()

    def _finalize(self) -> None:
        with self.failing_for_good():
            self.attributes.check()
            self._publish()
            self.state = "finalized"

    def _publish(self) -> None:
        attributes = self.attributes.data
        write_ending(
            self._output,
            self.rules,
            Manifest(self.rules.version, self.tensors, attributes=attributes, shards=self._shards),
        )
        self._output.commit()

    def abort(self) -> None:
        """Give up; after a clean-up that failed, try again."""
        if self.state != "finalized":
            self.state = "aborted"
            if self.is_ours:
                self._output.abort()

    def fail(self, error: BaseException) -> None:
        """Give up because of an error, which stays the one that is reported."""
        if self.state == "open":
            self.state = "failed"
            if self.is_ours:
                self._output.give_up(error)

    @contextmanager
    def failing_for_good(self) -> Iterator[None]:
        """Give the file up when writing it fails."""
        try:
            yield
        except BaseException as error:
            self.fail(error)
            raise


def write_ending(output: Output, rules: Rules, manifest: Manifest) -> None:
    """Write manifest and footer behind the last blob."""
    if rules.version == "2":
        output.pad_to(rules.alignment)
    data = encode_manifest(manifest)
    digest = manifest_hash(data) if rules.version == "2" else None
    footer = Footer(rules.generation, output.offset, len(data), digest)
    output.write(data)
    output.write(build_footer(footer))


def _checked_shape(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    try:
        sizes = tuple(operator.index(size) for size in shape)
    except TypeError:
        raise InvalidInputError(f"shape {shape!r} is not a sequence of integers") from None
    if len(sizes) > MAX_RANK:
        raise InvalidInputError(f"{len(sizes)} dimensions; the most is {MAX_RANK}", tensor=name)
    count = 1
    for size in sizes:
        count *= size
        if not 0 <= size <= MAX_U64 or count > MAX_U64:
            raise InvalidInputError(f"shape {sizes} has no valid element count", tensor=name)
    return sizes
