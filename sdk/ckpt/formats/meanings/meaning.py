"""What the values of a file mean: epoch, step, loss, metrics, configuration, and which states a resume finds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ckpt.formats.containers.family import Content
from ckpt.formats.containers.tensors import Placed
from ckpt.formats.meanings import layouts
from ckpt.formats.meanings.layouts import Layout, Role
from ckpt.formats.meanings.plain import Plain
from ckpt.formats.meanings.scalars import Scalars
from ckpt.formats.pickled.values import Opaque, Tensor, mapping_of

_MAX_METRICS = 500
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
    mode: Literal["min", "max"] | None = None
    references: dict[str, tuple[str, ...]] = field(default_factory=dict)
    from_name: tuple[str, ...] = ()


def meaning(content: Content, scalars: Scalars, framework: str) -> Meaning:
    """What the content says. Raises Unreadable and OSError where a number that lies in a tensor cannot be read."""
    plain = Plain(scalars)
    top = mapping_of(content.top) or {}
    layout = layouts.recognise(top)
    found = Meaning(layout.framework if layout.framework and framework != "unknown" else framework)
    if content.texts:
        top = {**{name: _parsed(text) for name, text in content.texts.items()}, "model": content.top}
        found.config = plain.mapping(dict(content.texts))
    else:
        found.config = _config(top, layout, plain)
    found.epoch = _first(top, layout.epoch, scalars)
    step = _first(top, layout.step, scalars)
    found.step = int(step) if step is not None and math.isfinite(step) and step == int(step) else None
    found.loss = _first(top, layout.loss, scalars)
    found.saved_at = _first(top, layout.saved_at, scalars)
    found.learning_rate = _optimizer_rate(top, scalars)
    if found.learning_rate is None:
        found.learning_rate = _first(top, layout.learning_rate, scalars)
    found.metrics = _metrics(top, layout, scalars)
    found.resume = _resume(content.top, top)
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


def _at(top: Mapping[Any, Any], place: str) -> Any:
    value: Any = top
    for key in place.split("."):
        fields = mapping_of(value) if not isinstance(value, dict) else value
        if fields is None or key not in fields:
            return None
        value = fields[key]
    return value


def _real(number: int | float | None) -> float | int | None:
    """A number that a record can hold: integers beyond 64 bits are none of a training's."""
    if type(number) is int and not -(1 << 63) <= number < 1 << 63:
        return None
    return number


def _first(top: Mapping[Any, Any], places: tuple[str, ...], scalars: Scalars) -> float | int | None:
    for place in places:
        number = _real(scalars.number(_at(top, place)))
        if number is not None:
            return number
    return None


def _config(top: Mapping[Any, Any], layout: Layout, plain: Plain) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for place in layout.config:
        value = plain.mapping(_at(top, place))
        if not value:
            continue
        if config:
            config.setdefault(place, value)
        else:
            config = value
    return config


def _metrics(top: Mapping[Any, Any], layout: Layout, scalars: Scalars) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for place in layout.metrics:
        for name, value in _numbers(_at(top, place), scalars):
            metrics.setdefault(name, value)
    for place in layout.monitors:
        for callback in (mapping_of(_at(top, place)) or {}).values():
            fields = mapping_of(callback) or {}
            monitor = fields.get("monitor")
            score = _real(scalars.number(fields.get("current_score")))
            if type(monitor) is str and score is not None:
                metrics.setdefault(monitor[:200], float(score))
    for key, value in top.items():
        if len(metrics) >= _MAX_METRICS:
            break
        if type(key) is str and key != "loss" and key not in _COUNTERS and layouts.is_metric(key):
            number = _real(scalars.number(value))
            if number is not None:
                metrics.setdefault(key, float(number))
    return metrics


def _numbers(value: Any, scalars: Scalars, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, float]]:
    fields = mapping_of(value)
    if fields is None or depth > 3:
        return
    for index, (key, item) in enumerate(fields.items()):
        if index >= _MAX_METRICS:
            return
        name = f"{prefix}{key}" if type(key) in (str, int) else ""
        if not name or len(name) > 200:
            continue
        number = _real(scalars.number(item))
        if number is not None:
            yield name, float(number)
        elif type(item) in (dict, Opaque):
            yield from _numbers(item, scalars, f"{name}.", depth + 1)


