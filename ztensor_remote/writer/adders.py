"""What a writer takes: arrays, sparse matrices, quantized groups, and anything else in parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from ..errors import InvalidInputError, located
from ..manifest.dtypes import dtype_named
from ..reader.sparse import COO, CSR
from .assembly import DEFAULT, Assembly, Options
from .elements import Elements, dtype_name, elements_of, is_torch
from .part import TensorPart
from .rules import Checksum, WritableVersion
from .sparse import coo_of, csr_of


class Adders:
    """The ways to add a tensor to the file that is being written."""

    _file: Assembly

    @property
    def version(self) -> WritableVersion:
        """The container version that is written."""
        return self._file.rules.version

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
        with located(url=self._file.url, tensor=name):
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
        with located(url=self._file.url, tensor=name):
            matrix = csr_of(values, indices, indptr, shape, sorted_rows=self.version == "2")
            self._add_csr(name, matrix, Options(compress, checksum, attributes))

    def _add_csr(self, name: str, matrix: CSR, options: Options) -> None:
        arrays = {"values": matrix.values, "indices": matrix.indices, "indptr": matrix.indptr}
        elements = self._elements(name, arrays)
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
        with located(url=self._file.url, tensor=name):
            tensor = coo_of(values, indices, shape, unique=self.version == "2")
            self._add_coo(name, tensor, Options(compress, checksum, attributes))

    def _add_coo(self, name: str, tensor: COO, options: Options) -> None:
        arrays = {"values": tensor.values, "coords": tensor.coords.reshape(-1)}
        elements = self._elements(name, arrays)
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
        arrays = {codes: packed_weight, "scales": scales}
        if zeros is not None:
            arrays["zeros"] = zeros
        self._file.add(
            name,
            shape,
            self._file.rules.quantized,
            self._elements(name, arrays),
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
            self._elements(name, components),
            Options(compress, checksum, attributes),
        )

    def _elements(self, name: str, arrays: Mapping[str, Any]) -> dict[str, Elements]:
        elements = {}
        for role, array in arrays.items():
            with located(url=self._file.url, tensor=name, component=role):
                elements[role] = elements_of(array)
        return elements

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
