"""A model's own tensors beside those of a checkpoint: compared, loaded, and put back when something refuses."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch

from ckpt.exceptions import CheckpointError, StateError
from ckpt.saving.capture.weights import is_modules, named, plain_names, unwrap
from ckpt.saving.restore.report import SkippedTensor


class WeightsToLoad:
    """What of a checkpoint fits a model. Building it changes nothing.

    Raises StateError for a model that cannot take weights.
    """

    def __init__(self, model: Any, saved: Mapping[str, Any]) -> None:
        self._parts = _parts_of(model)
        self._own = _own_tensors(model, self._parts)
        self._saved = saved
        own = self._own
        self.fitting = [name for name in saved if name in own and _shape(saved[name]) == _shape(own[name])]
        fitting = set(self.fitting)
        names = [*(name for name in own if name not in fitting), *(name for name in saved if name not in own)]
        self.skipped = tuple(
            SkippedTensor(name=name, saved=_shape_or_none(saved, name), expected=_shape_or_none(own, name))
            for name in names
        )
        self.converted = tuple(name for name in self.fitting if _dtype(saved[name]) != _dtype(own[name]))
        self._before: dict[str, Any] | None = None

    def load(self) -> None:
        """Loads what fits. Raises CheckpointError when the model refuses; then it is as it was.

        What the model holds is copied first where a part of it has a way of its own to take weights.
        """
        if any(_may_refuse(module) for module in self._parts.values()):
            self._before = {
                name: value.detach().clone() if isinstance(value, torch.Tensor) else value
                for name, value in self._own.items()
            }
        try:
            self._give({name: self._saved[name] for name in self.fitting}, getattr(self._saved, "_metadata", None))
        except Exception as error:
            told = "nothing was changed; build it as it was"
            try:
                if self._before is not None:
                    self._give(self._before, None)
            except (RuntimeError, ValueError, TypeError, AttributeError, LookupError):
                told = "its tensors and all else are as they were; what else it keeps is not known"
            raise CheckpointError(f"the model refused its weights: {error}", hint=told) from error

    def _give(self, tensors: Mapping[str, Any], versions: Any) -> None:
        if not self._parts:
            with torch.no_grad():
                for name, value in tensors.items():
                    self._own[name].copy_(value)
        for part, module in self._parts.items():
            spelled = plain_names(module)
            chosen: Any = {
                spelled[name[len(part) :]]: value
                for name, value in tensors.items()
                if name.startswith(part) and name[len(part) :] in spelled
            }
            if versions is not None and not part:
                chosen = _with_versions(chosen, versions)
            module.load_state_dict(chosen, strict=False)


def _with_versions(chosen: Mapping[str, Any], versions: Any) -> Any:
    """A state dict that tells the versions of its modules, as torch writes them."""
    state: Any = OrderedDict(chosen)
    state._metadata = versions
    return state


def _parts_of(model: Any) -> dict[str, torch.nn.Module]:
    """Modules by the prefix that their tensors have."""
    if isinstance(model, torch.nn.Module):
        return {"": unwrap(model)}
    if is_modules(model):
        return {f"{name}.": module for name, module in named(model).items()}
    return {}


def _own_tensors(model: Any, parts: Mapping[str, torch.nn.Module]) -> Mapping[str, Any]:
    if parts:
        found: dict[str, Any] = {}
        for prefix, module in parts.items():
            state = module.state_dict()
            found.update((f"{prefix}{plain}", state[name]) for plain, name in plain_names(module).items())
        return found
    if isinstance(model, Mapping) and all(isinstance(value, torch.Tensor) for value in model.values()):
        return model
    raise StateError(
        f"a {type(model).__name__} cannot take weights", hint="give a module, named modules or a mapping of tensors"
    )


def _may_refuse(module: torch.nn.Module) -> bool:
    """Whether a module has a way of its own to take its state; torch's own take whatever has the right shapes."""
    for part in module.modules():
        if part._load_state_dict_pre_hooks or part._load_state_dict_post_hooks:
            return True
        kind = type(part)
        for method in ("load_state_dict", "_load_from_state_dict", "set_extra_state"):
            if not getattr(kind, method).__module__.startswith("torch."):
                return True
    return False


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


def _shape_or_none(tensors: Mapping[str, Any], name: str) -> tuple[int, ...] | None:
    return _shape(tensors[name]) if name in tensors else None


def _dtype(value: Any) -> Any:
    return value.dtype if isinstance(value, torch.Tensor) else None
