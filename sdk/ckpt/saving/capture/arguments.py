"""What a caller gives as model, optimizer, scheduler, scaler and loaders: refused at once where it cannot be that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from ckpt.exceptions import StateError
from ckpt.saving.capture.protocol import has_state, several
from ckpt.saving.capture.weights import is_modules
from ckpt.saving.envelope import places

_MODEL = "give a torch.nn.Module, named modules or a mapping of tensors"
_STATES = "give an object with state_dict() and load_state_dict()"


def refuse_wrong_states(optimizers: Any = None, schedulers: Any = None, scaler: Any = None) -> None:
    """Raises StateError, naming the argument, for an object that is of another kind than its argument.

    Nothing is asked of the objects but what they are.
    """
    for what, given, belongs_elsewhere in (
        ("optimizer", optimizers, _not_an_optimizer),
        ("scheduler", schedulers, _not_a_scheduler),
        ("scaler", scaler, _not_a_scaler),
    ):
        for item in several(given)[0]:
            _refuse_class(what, item)
            hint = belongs_elsewhere(item)
            if hint is not None:
                raise StateError(f"{what} is {a(item)}", hint=hint)


def refuse_stateless(**arguments: Any) -> None:
    """Raises StateError, naming the argument, for what has no state; plain states are taken where objects are."""
    for what, given in arguments.items():
        for item in several(given)[0]:
            if not (has_state(item) or isinstance(item, Mapping)):
                raise StateError(f"{what} is {a(item)}", hint=_STATES)


def refuse_wrong_model(model: Any) -> None:
    """Raises StateError for what is no module, no named modules and no mapping of tensors."""
    if isinstance(model, torch.nn.Module) or is_modules(model):
        return
    _refuse_class("model", model)
    if not isinstance(model, Mapping):
        raise StateError(f"model is {a(model)}", hint=_MODEL)
    for name, item in model.items():
        tensor = isinstance(item, torch.Tensor | np.ndarray | np.generic)
        if not tensor and not (isinstance(name, str) and places.may_hold_data(model, name)):
            raise StateError(f"model[{str(name)!r}] is {a(item)}", hint=_MODEL)


def telling_loaders(loaders: Any) -> tuple[Any, dict[str, str]]:
    """The loaders that tell their position in the data, and why the others are left out.

    Raises StateError for what is no loader at all.
    """
    named = _are_named(loaders)
    items = dict(loaders) if named else dict(enumerate(several(loaders)[0]))
    kept: dict[Any, Any] = {}
    left_out: dict[str, str] = {}
    for name, item in items.items():
        if has_state(item) or isinstance(item, Mapping):
            kept[name] = item
            continue
        where = f"loaders.{name}" if named else f"loaders[{name}]" if len(items) > 1 else "loaders"
        if not _is_loader(item):
            raise StateError(f"{where} is {a(item)}", hint="give one loader, a list of loaders or named loaders")
        left_out[where] = f"{a(item)} tells no position; {_that_does(item)}"
    if not left_out:
        return loaders, {}
    if not kept:
        return None, {"loaders": next(iter(left_out.values()))}
    return kept if named else list(kept.values()), left_out


def _that_does(item: Any) -> str:
    """What to give in the place of a loader that tells no position."""
    ours = (
        "ckpt.ResumableLoader.of(loader)" if isinstance(item, torch.utils.data.DataLoader) else "a ckpt.ResumableLoader"
    )
    return f"{ours} does, and so does torchdata's StatefulDataLoader"


def a(item: Any) -> str:
    """An object by its kind, for a sentence: `None`, `the class Adam`, `a Linear`, `an Adam`, `the text 'x'`."""
    if item is None:
        return "None"
    if isinstance(item, type):
        return f"the class {item.__name__}"
    if isinstance(item, str):
        return f"the text {item[:60]!r}"
    name = type(item).__name__
    return f"{'an' if name[:1] in 'AEIOUaeio' else 'a'} {name}"


def _are_named(loaders: Any) -> bool:
    """Whether this is a mapping of names to loaders, whether they tell their state or not."""
    if not isinstance(loaders, Mapping) or not loaders or has_state(loaders):
        return False
    return all(isinstance(name, str) and (has_state(item) or _is_loader(item)) for name, item in loaders.items())


def _is_loader(item: Any) -> bool:
    plain = (type, str, bytes, Mapping, list, tuple, set, frozenset, torch.Tensor, np.ndarray)
    return isinstance(item, Iterable) and not isinstance(item, plain)


def _refuse_class(what: str, item: Any) -> None:
    if isinstance(item, type):
        raise StateError(f"{what} is {a(item)}", hint=f"give an object of it: {item.__name__}(…)")


def _not_an_optimizer(item: Any) -> str | None:
    if hasattr(item, "param_groups"):
        return None
    if _is_scheduler(item):
        return f"{a(item)} is a scheduler: give it as scheduler"
    return f"{a(item)} is a model: give it as model" if isinstance(item, torch.nn.Module) else None


def _not_a_scheduler(item: Any) -> str | None:
    if isinstance(item, torch.optim.Optimizer):
        return f"{a(item)} is an optimizer: give it as optimizer"
    return f"{a(item)} is a model: give it as model" if isinstance(item, torch.nn.Module) else None


def _not_a_scaler(item: Any) -> str | None:
    if _is_scheduler(item):
        return f"{a(item)} is a scheduler: give it as scheduler"
    return _not_a_scheduler(item)


def _is_scheduler(item: Any) -> bool:
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau
    return isinstance(item, torch.optim.lr_scheduler.LRScheduler | plateau) or (
        hasattr(item, "optimizer") and not hasattr(item, "param_groups") and hasattr(item, "step")
    )
