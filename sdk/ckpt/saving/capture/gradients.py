"""Gradients that count: those that were added since the last step of their optimizer, in the midst of an accumulation.

A gradient that a step has used is none of them: the training throws it away before it adds to it. Where it does so by
zeros in its place, and not by None, zeros are captured: they add to other bits, and a parameter without a gradient is
passed over by its optimizer, while one with zeros is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ckpt.saving.capture.protocol import several
from ckpt.saving.capture.stepping import Verdict, parameters_of, watch_of
from ckpt.saving.capture.weights import is_modules, named, plain_naming, unwrap

GRADIENTS = "gradients"
"""The part of a training, in reports."""

_UNKNOWN = (
    "gradients exist, and whether they count is not known: gradients=True captures them, gradients=False does not"
)
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Gradients:
    """What of a training's gradients is captured."""

    tensors: dict[str, torch.Tensor] | None = None
    """By the names of their parameters, over the training's own memory; of zeros a single one that is repeated. {} when
    none counts, None when that is not known or they are not wanted."""
    left_out: Mapping[str, str] = field(default_factory=dict)


def capture_gradients(
    weights: Any, registered: Mapping[str, Any], optimizers: Any, *, wanted: bool | None = None
) -> Gradients:
    """The gradients of the model's parameters, and of those of registered modules.

    `wanted` is None for those that were added since the last step, as far as that is known; True for all that there
    are; False for none. Optimizers that nobody watched are watched from now on.
    """
    own = trained(weights, registered)
    there = {name: parameter.grad for name, parameter in own.items() if parameter.grad is not None}
    judged = _judged(optimizers)
    verdicts = {name: judged(own[name], gradient) for name, gradient in there.items()}
    added = {name: gradient for name, gradient in there.items() if verdicts[name] == "added"}
    kept = {name: gradient for name, gradient in there.items() if verdicts[name] == "kept"}
    is_unknown = "unknown" in verdicts.values()
    if wanted is False:
        return Gradients(left_out={GRADIENTS: "gradients=False"} if added or is_unknown else {})
    if wanted is True:
        return Gradients(_shortened(there))
    if is_unknown:
        # A save without an optimizer is none that a training goes on from as if it had not stopped.
        return Gradients(left_out={GRADIENTS: _UNKNOWN} if optimizers is not None else {})
    found = _shortened(added)
    found.update((name, _zeros(gradient)) for name, gradient in kept.items() if _is_ordinary(gradient))
    strange = _without_name(own, optimizers, judged)
    told = {GRADIENTS: f"{strange} gradients of parameters that are in no model of the save"} if strange else {}
    return Gradients({name: found[name] for name in there if name in found}, told)


def trained(weights: Any, registered: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Parameters by name, each once: of a module, of named modules (`NAME.PARAMETER`), of a mapping of tensors, and of
    registered modules (`NAME.PARAMETER`) that are not among them.
    """
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    parts: dict[str, torch.nn.Module] = {}
    if isinstance(weights, torch.nn.Module):
        parts[""] = unwrap(weights)
    elif is_modules(weights):
        parts.update((f"{name}.", module) for name, module in named(weights).items())
    elif isinstance(weights, Mapping):
        found.update((name, value) for name, value in weights.items() if _is_trained(value))
        seen.update(map(id, found.values()))
    modules = {f"{name}.": unwrap(item) for name, item in registered.items() if isinstance(item, torch.nn.Module)}
    for prefix, module in [*parts.items(), *modules.items()]:
        plain = plain_naming(module)
        for name, parameter in module.named_parameters():
            if id(parameter) not in seen and f"{prefix}{plain(name)}" not in found:
                seen.add(id(parameter))
                found[f"{prefix}{plain(name)}"] = parameter
    return found


def has_numbers(gradient: torch.Tensor) -> bool:
    """Whether a captured gradient is more than zeros that stand for one that was used."""
    return gradient.layout is not torch.strided or gradient.numel() < 2 or any(gradient.stride())


def _is_trained(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_leaf and value.requires_grad


def _judged(optimizers: Any) -> Callable[[torch.Tensor, torch.Tensor], Verdict]:
    """What tells of a parameter and its gradient. Where several optimizers have it, the last that stepped decides."""
    judges: dict[int, list[Callable[[torch.Tensor], Verdict]]] = {}
    for optimizer in several(optimizers)[0]:
        watched = watch_of(optimizer)
        if watched is None:
            continue
        judge = watched.judging()
        for parameter in parameters_of(optimizer):
            judges.setdefault(id(parameter), []).append(judge)

    def verdict(parameter: torch.Tensor, gradient: torch.Tensor) -> Verdict:
        told = {judge(gradient) for judge in judges.get(id(parameter), ())}
        order: tuple[Verdict, ...] = ("kept", "used", "added")
        return next((known for known in order if known in told), "unknown")

    return verdict


def _without_name(
    own: Mapping[str, torch.Tensor], optimizers: Any, judged: Callable[[torch.Tensor, torch.Tensor], Verdict]
) -> int:
    """How many gradients count that are of parameters of the optimizers and not of the model."""
    known = set(map(id, own.values()))
    others = {id(p): p for optimizer in several(optimizers)[0] for p in parameters_of(optimizer) if id(p) not in known}
    return sum(p.grad is not None and judged(p, p.grad) == "added" for p in others.values())


def _shortened(gradients: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The gradients, where all bits of one are zero by a single zero that is repeated."""
    dense = {name: gradient for name, gradient in gradients.items() if _is_ordinary(gradient) and gradient.numel() > 1}
    by_device: dict[torch.device, list[str]] = {}
    for name, gradient in dense.items():
        by_device.setdefault(gradient.device, []).append(name)
    zeros: set[str] = set()
    for names in by_device.values():
        try:
            # One answer a device: each waits for all that the device has to do.
            has_bits = torch.stack([_as_bits(dense[name]).any() for name in names]).tolist()
        except RuntimeError:
            # Not every kind of device does this, and then they are stored as they are.
            continue
        zeros.update(name for name, has in zip(names, has_bits, strict=True) if not has)
    return {name: _zeros(gradient) if name in zeros else gradient.detach() for name, gradient in gradients.items()}


def _is_ordinary(gradient: torch.Tensor) -> bool:
    plain = type(gradient.detach()) is torch.Tensor and gradient.layout is torch.strided and not gradient.is_meta
    return plain and (gradient.is_complex() or gradient.element_size() in _BITS)


def _as_bits(gradient: torch.Tensor) -> torch.Tensor:
    real = torch.view_as_real(gradient.detach().resolve_conj()) if gradient.is_complex() else gradient.detach()
    return real.view(_BITS[real.element_size()])


def _zeros(gradient: torch.Tensor) -> torch.Tensor:
    return torch.zeros((), dtype=gradient.dtype, device=gradient.device).expand(gradient.shape)
