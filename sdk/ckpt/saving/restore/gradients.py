"""Gradients of a checkpoint into the parameters of a training.

A training that goes on has the gradients that counted at the save, and no others: what its parameters had before is of
other weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ckpt.encoding import printable
from ckpt.saving.restore.copying import is_lazy


class GradientsToSet:
    """Gradients beside the parameters that they are of. Building it changes nothing in the training."""

    def __init__(self, own: Mapping[str, torch.Tensor], saved: Mapping[str, object] | None) -> None:
        self._own = own
        self._made: dict[str, torch.Tensor] = {}
        told: list[str] = []
        for name, gradient in (saved or {}).items():
            # Made here, where nothing is changed yet: there may be no memory for it.
            made = _made_for(own.get(name), gradient)
            if isinstance(made, str):
                told.append(f"the gradient of '{printable(str(name))}' was not restored: {made}")
            else:
                self._made[name] = made
        self.notes = tuple(told)
        """What does not fit, as sentences."""

    @property
    def count(self) -> int:
        """How many parameters get one."""
        return len(self._made)

    def set(self) -> None:
        """Gives each parameter its gradient; those without one have None."""
        for name, parameter in self._own.items():
            if not is_lazy(parameter):
                parameter.grad = self._made.get(name)


def _made_for(parameter: torch.Tensor | None, gradient: object) -> torch.Tensor | str:
    """A gradient as its parameter takes it, with memory of its own where one number stands for all; or why it does not
    take it.
    """
    if parameter is None:
        return "no such parameter is trained here"
    if not isinstance(gradient, torch.Tensor):
        return f"it is a {type(gradient).__name__}"
    if is_lazy(parameter) or parameter.is_meta:
        return "its parameter has no memory yet"
    if gradient.shape != parameter.shape:
        return f"{list(gradient.shape)} in the checkpoint, {list(parameter.shape)} in the model"
    if gradient.is_complex() != parameter.is_complex():
        return f"{gradient.dtype} in the checkpoint, {parameter.dtype} in the model"
    try:
        made = gradient.to(device=parameter.device, dtype=parameter.dtype)
        if made.layout is torch.strided and made.numel() and not any(made.stride()):
            made = torch.empty_like(parameter, requires_grad=False).copy_(made)
        torch.nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad).grad = made
    except (RuntimeError, TypeError, ValueError) as error:
        return " ".join(str(error).split())[:300]
    return made
