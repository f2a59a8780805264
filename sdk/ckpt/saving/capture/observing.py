"""What a self-test sees of a training: the objects that its checkpoints hold, at each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from ckpt.exceptions import SaveError
from ckpt.saving.capture import protocol
from ckpt.saving.capture.generators import GENERATORS, capture_random
from ckpt.saving.capture.taking import Training
from ckpt.saving.capture.weights import is_modules, named, weights_of
from ckpt.selftest.recording import Recorder, recorder
from ckpt.state import TrainingState, real, whole

if TYPE_CHECKING:
    from ckpt.runs import Run
    from ckpt.saving.handle import SavedCheckpoint


class Unobserved:
    """What trainings are outside of a self-test: nobody is told of them, and nothing is asked for."""

    def follow(self, run: Run) -> None:
        """Hears of the states that a run emits."""

    def knows(self, training: Training) -> None:
        """These are the objects of the training."""

    def step(self, state: TrainingState) -> None:
        """The training saves this state."""

    def asked(self, state: TrainingState) -> bool:
        """Whether this state is wanted to be saved."""
        return False

    def saved(self, state: TrainingState, handle: SavedCheckpoint | None) -> None:
        """A save is on its way."""

    def read(self, step: int) -> None:
        """The training loaded a checkpoint of this step."""


class Observing(Unobserved):
    """Tells the recorder of a training, once its objects are known: by a hook, a save or a restore."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._training: Training | None = None

    def follow(self, run: Run) -> None:
        """Hears of the states that a run emits."""
        run.listen(self.told)

    def knows(self, training: Training) -> None:
        """These are the objects of the training."""
        self._training = training

    def step(self, state: TrainingState) -> None:
        """The training saves this state, which may be the first that is heard of its step. May end the process."""
        self._record(state, None)

    def told(self, state: TrainingState) -> None:
        """The training tells of this state; one of the same step and other numbers counts too. May end the process."""
        self._record(state, repr((state.epoch, state.loss, sorted(state.metrics.items()))))

    def asked(self, state: TrainingState) -> bool:
        """Whether the self-test wants this state saved, as it does when it does not know the objects yet."""
        self.told(state)
        step = whole(state.global_step, "global_step")
        wanted = self._recorder.wants_save(step) or (self._training is None and self._recorder.here)
        if wanted:
            self._recorder.forced(step)
        return wanted

    def saved(self, state: TrainingState, handle: SavedCheckpoint | None) -> None:
        """A save is on its way: it is waited for, so that no kill can come before."""
        try:
            if handle is not None and self._recorder.here:
                handle.result()
                self._recorder.saved(whole(state.global_step, "global_step"), positions=self._has_loaders)
        except SaveError:
            # The training is told of it as ever.
            return

    def read(self, step: int) -> None:
        """The training loaded a checkpoint of this step."""
        self._recorder.read(whole(step, "global_step"), positions=self._has_loaders)

    @property
    def _has_loaders(self) -> bool:
        """Whether the training's loaders were given that tell their position, and no other."""
        training = self._training
        if training is None or any(place.startswith("loaders") for place in training.left_out):
            return False
        return bool(protocol.several(training.loaders)[0])

    def _record(self, state: TrainingState, told: object) -> None:
        step, epoch = whole(state.global_step, "global_step"), real(state.epoch, "epoch")
        self._recorder.step(self, step, epoch, lambda: self._parts(state), told)

    def _parts(self, state: TrainingState) -> Mapping[str, Any]:
        parts: dict[str, Any] = {
            "random": {GENERATORS[key]: state for key, state in capture_random().items() if state is not None},
            "loss": {"loss": real(state.loss, "loss")},
            "metrics": state.metrics,
        }
        if self._training is not None:
            parts.update(_states(self._training))
        return parts


def here() -> Unobserved:
    """The observer of this process's training."""
    found = recorder()
    if found is None or not found.claim():
        return Unobserved()
    from ckpt.selftest.dataloaders import listen

    listen(found.batch)
    return Observing(found)


def _states(training: Training) -> dict[str, Any]:
    """The states of a training's objects by part, as they are now."""
    found: dict[str, Any] = {}
    for part, objects in (
        ("optimizer", training.optimizers),
        ("scheduler", training.schedulers),
        ("scaler", training.scaler),
    ):
        states = protocol.state_dicts_of(objects, part)
        if states and part == "optimizer":
            names = _names(training.weights)
            states = [_with_names(*pair, names) for pair in zip(protocol.several(objects)[0], states, strict=True)]
        if states:
            found[part] = states[0] if len(states) == 1 else dict(enumerate(states))
    registered = {name: protocol.state_of(item, name) for name, item in training.registered.items()}
    if registered:
        found["registered"] = registered
    if training.weights is not None:
        found["weights"] = weights_of(training.weights)
    return found


def _names(weights: Any) -> dict[int, str]:
    """The name of every parameter of the model or models, by its identity."""
    if isinstance(weights, torch.nn.Module):
        weights = {"": weights}
    modules = {f"{name}." if name else "": part for name, part in named(weights).items()} if is_modules(weights) else {}
    return {
        id(parameter): prefix + name
        for prefix, module in modules.items()
        for name, parameter in module.named_parameters()
    }


def _with_names(optimizer: Any, state: Any, names: Mapping[int, str]) -> Any:
    """An optimizer's state under the names of its parameters, where it is known by their numbers."""
    groups = getattr(optimizer, "param_groups", None)
    inner = state.get("state") if isinstance(state, Mapping) else None
    if not groups or not isinstance(inner, Mapping):
        return state
    parameters = [parameter for group in groups for parameter in group["params"]]
    known = dict(enumerate(names.get(id(parameter)) for parameter in parameters))
    return {**state, "state": {known.get(key) or key: value for key, value in inner.items()}}
