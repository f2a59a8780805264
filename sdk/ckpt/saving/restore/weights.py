"""A model's own tensors beside those of a checkpoint: compared, loaded, and put back when something refuses."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ckpt.exceptions import CheckpointError, CkptError, StateError
from ckpt.saving.capture.weights import is_modules, named, plain_names, plain_naming, unwrap
from ckpt.saving.restore.copying import dtype_of, is_lazy, is_ordinary, kept, obstacle, overwrite, shape_of
from ckpt.saving.restore.report import SkippedTensor

_WRAPPERS = ("module.", "_orig_mod.")
"""What data parallelism and compilation put before the names of a model that is saved as it stands in them."""
_EXTRA = "_extra_state"


class WeightsToLoad:
    """What of a checkpoint fits a model. Building it changes nothing.

    Raises StateError for a model that cannot take weights.
    """

    def __init__(self, model: Any, saved: Mapping[str, Any]) -> None:
        self._parts = _parts_of(model)
        self._own = own = _own_tensors(model, self._parts)
        self._versions = dict(getattr(saved, "_metadata", None) or {})
        while (wrapper := _wrapper_of(saved, own)) is not None:
            saved = {name.removeprefix(wrapper): value for name, value in saved.items()}
            self._versions = {f"{n}.".removeprefix(wrapper)[:-1]: told for n, told in self._versions.items()}
        self._saved = saved
        resized = {f"{part}{n}" for part, module in self._parts.items() for n in _resized_on_load(module)}
        self.fitting: list[str] = []
        skipped = [_skipped(name, None, value) for name, value in own.items() if name not in saved]
        for name, value in saved.items():
            if name not in own:
                skipped.append(_skipped(name, value, None))
            elif name.endswith(_EXTRA):
                self.fitting.append(name)
            elif shape_of(value) != shape_of(own[name]) and name not in resized:
                skipped.append(_skipped(name, value, own[name]))
            elif (why := obstacle(own[name], value)) is not None:
                skipped.append(_skipped(name, value, own[name], why))
            else:
                self.fitting.append(name)
        self.skipped = tuple(skipped)
        told = [n for n in self.fitting if not (n.endswith(_EXTRA) or is_lazy(own[n]))]
        self.converted = tuple(name for name in told if dtype_of(saved[name]) != dtype_of(own[name]))

    def load(self) -> None:
        """Loads what fits. Raises CheckpointError when the model refuses; then it is as it was.

        What the model holds is copied first where a part of it has a way of its own to take weights, or keeps them in
        tensors of a kind of its own. Where it does not, nothing can refuse, and nothing is copied.
        """
        before = {name: kept(self._own[name]) for name in self.fitting} if self._may_refuse() else None
        try:
            self._give({name: self._saved[name] for name in self.fitting}, self._versions)
        except BaseException as error:
            told = "some of its weights are changed; load it anew" if before is None else self._put_back(before)
            if not isinstance(error, Exception):
                raise
            raise CheckpointError(f"the model refused its weights: {error}", hint=told) from error

    def _may_refuse(self) -> bool:
        if any(_has_own_way(module) for module in self._parts.values()):
            return True
        return not all(is_ordinary(self._own[name]) and is_ordinary(self._saved[name]) for name in self.fitting)

    def _put_back(self, before: Mapping[str, Any]) -> str:
        """Gives the model what it held. Returns what is to be told of that."""
        told = "all is as it was; build it as it was when it was saved"
        try:
            self._give(before, {})
        except (CkptError, RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError):
            told = "its tensors and all else are as they were; what else it keeps is not known"
        for name, value in before.items():
            if isinstance(value, torch.Tensor | np.ndarray) and not is_lazy(value):
                # One that refused late has changed others before.
                with contextlib.suppress(RuntimeError, ValueError, TypeError):
                    overwrite(self._own[name], value)
        if any(is_lazy(value) for value in before.values()):
            return "what had no shape yet may have one now; build it anew"
        return told

    def _give(self, tensors: Mapping[str, Any], versions: Mapping[str, Any]) -> None:
        if not self._parts:
            for name, value in tensors.items():
                if isinstance(self._own[name], torch.Tensor | np.ndarray):
                    overwrite(self._own[name], value)
        for part, module in self._parts.items():
            spelled = plain_names(module)
            chosen: Any = OrderedDict(
                (spelled[name[len(part) :]], value)
                for name, value in tensors.items()
                if name.startswith(part) and name[len(part) :] in spelled
            )
            told = _versions_for(module, part, versions)
            if told:
                chosen._metadata = told
            module.load_state_dict(chosen, strict=False)


def _versions_for(module: torch.nn.Module, part: str, versions: Mapping[str, Any]) -> dict[str, Any]:
    """The versions that a checkpoint tells of a part's modules, by their names in the module as it stands."""
    plain = plain_naming(module)
    names = {name: f"{part}{plain(f'{name}.') if name else ''}"[:-1] for name, _ in module.named_modules()}
    return {name: versions[saved] for name, saved in names.items() if saved in versions}


def _skipped(name: str, saved: Any, own: Any, why: str = "") -> SkippedTensor:
    shapes = [None if value is None else shape_of(value) for value in (saved, own)]
    return SkippedTensor(name=name, saved=shapes[0], expected=shapes[1], why=why)


def _wrapper_of(saved: Mapping[str, Any], own: Mapping[str, Any]) -> str | None:
    """What all saved names begin with and none of the model's does, where a wrapper put it there."""
    for wrapper in _WRAPPERS:
        if saved and all(name.startswith(wrapper) for name in saved):
            return None if any(name.startswith(wrapper) for name in own) else wrapper
    return None


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
    if isinstance(model, Mapping) and all(isinstance(value, torch.Tensor | np.ndarray) for value in model.values()):
        return model
    raise StateError(
        f"a {type(model).__name__} cannot take weights",
        hint="give a module, named modules or a mapping of tensors or arrays",
    )


def _resized_on_load(module: torch.nn.Module) -> set[str]:
    """Names of tensors that take another shape while they are loaded: lazy ones, and what quantisation observed."""
    found = {name for name, value in module.state_dict().items() if is_lazy(value)}
    for path, part in module.named_modules():
        if type(part)._load_from_state_dict.__module__.startswith("torch.ao."):
            found.update(f"{path}.{name}" if path else name for name in part._buffers)
    return set(map(plain_naming(module), found))


def _has_own_way(module: torch.nn.Module) -> bool:
    """Whether a module has a way of its own to take its state; torch's own take whatever has the right shapes."""
    for part in module.modules():
        if part._load_state_dict_pre_hooks or part._load_state_dict_post_hooks:
            return True
        kind = type(part)
        if kind.__module__.startswith("torch.ao."):
            return True
        for method in ("load_state_dict", "_load_from_state_dict", "set_extra_state"):
            if not getattr(kind, method).__module__.startswith("torch."):
                return True
    return False
