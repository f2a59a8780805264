"""What the values of a file mean: epoch, step, loss, metrics, configuration, and which states a resume finds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ckpt.formats.containers.family import Content
from ckpt.formats.meanings import layouts
from ckpt.formats.meanings.layout import Layout, Mode, Told
from ckpt.formats.meanings.places import at, fields_of, moment
from ckpt.formats.meanings.plain import Plain
from ckpt.formats.meanings.roles import is_metric
from ckpt.formats.meanings.scalars import Scalars
from ckpt.formats.meanings.states import resume, spread, states
from ckpt.formats.pickled.values import Opaque, mapping_of

_MAX_METRICS = 500
_MAX_NAME = 200
_MAX_TEXT = 1 << 20
_COUNTERS = frozenset({*layouts.PLAIN.epoch, *layouts.PLAIN.step, "lr", "learning_rate", "format_version", "timestamp"})


@dataclass(slots=True)
class Meaning:
    """The facts about a training that a file holds; None where it holds none."""

    framework: str
    epoch: float | None = None
    step: int | None = None
    loss: float | None = None
    learning_rate: float | None = None
    saved_at: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    resume: dict[str, Any] = field(default_factory=dict)
    monitor: str | None = None
    mode: Mode | None = None
    references: dict[str, tuple[str, ...]] = field(default_factory=dict)
    from_name: tuple[str, ...] = ()


def meaning(content: Content, scalars: Scalars, framework: str) -> Meaning:
    """What the content says. Raises Unreadable and OSError where a number that lies in a tensor cannot be read."""
    plain = Plain(scalars)
    top = mapping_of(content.top) or {}
    layout = layouts.recognise(top)
    told = layout.rule(top, scalars) if layout.rule is not None else Told()
    found = Meaning(layout.framework if layout.framework and framework != "unknown" else framework)
    if content.texts:
        top = {**{name: _parsed(text) for name, text in content.texts.items()}, "model": content.top}
        found.config = plain.mapping(dict(content.texts))
    else:
        found.config = _config(top, layout, plain)
    found.epoch = _counted(told.epoch if told.epoch is not None else _first(top, layout.epoch, scalars))
    step = _counted(_first(top, layout.step, scalars))
    found.step = int(step) if step is not None and math.isfinite(step) and step == int(step) else None
    found.loss = _first(top, layout.loss, scalars)
    found.saved_at = _moment(top, layout.saved_at, scalars)
    found.learning_rate = _optimizer_rate(top, layout, scalars)
    if found.learning_rate is None:
        found.learning_rate = _first(top, layout.learning_rate, scalars)
    found.metrics = {**told.metrics, **_metrics(top, layout, scalars)}
    found.monitor, found.mode = _monitor(top, layout, told)
    found.references = told.references
    found.resume = resume(content.top, top, layout, {**spread(top, layout, scalars), **told.topology})
    return found


def _parsed(text: str) -> Any:
    try:
        return int(text) if len(text) < 19 else text
    except ValueError:
        pass
    try:
        return float(text) if len(text) < 64 else text
    except ValueError:
        return text


def _first(top: Mapping[Any, Any], places: tuple[str, ...], scalars: Scalars) -> float | int | None:
    for place in places:
        number = scalars.number(at(top, place))
        if number is not None:
            return number
    return None


def _counted(number: float | None) -> float | None:
    """A count as it stands; below zero it is a mark of something else, such as a training that is over."""
    return None if number is not None and number < 0 else number


def _moment(top: Mapping[Any, Any], places: tuple[str, ...], scalars: Scalars) -> float | None:
    for place in places:
        value = at(top, place)
        number = scalars.number(value)
        seconds = number if number is not None else moment(value)
        if seconds is not None:
            return seconds
    return None


def _config(top: Mapping[Any, Any], layout: Layout, plain: Plain) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for place in layout.config:
        value = at(top, place)
        if type(value) is str and layout.framework:
            config.setdefault(place.rpartition(".")[2], plain.value(value[:_MAX_TEXT].strip().split("\n")))
            continue
        shown = plain.mapping(value)
        if not shown:
            continue
        if config:
            config.setdefault(place.rpartition(".")[2], shown)
        else:
            config = shown
    return config


def _metrics(top: Mapping[Any, Any], layout: Layout, scalars: Scalars) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for place in layout.metrics:
        for name, value in _numbers(at(top, place), scalars):
            metrics.setdefault(name, value)
    for name, place in layout.measured.items():
        number = scalars.number(at(top, place))
        if number is not None:
            metrics.setdefault(name, float(number))
    for key, value in top.items():
        if len(metrics) >= _MAX_METRICS:
            break
        if type(key) is str and key != "loss" and key not in _COUNTERS:
            number = scalars.number(value) if is_metric(key, math.nan) else None
            if number is not None and is_metric(key, number):
                metrics.setdefault(key, float(number))
    return metrics


def _numbers(value: Any, scalars: Scalars, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, float]]:
    fields = fields_of(value)
    if fields is None or depth > 3:
        return
    for index, (key, item) in enumerate(fields.items()):
        if index >= _MAX_METRICS:
            return
        name = f"{prefix}{key}" if type(key) in (str, int) else ""
        if not name or len(name) > _MAX_NAME:
            continue
        number = scalars.number(item)
        if number is not None:
            yield name, float(number)
        elif type(item) in (dict, Opaque):
            yield from _numbers(item, scalars, f"{name}.", depth + 1)


def _monitor(top: Mapping[Any, Any], layout: Layout, told: Told) -> tuple[str | None, Mode | None]:
    if told.monitor is not None:
        return told.monitor, told.mode
    for place in layout.monitor:
        name = at(top, place)
        if type(name) is str and 0 < len(name) <= _MAX_NAME:
            return name, None
    return layout.best or (None, None)


def _optimizer_rate(top: Mapping[Any, Any], layout: Layout, scalars: Scalars) -> float | None:
    for _, kind, value in states(top, layout):
        if kind != "optimizer":
            continue
        for _ in range(4):  # an optimizer's state, a list of them, or a mapping of them by name
            if type(value) in (list, tuple):
                value = value[0] if value else None
                continue
            fields = fields_of(value)
            if not fields:
                break
            groups = fields.get("param_groups")
            if type(groups) in (list, tuple) and groups:
                number = scalars.number((fields_of(groups[0]) or {}).get("lr"))
                if number is not None:
                    return float(number)
                break
            value = next(iter(fields.values()))
    return None
