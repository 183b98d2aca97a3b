"""Fill a module's parameters from a file: checked first, then read into where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ..errors import StateDictError, UnsupportedError
from ..reader import LazyTensor, Reader
from ..reader.arrays import import_torch, torch_dtype
from .opening import opened
from .sharing import covered_by, tied
from .staging import fill, load_onto

if TYPE_CHECKING:
    from torch import Tensor, nn

Renaming: TypeAlias = "Mapping[str, str | None] | Callable[[str], str | None]"

_MOST_NAMES = 20
"""Names that one line of an error tells."""


class IncompatibleKeys(NamedTuple):
    """What did not find its counterpart; all empty unless ``strict=False``.

    Attributes
    ----------
    missing_keys : list of str
        Keys of the module that the file does not have.
    unexpected_keys : list of str
        Names in the file that the module does not have.
    """

    missing_keys: list[str]
    unexpected_keys: list[str]


@dataclass(frozen=True, slots=True)
class Filling:
    """A parameter or buffer, every key that it goes by, and the stored tensor for it."""

    keys: Sequence[str]
    target: Tensor
    stored: LazyTensor


def load_state_dict(
    model: nn.Module,
    url: Any,
    *,
    prefix: str = "",
    map: Renaming | None = None,
    device: Any = None,
    strict: bool = True,
    assign: bool = False,
    cast: bool = False,
    **options: Any,
) -> IncompatibleKeys:
    """Fill a module from a file, without a second copy of it in memory.

    Elements are read right into the memory of contiguous parameters and buffers on the CPU, and
    through two buffers of 64 MiB into others. All names, shapes and dtypes are compared before
    anything is fetched. Hooks of the module that change a state dict are not called, and parameters
    that share memory are filled once.

    Parameters
    ----------
    model : torch.nn.Module
    url : Reader, or a location as `Reader` takes it
    prefix : str
        Only tensors whose names begin with it; the keys of the module are what follows.
    map : mapping of str to str, or callable, optional
        From names in the file, without the prefix, to keys of the module. None leaves a tensor
        out. Names that a mapping does not have stay as they are.
    device : torch.device or str, optional
        With ``assign=True``: where to put the tensors; otherwise each where the parameter is that
        it replaces, or on the CPU if that is on the meta device.
    strict : bool, default True
        Refuse a file that lacks keys of the module, or has others.
    assign : bool, default False
        Replace the parameters by new ones, of the file's dtypes, instead of filling them: for
        modules on the meta device.
    cast : bool, default False
        Convert elements to the parameters' dtypes, as torch does, instead of refusing others.
    **options
        Keyword arguments of `Reader`: ``storage_options=``, ``cache=``, …

    Returns
    -------
    IncompatibleKeys

    Raises
    ------
    StateDictError
        With everything that does not fit. The module is as it was.
    NotFoundError, DigestError, StoreError
        Reading failed. Parameters that were being filled are in part new ones.
    """
    import_torch()
    with opened(url, options) as reader:
        names, problems = _keys_of(reader, prefix, map)
        fillings, keys = _matched(reader, names, model.state_dict(keep_vars=True))
        if strict:
            problems += _listed("missing from the file", keys.missing_keys)
            problems += _listed("not in the module", keys.unexpected_keys)
        if device is not None and not assign:
            problems.append("device= needs assign=True; or move the module: model.to(device)")
        for filling in fillings:
            problems += _misfits(filling, assign, cast)
        if problems:
            text = "".join(f"\n- {problem}" for problem in problems)
            raise StateDictError(
                f"this does not fit a {type(model).__name__}:{text}\n", url=reader.url
            )
        if assign:
            _assign(model, reader, fillings, device)
        else:
            fill(reader, {filling.stored.name: filling.target for filling in fillings})
    return keys


# --- what belongs to what ----------------------------------------------------------------------


def _keys_of(
    reader: Reader, prefix: str, renaming: Renaming | None
) -> tuple[dict[str, str], list[str]]:
    """Return the name in the file for each key, and what is wrong with them."""
    names: dict[str, str] = {}
    problems = []
    for name in reader:
        if not name.startswith(prefix):
            continue
        key = _renamed(name.removeprefix(prefix), renaming)
        if key in names:
            problems.append(f"{names[key]} and {name} both go to {key}")
        elif key is not None:
            names[key] = name
    return names, problems


def _renamed(name: str, renaming: Renaming | None) -> str | None:
    if renaming is None:
        return name
    return renaming.get(name, name) if isinstance(renaming, Mapping) else renaming(name)


def _matched(
    reader: Reader, names: Mapping[str, str], state: Mapping[str, Any]
) -> tuple[list[Filling], IncompatibleKeys]:
    fillings = []
    for keys in tied(state):
        # As in torch, the last of several for the same memory is what stays.
        stored = next((key for key in reversed(keys) if key in names), None)
        if stored is not None:
            fillings.append(Filling(keys, state[stored], reader[names[stored]]))
    covered = covered_by([filling.target for filling in fillings])
    fillings = [filling for filling in fillings if not covered(filling.target)]
    filled = {key for filling in fillings for key in filling.keys}
    missing = [key for key in state if key not in filled and not covered(state[key])]
    unexpected = [name for key, name in names.items() if key not in state]
    return fillings, IncompatibleKeys(missing, unexpected)


# --- whether it fits ---------------------------------------------------------------------------


def _listed(what: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = len(names) - _MOST_NAMES
    shown = ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
    return [f"{what}: {shown}"]


def _misfits(filling: Filling, assign: bool, cast: bool) -> Iterator[str]:
    key, target, stored = filling.keys[0], filling.target, filling.stored
    if not isinstance(target, import_torch().Tensor):
        yield f"{key}: the module has a {type(target).__name__} there, no tensor"
        return
    if hasattr(target, "device_mesh"):
        yield f"{key}: it is a DTensor; load it by torch.distributed.checkpoint and StorageReader"
        return
    if stored.layout != "dense":
        yield f"{key}: the file has it as {stored.format}, only dense tensors can be loaded"
        return
    if tuple(target.shape) != stored.shape:
        yield f"{key}: the module has shape {tuple(target.shape)}, the file {stored.shape}"
    try:
        dtype = torch_dtype(stored.dtype)
    except UnsupportedError as error:
        yield f"{key}: {error.message}"
        return
    if assign:
        if target.requires_grad and not (dtype.is_floating_point or dtype.is_complex):
            yield f"{key}: the file has {dtype}, which has no gradient, and the module wants one"
    elif target.is_meta:
        yield f"{key}: it is on the meta device; pass assign=True"
    elif target.dtype != dtype and not cast:
        yield (
            f"{key}: the module has {target.dtype}, the file {dtype}; convert the module first, "
            "or pass cast=True or assign=True"
        )


# --- new parameters ----------------------------------------------------------------------------


def _assign(model: nn.Module, reader: Reader, fillings: Sequence[Filling], device: Any) -> None:
    torch = import_torch()
    places = {f.stored.name: _place(f.target, device) for f in fillings}
    tensors = load_onto(reader, places)
    state: dict[str, Tensor] = {}
    for f in fillings:
        tensor = tensors[f.stored.name]
        if isinstance(f.target, torch.nn.Parameter):
            tensor = torch.nn.Parameter(tensor, requires_grad=f.target.requires_grad)
        state |= dict.fromkeys(f.keys, tensor)
    model.load_state_dict(state, strict=False, assign=True)


def _place(target: Tensor, device: Any) -> Any:
    if device is not None:
        return import_torch().device(device)
    return import_torch().device("cpu") if target.is_meta else target.device
