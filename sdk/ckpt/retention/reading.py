"""Policies as people and files write them: tables, JSON objects and `key=value` texts become given fields.

Given fields are a partial policy: canonical names, values as Policy holds them, None for a rule that is switched off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ckpt.encoding import printable
from ckpt.exceptions import StateError
from ckpt.retention.fields import RULES, SETTINGS, refuse_nothing, switch
from ckpt.retention.quantities import shown
from ckpt.retention.spelling import OTHER_NAMES, field_name, is_off

FIELDS = (*RULES, *SETTINGS)

_OFF = {"keep_tagged": False}
_NUMBERS = ("metric_grace", "min_age", "max_share", "keep_for")

_NEXT = re.compile(r"\s+(?=[A-Za-z_][^\s=]*=)")
_NUMBER = re.compile(r"[+-]?[0-9]{1,30}", re.ASCII)
_FRACTION = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?(e[+-]?[0-9]{1,3})?", re.ASCII | re.IGNORECASE)
_BEST_OF = "keep_best_of."
_WORDS = ("monitor", "mode", "missing_metric")


def given(raw: Any) -> dict[str, Any]:
    """The fields that a table or JSON object gives, checked one by one.

    Other names of a field become its own; None, False, "off" and "none" switch a rule off, which is None here; a
    monitor that is False or "none" becomes `unmonitored`; a monitor or mode of None is not given. What `given` returned
    it takes again, unchanged.

    Raises StateError for an unknown field, naming the nearest, a value out of range, rules that are all 0, and two
    names of one field that disagree.
    """
    if not isinstance(raw, Mapping):
        raise StateError(f"a policy has to be an object, not {shown(raw)}", hint='such as {"keep_last": 5}')
    named = [(field_name(str(name), FIELDS), str(name), value) for name, value in raw.items()]
    refuse_nothing(named)
    fields: dict[str, Any] = {}
    names: dict[str, str] = {}
    for field, name, value in named:
        read = _read(field, name, value)
        for said, meaning in read.items():
            if said in fields and fields[said] != meaning:
                raise StateError(
                    f"{names[said]} and {name} are two names of one thing and disagree", hint="give one of them"
                )
            fields[said], names[said] = meaning, name
    if fields.get("unmonitored") and "monitor" in fields:
        raise StateError(f"monitor is {shown(fields['monitor'])} and switched off in one", hint="leave one of them out")
    return fields


def _read(field: str, name: str, value: Any) -> dict[str, Any]:
    if field in RULES:
        return {field: _OFF.get(field) if is_off(value) else RULES[field](name, value)}
    if field == "monitor" and value is not None and is_off(value):
        return {"unmonitored": True}
    if field in ("monitor", "mode") and value is None:
        return {}
    if field == "unmonitored":
        return {field: True} if switch(name, value) else {}
    if field in _NUMBERS and is_off(value):
        raise StateError(
            f"{name} is {shown(value)}, and has to be a number: it cannot be switched off",
            hint=f"leave {name} out for what it is by itself, or say 0",
        )
    return {field: SETTINGS[field](name, value)}


def parse(texts: Iterable[str]) -> dict[str, Any]:
    """The fields that texts such as `keep_last=3` or `keep_last=3 keep_every=1h for 1d` give, as `given` has them.

    Further monitors are `keep_best_of.accuracy=2` or `keep_best_of.accuracy=2 max`. Raises StateError.
    """
    raw: dict[str, Any] = {}
    for text in texts:
        for item in _NEXT.split(text.strip()):
            name, value = _item(item)
            if name.startswith(_BEST_OF):
                metrics = raw.setdefault("keep_best_of", {})
                if not isinstance(metrics, dict):
                    raise StateError("keep_best_of is switched off and given in one", hint="leave one of them out")
                _put(metrics, name.removeprefix(_BEST_OF), value, name)
            else:
                field = OTHER_NAMES.get(name, name)
                _put(raw, name, value if field in _WORDS else _plain(value), name)
    return given(raw)


def _item(item: str) -> tuple[str, str]:
    if item.startswith(_BEST_OF):
        name, equals, value = item.rpartition("=")
    else:
        name, equals, value = item.partition("=")
    name, value = name.strip(), value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1].strip()
    if not equals or not name or not value:
        raise StateError(
            f"'{printable(item)[:80]}' is no rule: it has to be NAME=VALUE",
            hint='such as keep_last=5, keep_every="1h for 1d", keep_best_of.accuracy=2 or keep_last=off',
        )
    return name, value


def _put(into: dict[str, Any], key: str, value: Any, name: str) -> None:
    if key in into and into[key] != value:
        raise StateError(f"{printable(name)[:80]} is given twice, and the two disagree", hint="leave one of them out")
    into[key] = value


def _plain(value: str) -> Any:
    if _NUMBER.fullmatch(value):
        return int(value)
    return float(value) if _FRACTION.fullmatch(value) else value
