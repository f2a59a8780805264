"""A file's mapping as states, whichever layout it is of."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch

from ckpt.encoding import printable
from ckpt.exceptions import FormatError, StateError
from ckpt.saving.envelope import places
from ckpt.saving.envelope.content import FORMAT_VERSION, Content, Phase
from ckpt.saving.envelope.migration import Migration
from ckpt.saving.envelope.plain import from_plain
from ckpt.saving.envelope.report import CaptureReport
from ckpt.state import TrainingState


def from_envelope(envelope: Mapping[str, Any], where: str) -> Content:
    """The states in a file's mapping; files of other makers are read as far as their meaning is plain.

    A missing version is version 1. Raises FormatError for an unknown version, when no weights can be found, and for
    what is of another kind than the format has, naming the place.
    """
    version = envelope.get("format_version", FORMAT_VERSION)
    if type(version) is not int or version != FORMAT_VERSION:
        raise FormatError(
            f"{where} has format {printable(repr(version)[:40])}, and this version reads {FORMAT_VERSION}",
            hint="use the version that wrote it, or a newer one",
        )
    layout = places.layout_of(envelope)
    wrong = places.wrong_kind(envelope) if layout not in (places.SINGLE, places.PLAIN) else None
    if wrong is not None:
        raise FormatError(f"{where} cannot be read: {wrong}")
    try:
        return _content(envelope, layout, where)
    except FormatError as error:
        raise FormatError(f"{where}: {error.message}", hint=error.hint) from error


def _content(envelope: Mapping[str, Any], layout: str, where: str) -> Content:
    parts = _Parts(envelope)
    weights, weights_at = _weights(envelope, strict=layout in (places.PRESENT, places.EARLIER, places.FIRST_WRITER))
    parts.found["model"] = weights_at
    resume = envelope.get("resume_state")
    resume = from_plain(dict(resume), "resume_state") if isinstance(resume, Mapping) else {}
    finished = resume.get("epoch_finished")
    manager, loaders = _loaders(parts)
    names = envelope.get("names")
    parts.mapping("metrics")
    content = Content(
        weights=weights,
        state=_state(envelope),
        optimizers=parts.several("optimizer"),
        schedulers=parts.several("scheduler"),
        scaler=parts.mapping("scaler"),
        random=parts.mapping("rng"),
        random_by_rank=parts.plain("rng_states_by_rank"),
        loaders=loaders,
        loader_manager=manager,
        choice_random=parts.any("choice_rng"),
        loaders_by_rank=parts.plain("loader_states_by_rank"),
        gradients=parts.plain("gradients"),
        early_stopping=parts.plain("early_stopping"),
        captured=parts.plain("captured"),
        names=_names(names) if isinstance(names, Mapping) else {},
        metrics_history=parts.mapping("metrics_history"),
        model_config=parts.mapping("model_config"),
        config_snapshot=parts.mapping("config"),
        epoch_finished=finished if isinstance(finished, bool) else _finished(resume),
        phase=_phase(resume),
        resume=resume,
        world_size=envelope.get("world_size"),
        environment=parts.plain("environment") or {},
        report=CaptureReport.from_plain(envelope.get("capture_report")),
    )
    if layout != places.PRESENT:
        known = dict.fromkeys(["model", *places.PLACES])
        content.migration = Migration(
            layout=layout,
            found={part: parts.found[part] for part in known if part in parts.found},
            missing=tuple(part for part in known if part not in parts.found),
            unread=parts.unread,
            level=logging.INFO if layout in (places.EARLIER, places.PLAIN) else logging.WARNING,
        )
    _give_back_states(content)
    return content


class _Parts:
    """Looks parts up, and notes where each was found."""

    def __init__(self, envelope: Mapping[str, Any]) -> None:
        self._envelope = envelope
        self.found: dict[str, str] = {}
        self.unread: dict[str, str] = {}

    def _first(self, part: str, kinds: tuple[type, ...]) -> tuple[Any, str]:
        for place in places.PLACES[part]:
            value = places.at(self._envelope, place)
            if part in ("rng", "choice_rng") and _is_pickled(value):
                self.unread[place] = "it is a pickle, and pickles are not run"
            elif isinstance(value, kinds):
                self.found[part] = place
                return from_plain(value, place), place
        return None, ""

    def mapping(self, part: str) -> Any:
        return self._first(part, (Mapping,))[0]

    def any(self, part: str) -> Any:
        return self._first(part, (Mapping, tuple, list, torch.Tensor))[0]

    def several(self, part: str) -> list[Any] | None:
        value, place = self._first(part, (list, tuple, Mapping))
        if value is None:
            return None
        states = [value] if isinstance(value, Mapping) else list(value)
        for i, state in enumerate(states):
            if isinstance(state, Mapping):
                continue
            told = f"{place}[{i}] is a {type(state).__name__}, not the state of a {part}"
            if place in places.KINDS:
                raise FormatError(told)
            del self.found[part]
            self.unread[place] = told
            return None
        return states

    def plain(self, key: str) -> Any:
        value = self._envelope.get(key)
        return None if value is None else from_plain(value, key)


def _weights(envelope: Mapping[str, Any], *, strict: bool) -> tuple[Mapping[str, Any], str]:
    for key in places.WEIGHTS:
        found = envelope.get(key)
        if isinstance(found, Mapping):
            for name, value in found.items():
                if not isinstance(name, str):
                    raise FormatError(f"{key} has the name {printable(repr(name)[:80])}, which is no string")
                if strict and not isinstance(value, torch.Tensor) and not places.may_hold_data(found, name):
                    raise FormatError(f"{key}.{printable(name)} is a {type(value).__name__}, not a tensor")
            return from_plain(found, key) if strict else found, key
    if envelope and all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in envelope.items()):
        return envelope, "the file itself"
    raise FormatError("it holds no weights", hint=f"they are looked for under {', '.join(places.WEIGHTS)}")


def _loaders(parts: _Parts) -> tuple[Any, list[Any] | None]:
    """The state of what looks after the loaders, and those of the single loaders."""
    manager = parts.mapping("loaders")
    if manager is None:
        return None, None
    iterators = [manager.get(key) for key in ("train_iterator_state", "val_iterator_state")]
    told = [iterator for iterator in iterators if isinstance(iterator, Mapping)]
    if not told:
        states = manager.get("loader_states")
        return manager, states if isinstance(states, list) else None
    found = [_loader_states(iterator) for iterator in told]
    several = [state for states in found for state in states] if all(states is not None for states in found) else None
    is_ours = all(places.is_schedule(it) or it.get("schedule_position") is None for it in told)
    return (None if is_ours and several is not None else manager), several


def _loader_states(iterator: Mapping[str, Any]) -> Any:
    """The states of single loaders in an Iterator State; one of a schedule is that of one loader."""
    if places.is_schedule(iterator):
        return [iterator]
    states = iterator.get("loader_states")
    return states if isinstance(states, list) else None


def _is_pickled(value: Any) -> bool:
    """Whether this is text or bytes, or a mapping of nothing else: the first writer keeps generators so."""
    if isinstance(value, Mapping):
        return bool(value) and all(isinstance(item, str | bytes) for item in value.values())
    return isinstance(value, str | bytes)


def _names(names: Mapping[Any, Any]) -> dict[str, list[str]]:
    return {
        str(kind): [str(name) for name in several]
        for kind, several in names.items()
        if isinstance(several, list | tuple)
    }


def _phase(resume: Mapping[str, Any]) -> Phase | None:
    """Where in the epoch the training stood, by the format's names and by those of its first writer."""
    phase = resume.get("phase")
    phase = phase.lower() if isinstance(phase, str) else ""
    if phase.endswith(("epoch_end", "epoch_start")):
        return "between"
    if "batch" not in phase:
        return None
    return "validation" if phase.startswith("val") else "training"


