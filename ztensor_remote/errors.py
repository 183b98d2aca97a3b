"""The errors of ztensor_remote, grouped by what a handler would do about them.

Each also derives from the builtin that people already catch::

    ZTensorError
    ├── FormatError (ValueError)              the bytes break the format; `rule` says which rule
    │   └── DigestError                       stored bytes do not have the digest the file states
    ├── UnsupportedError (NotImplementedError)  valid, but we can't decode, write or do it
    ├── LimitError (ValueError, MemoryError)  allowed by the format, larger than a limit or memory
    ├── InvalidInputError (ValueError)        the caller's argument: wrong name, shape, dtype, order
    │   ├── DuplicateNameError                a tensor of this name is already in the file
    │   └── StateDictError (RuntimeError)     a file and a PyTorch module don't fit together
    ├── TensorNotFoundError (KeyError)        no tensor (or component) of this name
    ├── ClosedError (ValueError)              used after close
    ├── MissingDependencyError (ImportError)  an extra is not installed; says how to install it
    └── StoreError (OSError)                  the storage failed
        ├── NotFoundError (FileNotFoundError)
        ├── AccessDeniedError (PermissionError)
        ├── StoreTimeoutError (TimeoutError)
        ├── ObjectChangedError                replaced since it was opened
        └── ConcurrentWriteError              a rival published first; nothing of ours was
            └── StepExistsError (FileExistsError)  the log has this step already

Messages never carry credentials: URLs are shown without user info and query, and the text of
errors that come from other libraries is scrubbed.
"""

from __future__ import annotations

from typing import Any, Self


class ZTensorError(Exception):
    """Root of the tree.

    Parameters
    ----------
    message : str
        What happened and what to do about it.
    url, tensor, component : str, optional
        Where it happened. `at` fills in what the raising layer did not know.
    """

    def __init__(
        self,
        message: str = "",
        *,
        url: str | None = None,
        tensor: str | None = None,
        component: str | None = None,
    ) -> None:
        self.message = message
        self.url = url
        self.tensor = tensor
        self.component = component
        self.args = (message,)

    def at(
        self,
        *,
        url: str | None = None,
        tensor: str | None = None,
        component: str | None = None,
    ) -> Self:
        """Fill in the place where it is still unknown, and return self."""
        self.url = self.url or url
        self.tensor = self.tensor if self.tensor is not None else tensor
        self.component = self.component if self.component is not None else component
        return self

    def __str__(self) -> str:
        place = [
            text
            for text in (
                self.tensor is not None and f"tensor {self.tensor!r}",
                self.component is not None and f"component {self.component!r}",
                self.url and f"in {self.url}",
            )
            if text
        ]
        return f"{self.message} ({' '.join(place)})" if place else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.__dict__)


def _rebuild(cls: type[ZTensorError], state: dict[str, Any]) -> ZTensorError:
    error = cls(state["message"])
    error.__dict__.update(state)
    return error


class located:
    """Tell errors of our tree that leave the block where they happened.

    Memory that runs out is one of them: a small file may say that it is large.
    """

    __slots__ = ("_component", "_tensor", "_url")

    def __init__(
        self, *, url: str | None = None, tensor: str | None = None, component: str | None = None
    ) -> None:
        self._url = url
        self._tensor = tensor
        self._component = component

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ZTensorError):
            error.at(url=self._url, tensor=self._tensor, component=self._component)
        elif isinstance(error, MemoryError):
            text = str(error)
            message = f"there is not enough memory: {text}" if text else "there is no memory left"
            raise LimitError(
                message, url=self._url, tensor=self._tensor, component=self._component
            ) from None


class FormatError(ZTensorError, ValueError):
    """The bytes are not a valid file.

    Parameters
    ----------
    rule : str, optional
        Name of the broken rule (SPEC.md §11.4), as the published conformance corpus spells it.
    """

    def __init__(self, message: str = "", *, rule: str | None = None, **place: str | None) -> None:
        super().__init__(message, **place)
        self.rule = rule


class DigestError(FormatError):
    """Bytes do not have the digest that the manifest states."""

    def __init__(
        self, message: str = "", *, rule: str | None = "Digest", **place: str | None
    ) -> None:
        super().__init__(message, rule=rule, **place)


class UnsupportedError(ZTensorError, NotImplementedError):
    """Valid, but not something that can be decoded, written or done here."""


class LimitError(ZTensorError, ValueError, MemoryError):
    """Larger than a limit in force, or than memory; raise the limit if the file is trusted."""


class InvalidInputError(ZTensorError, ValueError):
    """An argument that can't be written or understood."""


class DuplicateNameError(InvalidInputError):
    """The file already has a tensor of this name."""


class StateDictError(InvalidInputError, RuntimeError):
    """The tensors of a file and the parameters of a PyTorch module don't fit together."""


class TensorNotFoundError(ZTensorError, KeyError):
    """No tensor, or no component, has this name."""


class ClosedError(ZTensorError, ValueError):
    """A reader or writer was used after it was closed."""


class MissingDependencyError(ZTensorError, ImportError):
    """An optional package is not installed; the message has the pip command."""


class StoreError(ZTensorError, OSError):
    """The storage, or the way to it, failed."""


class NotFoundError(StoreError, FileNotFoundError):
    """Nothing is stored under this URL."""


class AccessDeniedError(StoreError, PermissionError):
    """The store refused these credentials, or there were none."""


class StoreTimeoutError(StoreError, TimeoutError):
    """The store did not answer in time."""


class ObjectChangedError(StoreError):
    """The object is no longer the version that was opened; open it again."""


class ConcurrentWriteError(StoreError):
    """Another writer published first; nothing of this writer became visible."""


class StepExistsError(ConcurrentWriteError, FileExistsError):
    """A checkpoint log has a step of this number; it stays as it is."""
