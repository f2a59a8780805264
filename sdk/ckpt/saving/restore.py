"""A checkpoint into the objects of a training: everything is compared before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ckpt.encoding import printable
from ckpt.exceptions import CheckpointError, StateError
from ckpt.records import Checkpoint, Record
from ckpt.saving.capture import is_modules, restore_random, unwrap
from ckpt.saving.envelope import Content


class SkippedTensor(Record, frozen=True, kw_only=True):
    """A tensor that was not restored, and why."""

    name: str
    saved: tuple[int, ...] | None
    """Shape in the checkpoint; None when it is not there."""
    expected: tuple[int, ...] | None
    """Shape in the model; None when it has no such tensor."""

    def __str__(self) -> str:
        if self.saved is None:
            return f"{self.name}: not in the checkpoint"
        if self.expected is None:
            return f"{self.name}: not in the model"
        return f"{self.name}: {list(self.saved)} in the checkpoint, {list(self.expected)} in the model"


class RestoreReport(Record, frozen=True, kw_only=True):
    """What a restore did."""

    checkpoint: str
    """Id of the checkpoint."""
    path: str
    epoch: int
    global_step: int
    epoch_finished: bool | None
    """Whether the checkpoint was made at the end of its epoch; None when the training did not tell."""
    loaded: tuple[str, ...]
    skipped: tuple[SkippedTensor, ...] = ()
    converted: tuple[str, ...] = ()
    """Tensors whose dtype in the model is another than in the checkpoint."""
    optimizers: int = 0
    schedulers: int = 0
    loaders: int = 0
    scaler: bool = False
    random: bool = False
    """Whether the random states went back into their generators."""
    start_of_fork: bool = False
    """Whether it is what a forked run starts from: its numbers are the parent's, and the fork counts from 0."""
    notes: tuple[str, ...] = ()
    """What was asked for or saved and was not restored, as sentences."""

    @property
    def next_epoch(self) -> int:
        """The epoch to go on with."""
        if self.start_of_fork:
            return 0
        return self.epoch + 1 if self.epoch_finished else self.epoch

    @property
    def next_step(self) -> int:
        """The global step to count on from."""
        return 0 if self.start_of_fork else self.global_step

    @property
    def fully_restored(self) -> bool:
        """Whether all that was saved and asked for is back, bit for bit."""
        return not self.skipped and not self.converted and not self.notes


class _Weights:
    """A model's own tensors beside those of a checkpoint."""

    def __init__(self, model: Any, saved: Mapping[str, Any]) -> None:
        self.model = model
        self.own = _own_tensors(model)
        self.saved = saved
        self.fitting = [name for name in saved if name in self.own and _shape(saved[name]) == _shape(self.own[name])]
        fitting = set(self.fitting)
        names = [*(name for name in self.own if name not in fitting)]
        names += [name for name in saved if name not in self.own]
        self.skipped = tuple(
            SkippedTensor(name=name, saved=_shape_or_none(saved, name), expected=_shape_or_none(self.own, name))
            for name in names
        )
        self.converted = tuple(name for name in self.fitting if _dtype(saved[name]) != _dtype(self.own[name]))

    def load(self) -> None:
        if isinstance(self.model, torch.nn.Module):
            _load_module(unwrap(self.model), self.saved, self.fitting)
        elif is_modules(self.model):
            for part, module in self.model.items():
                prefix = f"{part}."
                inside = {n.removeprefix(prefix): self.saved[n] for n in self.fitting if n.startswith(prefix)}
                _load_module(unwrap(module), inside, list(inside))
        else:
            with torch.no_grad():
                for name in self.fitting:
                    self.own[name].copy_(self.saved[name])