def _finished(resume: Mapping[str, Any]) -> bool | None:
    """What the phase says, in which the first writer of the format names where the training stood."""
    phase = resume.get("phase")
    if not isinstance(phase, str):
        return None
    phase = phase.lower()
    if phase.endswith("epoch_end"):
        return True
    return False if "batch" in phase or phase.endswith("epoch_start") else None


def _state(envelope: Mapping[str, Any]) -> TrainingState:
    scalars = envelope.get("training_state")
    try:
        if isinstance(scalars, Mapping):
            return TrainingState.from_dict({k: v for k, v in scalars.items() if k != "held"})

        def number(*keys: str, default: float) -> float:
            for key in keys:
                value = places.at(envelope, key)
                if isinstance(value, int | float) and not isinstance(value, bool):
                    return value
            return default

        metrics = envelope.get("metrics")
        numbers = metrics.items() if isinstance(metrics, Mapping) else ()
        return TrainingState(
            epoch=int(number("epoch", "resume_state.epoch", default=0)),
            global_step=int(
                number("global_step", "resume_state.global_step", "step", "iteration", "iter_num", default=0)
            ),
            learning_rate=number("learning_rate", "lr", default=math.nan),
            loss=number("loss", default=math.nan),
            metrics={str(name): value for name, value in numbers if isinstance(value, int | float)},
        )
    except StateError as error:
        raise FormatError(f"the training state cannot be read: {error.message}") from error
    except (TypeError, ValueError, OverflowError, LookupError, AttributeError) as error:
        raise FormatError(f"the training state cannot be read: {error}") from error


def _give_back_states(content: Content) -> None:
    """Puts captured states into the TrainingState too, where code that knows only that looks for them."""
    state = content.state
    if content.optimizers is not None and len(content.optimizers) == 1:
        state.optimizer_state = content.optimizers[0]
    if content.schedulers is not None and len(content.schedulers) == 1:
        state.scheduler_state = content.schedulers[0]
    if isinstance(content.random, dict):
        state.random_state = content.random
