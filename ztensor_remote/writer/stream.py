"""Write a file of tensors as a stream: blobs first, the manifest and the footer last."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

from ..errors import InvalidInputError
from ..manifest.dtypes import dtype_named
from ..reader.sparse import COO, CSR
from ..stores import locate, open_sink
from ..types import StorageOptions
from .assembly import DEFAULT, Assembly, Options
from .elements import dtype_name, elements_of, is_torch
from .part import TensorPart
from .rules import Checksum, WritableVersion, rules_of
from .sparse import coo_of, csr_of


class Writer:
    """Write a new file; nothing appears under its name until it is whole.

    Parameters
    ----------
    location : str, PathLike or UPath
        A path, or a URL of any fsspec filesystem that can be written to.
    version : {"1.2", "1.0", "2"}
        Container version. 1.2 is read by published packages from 1.0.2 to 1.2.3, 1.0 by 1.0.0
        and 1.0.1, 2 by 2.x.
    storage_options, fs
        As for `open`.
    compress : bool or int, default False
        zstd for all tensors: True for level 3, or a level from 1 to 22.
    checksum : str or None, default "default"
        Digest of each component: "crc32c" or "sha256" (1.x), "xxh3" or "sha256" (2), or None.
    dedup : bool, default False
        Store equal bytes once (tied weights), where compression and digest are the same. Costs a
        SHA-256 of everything that is added. A tensor that is streamed is always written itself.
    canonical : bool, default False
        Version 2 only: equal tensors give equal files. Tensors must be added in the order of
        their names.

    Raises
    ------
    InvalidInputError, UnsupportedError, StoreError

    Examples
    --------
    >>> with Writer("model.zt") as w:  # doctest: +SKIP
    ...     w.add_tensor("weight", array, compress=True)
    """

    def __init__(
        self,
        location: Any,
        *,
        version: WritableVersion = "1.2",
        storage_options: StorageOptions | None = None,
        fs: Any = None,
        compress: bool | int = False,
        checksum: Checksum | str | None = DEFAULT,
        dedup: bool = False,
        canonical: bool = False,
    ) -> None:
        rules = rules_of(version)
        if canonical and (version != "2" or compress or checksum not in (DEFAULT, "xxh3")):
            raise InvalidInputError(
                "canonical files are version 2, not compressed, with xxh3 digests: "
                "Writer(..., version='2', canonical=True)"
            )
        options = Options(compress, checksum)
        sink = open_sink(locate(location, storage_options=storage_options, fs=fs))
        self._file = Assembly(sink, rules, options, dedup=dedup, canonical=canonical)

    @classmethod
    def _continuing(cls, file: Assembly) -> Self:
        writer = cls.__new__(cls)
        writer._file = file
        return writer

    @property
    def url(self) -> str:
        """Where the file will be, without credentials."""
        return self._file.url

    @property
    def version(self) -> WritableVersion:
        """The container version that is written."""
        return self._file.rules.version

    @property
    def attributes(self) -> MutableMapping[str, Any]:
        """Attributes of the file as a whole; set them until it is finalized."""
        return self._file.attributes

    @property
    def tensor_names(self) -> list[str]:
        """Names that the file will have, in the order they were added."""
        return list(self._file.tensors)

    def add_tensor(
        self,
        name: str,
        tensor: Any,
        compress: bool | int | None = None,
        *,
        checksum: Checksum | str | None = DEFAULT,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a tensor.

        Parameters
        ----------
        name : str
            1 to 1024 bytes of UTF-8, without NUL.
        tensor : numpy.ndarray, torch.Tensor on the CPU, sparse matrix, or anything with __array__
            Of any strides and byte order; its bytes are taken before this returns.
        compress : bool or int, optional
            As for the writer, for this tensor.
        checksum : str or None
            As for the writer, for this tensor.
        attributes : mapping, optional
            Kept with the tensor: any of None, bool, int, float, str, bytes, list, dict.

        Raises
        ------
        DuplicateNameError, InvalidInputError, UnsupportedError, StoreError
        """
        options = Options(compress, checksum, attributes)
        layout = str(getattr(tensor, "layout", "")) if is_torch(tensor) else ""
        if layout == "torch.sparse_coo" or getattr(tensor, "format", None) == "coo":
            coo = coo_of(tensor, None, None, unique=self.version == "2")
            self._add_coo(name, coo, options)
        elif layout == "torch.sparse_csr" or hasattr(tensor, "tocsr"):
            csr = csr_of(tensor, None, None, None, sorted_rows=self.version == "2")
            self._add_csr(name, csr, options)
        else:
            elements = elements_of(tensor)
            self._file.add(name, elements.shape, "dense", {"data": elements}, options)

    def add_sparse_csr(
        self,
        name: str,
        values: Any,
        indices: Any = None,
        indptr: Any = None,
        shape: Sequence[int] | None = None,
        *,
        compress: bool | int | None = None,
        checksum: Checksum | str | None = DEFAULT,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a matrix in compressed sparse row form.

        Parameters
        ----------
        values : array, shape (nnz,), or a SciPy or torch sparse matrix
        indices : integer array, shape (nnz,)
            Column of each value.
        indptr : integer array, shape (rows + 1,)
        shape : (rows, columns)
        compress, checksum, attributes
            As for `add_tensor`.

        Raises
        ------
        DuplicateNameError, InvalidInputError, UnsupportedError, StoreError
        """
        matrix = csr_of(values, indices, indptr, shape, sorted_rows=self.version == "2")
        self._add_csr(name, matrix, Options(compress, checksum, attributes))

    def _add_csr(self, name: str, matrix: CSR, options: Options) -> None:
        arrays = {"values": matrix.values, "indices": matrix.indices, "indptr": matrix.indptr}
        elements = {role: elements_of(array) for role, array in arrays.items()}
        self._file.add(name, matrix.shape, self._file.rules.csr, elements, options)

    def add_sparse_coo(
        self,
        name: str,
        values: Any,
        indices: Any = None,
        shape: Sequence[int] | None = None,
        *,
        compress: bool | int | None = None,
        checksum: Checksum | str | None = DEFAULT,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a tensor as a list of coordinates.

        Parameters
        ----------
        values : array, shape (nnz,), or a SciPy or torch sparse tensor
        indices : integer array, shape (ndim, nnz)
        shape : tuple of int
        compress, checksum, attributes
            As for `add_tensor`.

        Raises
        ------
        DuplicateNameError, InvalidInputError, UnsupportedError, StoreError
        """
        tensor = coo_of(values, indices, shape, unique=self.version == "2")
        self._add_coo(name, tensor, Options(compress, checksum, attributes))

    def _add_coo(self, name: str, tensor: COO, options: Options) -> None:
        arrays = {"values": tensor.values, "coords": tensor.coords.reshape(-1)}
        elements = {role: elements_of(array) for role, array in arrays.items()}
        self._file.add(name, tensor.shape, self._file.rules.coo, elements, options)

    def add_quantized_group(
        self,
        name: str,
        packed_weight: Any,
        scales: Any,
        zeros: Any = None,
        *,
        shape: Sequence[int],
        bits: int,
        group_size: int,
        packing: str | Mapping[str, Any],
        compress: bool | int | None = None,
        checksum: Checksum | str | None = DEFAULT,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Add weights quantized in groups that share a scale.

        Parameters
        ----------
        packed_weight : integer array
            The packed codes.
        scales : array
            One a group.
        zeros : array, optional
            Zero points.
        shape : tuple of int
            Of the tensor that they stand for.
        bits, group_size : int
            Width of a code; codes that share a scale.
        packing : str or mapping
            How codes lie in a word. Version 2 wants the mapping of ``zt.quant_group/1``
            (``word``, ``order``, ``per_word``), and `axis`, `scale_form` and `zero_point`
            among the attributes (SPEC.md §3.6).
        compress, checksum, attributes
            As for `add_tensor`.

        Raises
        ------
        DuplicateNameError, InvalidInputError, UnsupportedError, StoreError
        """
        stated = {"bits": bits, "group_size": group_size, "packing": packing, **(attributes or {})}
        if self.version == "2":
            missing = {"axis", "scale_form", "zero_point"} - set(stated)
            if missing or not isinstance(packing, Mapping):
                raise InvalidInputError(
                    "version 2 needs packing= as a mapping of word, order and per_word, and the "
                    "attributes axis, scale_form and zero_point",
                    tensor=name,
                )
        codes = "data" if self.version == "2" else "packed_weight"
        arrays = {codes: packed_weight, "scales": scales, "zeros": zeros}
        self._file.add(
            name,
            shape,
            self._file.rules.quantized,
            {role: elements_of(array) for role, array in arrays.items() if array is not None},
            Options(compress, checksum, stated),
        )

    def add_object(
        self,
        name: str,
        components: Mapping[str, Any],
        *,
        shape: Sequence[int],
        format: str,
        compress: bool | int | None = None,
        checksum: Checksum | str | None = DEFAULT,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a tensor of any layout, as the components that it is made of.

        Parameters
        ----------
        components : mapping of str to array
            Role to elements.
        shape : tuple of int
            Of the tensor that they stand for.
        format : str
            Layout id. Readers that don't know it still give the components.
        compress, checksum, attributes
            As for `add_tensor`.

        Raises
        ------
        DuplicateNameError, InvalidInputError, UnsupportedError, StoreError
        """
        self._file.add(
            name,
            shape,
            format,
            {role: elements_of(array) for role, array in components.items()},
            Options(compress, checksum, attributes),
        )

    def stream_tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: Any,
        *,
        compress: bool | int | None = None,
        checksum: Checksum | str | None = DEFAULT,
        attributes: Mapping[str, Any] | None = None,
    ) -> AbstractContextManager[TensorPart]:
        """Add a dense tensor piece by piece: ``with w.stream_tensor(...) as part: part.write(x)``.

        Parameters
        ----------
        shape : tuple of int
        dtype : numpy dtype, torch dtype or str
        compress, checksum, attributes
            As for `add_tensor`.

        Yields
        ------
        TensorPart
            Takes arrays or bytes, in C order.

        Raises
        ------
        InvalidInputError
            More or fewer elements than the shape has; the whole file is then given up.
        """
        options = Options(compress, checksum, attributes)
        return self._file.part(name, shape, dtype_named(dtype_name(dtype)), options)

    def finalize(self) -> None:
        """Write manifest and footer, and make the file appear under its name.

        Raises
        ------
        ConcurrentWriteError, StoreError
            Nothing appeared.
        """
        self._file.finalize()

    def abort(self) -> None:
        """Give up: nothing appears, nothing is left behind."""
        self._file.abort()

    def __enter__(self) -> Self:
        self._file.check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if error is not None:
            self._file.fail(error)
        elif self._file.state not in ("finalized", "aborted"):
            self.finalize()

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None and file.state == "open":
            warnings.warn(f"{self!r} was dropped unfinished", ResourceWarning, stacklevel=2)
            file.abort()

    def __repr__(self) -> str:
        file = self._file
        return (
            f"<Writer {file.url}: {file.state}, {len(file.tensors)} tensors, "
            f"zTensor {self.version}>"
        )