def restore(
    content: Content,
    *,
    checkpoint: Checkpoint,
    model: Any = None,
    optimizers: Any = None,
    schedulers: Any = None,
    scaler: Any = None,
    loaders: Any = None,
    strict: bool = True,
    random: bool = True,
) -> RestoreReport:
    """Puts a checkpoint's content into objects.

    With `strict`, whatever does not fit raises CheckpointError and nothing is changed. Without, tensors whose name and
    shape fit are restored, and the optimizers, schedulers and scaler only when all of them did. Random states go back
    last.
    """
    weights = None if model is None else _Weights(model, content.weights)
    pairs = {
        "optimizer": _pairs("optimizer", optimizers, content.optimizers),
        "scheduler": _pairs("scheduler", schedulers, content.schedulers),
        "scaler": _pairs("scaler", scaler, None if content.scaler is None else [content.scaler]),
        "loader": _pairs("loader", loaders, content.loaders),
    }
    problems = [problem for _, found in pairs.values() for problem in found]
    skipped = weights.skipped if weights is not None else ()
    if strict and (skipped or problems):
        told = [str(item) for item in skipped[:10]] + problems
        more = f" and {len(skipped) - 10} more" if len(skipped) > 10 else ""
        raise CheckpointError(
            f"{printable(checkpoint.path)} does not fit: " + "; ".join(told) + more,
            hint="strict=False restores what fits and reports the rest",
        )
    if weights is not None:
        weights.load()
    done = dict.fromkeys(pairs, 0)
    notes = list(problems)
    if skipped:
        unused = [kind for kind, (found, _) in pairs.items() if found]
        notes += [f"the {kind} state was not restored: not all weights fit" for kind in unused]
    else:
        for kind, (found, _) in pairs.items():
            done[kind] = _load_states(kind, found, notes)
    left = restore_random(content.random) if random and isinstance(content.random, Mapping) else []
    notes += [f"the random state {name} was not restored" for name in left]
    return RestoreReport(
        checkpoint=checkpoint.id,
        path=checkpoint.path,
        epoch=content.state.epoch,
        global_step=content.state.global_step,
        epoch_finished=content.epoch_finished,
        loaded=tuple(weights.fitting) if weights is not None else (),
        skipped=skipped,
        converted=weights.converted if weights is not None else (),
        optimizers=done["optimizer"],
        schedulers=done["scheduler"],
        loaders=done["loader"],
        scaler=bool(done["scaler"]),
        random=random and isinstance(content.random, Mapping),
        start_of_fork=checkpoint.label == "fork",
        notes=tuple(notes),
    )


def _pairs(kind: str, objects: Any, states: Sequence[Any] | None) -> tuple[list[tuple[Any, Any]], list[str]]:
    """Objects with the states that they are to take, and what speaks against it."""
    if objects is None:
        return [], []
    several = list(objects) if isinstance(objects, Sequence) else [objects]
    saved = list(states or ())
    if not saved:
        return [], [f"no {kind} state was saved"]
    if len(several) != len(saved):
        return [], [f"{len(saved)} {kind} states were saved, {len(several)} are wanted"]
    problems = [problem for item, state in zip(several, saved, strict=True) if (problem := _unfit(kind, item, state))]
    return ([], problems) if problems else (list(zip(several, saved, strict=True)), [])


def _unfit(kind: str, item: Any, state: Any) -> str | None:
    if not callable(getattr(item, "load_state_dict", None)):
        return f"the {kind} is a {type(item).__name__}, which has no load_state_dict()"
    if kind == "optimizer" and isinstance(state, Mapping) and hasattr(item, "param_groups"):
        saved = [len(group.get("params", ())) for group in state.get("param_groups", ())]
        own = [len(group["params"]) for group in item.param_groups]
        if saved != own:
            return f"the optimizer state has groups of {saved} parameters, the optimizer of {own}"
    return None


def _load_states(kind: str, found: list[tuple[Any, Any]], notes: list[str]) -> int:
    count = 0
    for item, state in found:
        try:
            item.load_state_dict(state)
            count += 1
        except (KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
            raise CheckpointError(
                f"the {kind} refused its state: {error}", hint="the weights are restored already; build it as it was"
            ) from error
    return count


def _own_tensors(model: Any) -> Mapping[str, Any]:
    if isinstance(model, torch.nn.Module):
        return unwrap(model).state_dict()
    if is_modules(model):
        return {f"{part}.{name}": value for part, m in model.items() for name, value in unwrap(m).state_dict().items()}
    if isinstance(model, Mapping) and all(isinstance(value, torch.Tensor) for value in model.values()):
        return model
    raise StateError(
        f"a {type(model).__name__} cannot take weights", hint="give a module, named modules or a mapping of tensors"
    )


def _load_module(module: torch.nn.Module, saved: Mapping[str, Any], names: list[str]) -> None:
    chosen: Any = type(saved)() if hasattr(saved, "_metadata") else {}
    chosen.update((name, saved[name]) for name in names)
    if hasattr(saved, "_metadata"):
        chosen._metadata = saved._metadata
    try:
        module.load_state_dict(chosen, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"the model refused its weights: {error}") from error


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


def _shape_or_none(tensors: Mapping[str, Any], name: str) -> tuple[int, ...] | None:
    return _shape(tensors[name]) if name in tensors else None


def _dtype(value: Any) -> Any:
    return value.dtype if isinstance(value, torch.Tensor) else None
