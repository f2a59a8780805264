"""Which states a training finds in a file, and how the training was spread: the resume report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from ckpt.encoding import printable
from ckpt.formats.meanings.layout import Layout
from ckpt.formats.meanings.places import at, fields_of
from ckpt.formats.meanings.roles import Role, role
from ckpt.formats.meanings.scalars import Scalars
from ckpt.formats.meanings.weights import bare_state
from ckpt.formats.pickled.values import Tensor

_GENERATORS = ("python", "numpy", "torch", "cuda")
_MAX_RANKS = 1 << 20
_MAX_PARTS = 500  # of a writer's report
_MAX_TEXT = 300  # characters
_MAX_LOOKED_AT = 64  # of the states of generators, and of what is in one of them


def states(top: Mapping[Any, Any], layout: Layout) -> Iterator[tuple[str, Role, Any]]:
    """Key or place, kind and value of everything in a file that is some state and not empty."""
    for key, value in top.items():
        if held(value):
            yield str(key)[:200], layout.states.get(key) or role(key), value
    for place, kind in layout.states.items():
        if "." in place:
            value = at(top, place)
            if held(value):
                yield place.rpartition(".")[2], kind, value


def held(value: Any) -> bool:
    """Whether a value can be a state: not a mere number or text, and not empty."""
    if value is None or type(value) in (bool, int, float, str):
        return False
    return not (type(value) in (dict, list, tuple) and not value)


def resume(whole: Any, top: Mapping[Any, Any], layout: Layout, topology: Mapping[str, int]) -> dict[str, Any]:
    """The report in the shape of `Inspection.resume`. `top` is the mapping that `whole` is, or {}.

    Averaged weights are a model to go on with where the plain ones are not there.
    """
    kinds: set[Role] = set()
    rng: dict[str, Any] = {**dict.fromkeys(_GENERATORS, False), "ranks": 0}
    looked_at = 0
    if bare_state(whole):
        kinds.add("model")
    else:
        for name, kind, value in states(top, layout):
            kinds.add(kind)
            if kind == "rng" and looked_at < _MAX_LOOKED_AT:
                looked_at += 1
                rng["ranks"] = max(rng["ranks"], _generators(name, value, rng))
    return {
        "model": "model" in kinds or "ema" in kinds,
        "optimizer": "optimizer" in kinds,
        "scheduler": "scheduler" in kinds,
        "scaler": "scaler" in kinds,
        "rng": rng,
        "data": "data" in kinds,
        "topology": dict(topology),
        **({"epoch_finished": True} if layout.epoch_finished and at(top, layout.epoch_finished) is True else {}),
        **_reported(top, layout),
    }


def _reported(top: Mapping[Any, Any], layout: Layout) -> dict[str, Any]:
    """The writer's own word on what is in the file and on how a training goes on from it; {} without it."""
    report = fields_of(at(top, layout.report)) if layout.report else None
    if report is None:
        return {}
    phase = at(top, layout.phase) if layout.phase else None
    return {
        **({"phase": printable(phase[:_MAX_TEXT])} if type(phase) is str else {}),
        "captured": _texts(report.get("captured")),
        "left_out": _texts_by_name(fields_of(report.get("left_out"))),
        "resumes_by": _texts_by_name(fields_of(report.get("resumes_by"))),
        "caveats": _texts(report.get("caveats")),
    }


def _texts(value: Any) -> list[str]:
    texts = value[:_MAX_PARTS] if type(value) is list else []
    return [printable(text[:_MAX_TEXT]) for text in texts if type(text) is str]


def _texts_by_name(fields: Mapping[Any, Any] | None) -> dict[str, str]:
    return {
        printable(name[:_MAX_TEXT]): printable(text[:_MAX_TEXT])
        for name, text in islice((fields or {}).items(), _MAX_PARTS)
        if type(name) is str and type(text) is str
    }


def spread(top: Mapping[Any, Any], layout: Layout, scalars: Scalars) -> dict[str, int]:
    """How the training was spread, from the row's places: positive whole numbers by name."""
    found: dict[str, int] = {}
    for name, place in layout.topology:
        number = scalars.number(at(top, place))
        if number is not None and math.isfinite(number) and 0 < number == int(number):
            found.setdefault(name, int(number))
    return found


def _generators(name: str, value: Any, rng: dict[str, Any]) -> int:
    """Notes which generators' states are in a value, and gives the number of ranks that have their own there."""
    if type(value) in (list, tuple) and all(fields_of(item) is not None for item in value):
        for item in value[:_MAX_LOOKED_AT]:
            _generators(name, item, rng)
        return min(len(value), _MAX_RANKS)
    fields = fields_of(value)
    for key, state in islice(fields.items(), _MAX_LOOKED_AT) if fields is not None else [(name, value)]:
        if type(key) is str and held(state):
            for generator in _named(key.lower()) or _shaped(state):
                rng[generator] = True
    return 1


def _named(name: str) -> tuple[str, ...]:
    """Generators whose state stands under a name like that."""
    found = tuple(generator for generator in ("python", "cuda") if generator in name)
    if "numpy" in name or name.startswith("np_"):
        found += ("numpy",)
    if name in ("random", "random_state", "random_rng_state"):
        found += ("python",)
    if "cuda" not in name and ("torch" in name or "cpu" in name):
        found += ("torch",)
    return found


def _shaped(state: Any) -> tuple[str, ...]:
    """Generators whose states look like this one, or like the items of this list."""
    found = _like(state)
    if found is None and type(state) in (list, tuple):
        return tuple(name for item in state[:8] if (name := _like(item)) is not None)
    return () if found is None else (found,)


def _like(state: Any) -> str | None:
    if type(state) is Tensor:
        return "torch" if state.dtype == "uint8" else None
    if type(state) in (list, tuple) and state:
        if state[0] == "MT19937":
            return "numpy"
        if type(state[0]) is int and len(state) == 3 and type(state[1]) in (list, tuple):
            return "python"
    return None
