"""The objects of a training as the content of a checkpoint, with a report of what is in it and what is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ckpt.formats.resuming import NONE_GIVEN
from ckpt.runs.rank import world_size
from ckpt.saving.capture import protocol
from ckpt.saving.capture.choice_rng import lifted
from ckpt.saving.capture.configs import config_of
from ckpt.saving.capture.environment import environment_of, nondeterminism
from ckpt.saving.capture.generators import GENERATORS, capture_random
from ckpt.saving.capture.gradients import has_numbers
from ckpt.saving.capture.loaders import all_at_one_position, caveats_of_loaders, resumes_by, seen_loaders, slow_loaders
from ckpt.saving.capture.phases import moment_of
from ckpt.saving.capture.ranks import OwnStates
from ckpt.saving.capture.turns import Turn, not_seen
from ckpt.saving.capture.weights import is_modules, named, weights_of
from ckpt.saving.envelope.content import Content
from ckpt.saving.envelope.report import CaptureReport
from ckpt.state import TrainingState

CHOICE_RNG = "choice_rng"
"""The name under which the generator that chooses among loaders is registered; format v1 has a key for it."""


@dataclass(frozen=True)
class Training:
    """The objects that make up a training. Several optimizers, schedulers or loaders may have names."""

    weights: Any = None
    optimizers: Any = None
    schedulers: Any = None
    scaler: Any = None
    loaders: Any = None
    registered: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    """What is known not to be captured, and why."""
    gradients: Mapping[str, Any] | None = None
    """Those that count, as `capture_gradients` finds them."""


@dataclass(frozen=True)
class Switches:
    """What is wanted in the file."""

    optimizer: bool = True
    scheduler: bool = True
    random: bool = True


def take(
    training: Training,
    state: TrainingState,
    switches: Switches,
    *,
    model_config: Any = None,
    config: Any = None,
    at_epoch_end: bool | None = None,
    epoch_begun: bool | None = None,
    interrupted: str | None = None,
    metrics_history: dict[str, Any] | None = None,
    by_rank: list[OwnStates | None] | None = None,
    early_stopping: Mapping[str, Any] | None = None,
    turn_of: Callable[[Any], Turn] = not_seen,
) -> Content:
    """The states to store; what the state itself holds fills in for objects that are not given.

    `at_epoch_end` and `epoch_begun` are as `moment_of` has them; `interrupted` names an exception that ends the
    training, if a batch may be under way; `turn_of` says what the steps of the training tell of a loader. A random
    state that the training state holds is taken instead of the generators' own. Tensors share memory with the training.
    Raises StateError for an object that has no state.
    """
    loaders = protocol.state_dicts_of(training.loaders, "loaders")
    moment = moment_of(seen_loaders(training.loaders, loaders or (), turn_of), at_epoch_end, epoch_begun)
    manager = loaders[0] if loaders is not None and len(loaders) == 1 and _is_manager(loaders[0]) else None
    scaler = protocol.state_dicts_of(training.scaler, "scaler")
    captured = {name: protocol.state_of(item, name) for name, item in training.registered.items()}
    choice = captured.pop(CHOICE_RNG, None)
    stored = list(moment.states)
    if choice is None and manager is None:
        stored, choice = lifted(stored)
    random = None
    if switches.random:
        random = state.random_state if state.random_state is not None else moment.random or capture_random()
    content = Content(
        weights=weights_of(training.weights),
        state=state,
        optimizers=_states(switches.optimizer, training.optimizers, state.optimizer_state, "optimizers"),
        schedulers=_states(switches.scheduler, training.schedulers, state.scheduler_state, "schedulers"),
        scaler=scaler[0] if scaler else None,
        random=random,
        random_by_rank=_by_rank(by_rank, "random", random) if switches.random else None,
        loaders=None if manager is not None or loaders is None else stored,
        loader_manager=manager,
        choice_random=choice,
        loaders_by_rank=None if loaders is None else _by_rank(by_rank, "loaders", list(moment.states)),
        gradients=training.gradients,
        early_stopping=early_stopping,
        captured=captured or None,
        names=_names(training),
        metrics_history=metrics_history,
        model_config=config_of(model_config),
        config_snapshot=config_of(config) or None,
        epoch_finished=moment.epoch_finished,
        phase=moment.phase,
        world_size=world_size(),
        environment=environment_of(training.weights),
    )
    of_loaders = caveats_of_loaders(training.loaders, training.left_out, moment.phase, interrupted)
    caveats = (*moment.caveats, *of_loaders, *nondeterminism())
    content.report = report_of(content, training, switches, caveats)
    return content


def own_states(
    loaders: Any,
    at_epoch_end: bool | None = None,
    epoch_begun: bool | None = None,
    turn_of: Callable[[Any], Turn] = not_seen,
) -> OwnStates:
    """What this process goes on with and the others do not: its loaders' states, and the random states of now, or those
    that its validation began with.
    """
    states = protocol.state_dicts_of(loaders, "loaders")
    moment = moment_of(seen_loaders(loaders, states or (), turn_of), at_epoch_end, epoch_begun)
    return OwnStates(moment.random or capture_random(), None if states is None else list(moment.states))


def report_of(content: Content, training: Training, switches: Switches, caveats: tuple[str, ...] = ()) -> CaptureReport:
    """What is in a content and what is not."""
    off = {"optimizer": switches.optimizer, "scheduler": switches.scheduler, "rng": switches.random}
    there: dict[str, Any] = {
        "model": content.weights,
        "optimizer": content.optimizers,
        "scheduler": content.schedulers,
        "scaler": content.scaler,
        "loaders": content.loaders if content.loader_manager is None else content.loader_manager,
        "metrics_history": content.metrics_history,
        "config": content.config_snapshot,
        "model_config": content.model_config,
        CHOICE_RNG: content.choice_random,
    }
    captured = [part for part, value in there.items() if value is not None]
    left_out = {
        part: NONE_GIVEN if off.get(part, True) else f"save_{part}_state is off"
        for part, value in there.items()
        if value is None and part not in ("metrics_history", CHOICE_RNG)
    }
    if content.random is None:
        left_out["rng"] = "save_random_state is off"
    else:
        known = {name: content.random.get(key) for key, name in GENERATORS.items()}
        held = [f"rng.{name}" for name, value in known.items() if value is not None]
        captured += held or ["rng"]
        if held and known["cuda"] is None:
            left_out["rng.cuda"] = "CUDA was not in use"
    world = content.world_size or 1
    if content.random is not None and world > 1:
        if content.random_by_rank is not None:
            captured.append("rng.ranks")
        else:
            others = "rank 1 was" if world == 2 else f"ranks 1 to {world - 1} were"
            left_out["rng.ranks"] = f"{others} not asked: gather_random_states is off"
    if world > 1 and content.loaders_by_rank is not None:
        captured.append("loaders.ranks")
    elif world > 1 and "loaders" in captured and not all_at_one_position(training.loaders):
        left_out["loaders.ranks"] = "those of rank 0 stand for all: gather_random_states is off"
    if world > 1 and any(has_numbers(gradient) for gradient in (content.gradients or {}).values()):
        left_out["gradients.ranks"] = "those of rank 0 stand for all: inside of no_sync() each rank has its own"
    captured += [part for part in ("gradients", "early_stopping") if getattr(content, part)]
    captured += list(content.captured or {})
    return CaptureReport(
        captured=tuple(captured),
        left_out={**left_out, **training.left_out},
        resumes_by=resumes_by(training.loaders),
        caveats=caveats,
        slow=slow_loaders(training.loaders),
    )


def _by_rank(by_rank: list[OwnStates | None] | None, part: str, first: Any) -> list[Any] | None:
    """One part of what all ranks have of their own; of rank 0 what stands in the file anyway."""
    return None if by_rank is None else [first, *(getattr(own, part, None) for own in by_rank[1:])]


def _states(wanted: bool, objects: Any, held: Any, what: str) -> list[Any] | None:
    if not wanted:
        return None
    found = protocol.state_dicts_of(objects, what)
    if found is not None:
        return found
    return None if held is None else [held]


def _is_manager(state: Any) -> bool:
    """Whether a state is that of an object which looks after all loaders, as format v1 has it."""
    return isinstance(state, Mapping) and "train_iterator_state" in state


def _names(training: Training) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    if is_modules(training.weights):
        found["models"] = list(named(training.weights))
    for kind, objects in (
        ("optimizers", training.optimizers),
        ("schedulers", training.schedulers),
        ("loaders", training.loaders),
    ):
        _, names = protocol.several(objects)
        if names is not None:
            found[kind] = list(names)
    return found