def _optimizer_rate(top: Mapping[Any, Any], scalars: Scalars) -> float | None:
    for key, value in top.items():
        if layouts.role(key) != "optimizer":
            continue
        for _ in range(4):  # an optimizer's state, a list of them, or a mapping of them by name
            if type(value) in (list, tuple):
                value = value[0] if value else None
                continue
            fields = mapping_of(value)
            if not fields:
                break
            groups = fields.get("param_groups")
            if type(groups) in (list, tuple) and groups:
                number = _real(scalars.number((mapping_of(groups[0]) or {}).get("lr")))
                if number is not None:
                    return float(number)
                break
            value = next(iter(fields.values()))
    return None


def _held(value: Any) -> bool:
    """Whether a value can be a state: not a mere number or text, and not empty."""
    if value is None or type(value) in (bool, int, float, str):
        return False
    return not (type(value) in (dict, list, tuple) and not value)


def bare_state(top: Any) -> bool:
    """Whether the file is nothing but the weights: a mapping whose values are tensors, or a pickled module."""
    if type(top) is Opaque:
        return any(name in top.attributes() for name in ("_parameters", "_modules"))
    if not isinstance(top, dict) or not top:
        return type(top) is Tensor
    tensors = sum(type(value) is Tensor for value in top.values())
    return 2 * tensors > len(top)


def _resume(whole: Any, top: Mapping[Any, Any]) -> dict[str, Any]:
    parts: dict[Role, bool] = {}
    rng: dict[str, Any] = {"python": False, "numpy": False, "torch": False, "cuda": False, "ranks": 0}
    if bare_state(whole):
        parts["model"] = True
    else:
        for key, value in top.items():
            kind = layouts.role(key)
            if not _held(value):
                continue
            parts[kind] = True
            if kind == "rng":
                _generators(key, value, rng)
                rng["ranks"] = 1
    return {
        "model": parts.get("model", False),
        "optimizer": parts.get("optimizer", False),
        "scheduler": parts.get("scheduler", False),
        "scaler": parts.get("scaler", False),
        "rng": rng,
        "data": parts.get("data", False),
        "topology": {},
    }


def _generators(key: str, value: Any, rng: dict[str, Any]) -> None:
    fields = mapping_of(value)
    named = fields.items() if fields is not None else [(key, value)]
    for name, state in named:
        if type(name) is not str or not _held(state):
            continue
        lowered = name.lower()
        for generator in ("python", "numpy", "cuda"):
            rng[generator] = rng[generator] or generator in lowered
        if lowered in ("random", "random_state"):
            rng["python"] = True
        rng["torch"] = rng["torch"] or ("cuda" not in lowered and ("torch" in lowered or "cpu" in lowered))


def parameter_count(top: Any, tensors: list[Placed]) -> int:
    """Elements of the model's own weights; tensors that look at the same bytes count once."""
    chosen = tensors
    if not bare_state(top):
        by_role: dict[Role, list[Placed]] = {}
        kinds = _Kinds(top)
        for placed in tensors:
            by_role.setdefault(kinds.of(placed.info.name), []).append(placed)
        chosen = by_role.get("model") or by_role.get("ema") or by_role.get("other") or []
    counted: set[tuple[int, str, int, tuple[int, ...], tuple[int, ...]]] = set()
    total = 0
    for placed in chosen:
        tensor = placed.tensor
        if tensor.storage is not None:
            view = (id(tensor.storage.home), tensor.storage.key, tensor.offset, tensor.shape, tensor.stride)
            if view in counted:
                continue
            counted.add(view)
        total += placed.elements
    return total


class _Kinds:
    """Roles of tensors by the key at the top of the file that they stand under."""

    def __init__(self, top: Any) -> None:
        self._known = {str(key): layouts.role(key) for key in mapping_of(top) or {}}
        self._dotted = [key for key in self._known if "." in key][:1000]

    def of(self, name: str) -> Role:
        """The role of a tensor by its dotted name."""
        found = self._known.get(name.partition(".")[0])
        if found is not None:
            return found
        fitting = [key for key in self._dotted if name == key or name.startswith(key + ".")]
        return self._known[max(fitting, key=len)] if fitting else "other"
