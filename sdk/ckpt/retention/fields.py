"""The fields of a policy: what each may hold, and how it is read from what people write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

from ckpt.encoding import printable
from ckpt.exceptions import StateError
from ckpt.refs import mode_for
from ckpt.retention.quantities import duration, duration_text, share, shown, size, whole
from ckpt.retention.spelling import is_off, nearest

Reader = Callable[[str, Any], Any]
"""Takes the name that a person used and the value; gives the value as the policy holds it, or raises StateError."""

MOST_CHECKPOINTS = 10**9
MOST_STEPS = 10**15
MOST_LISTED = 100_000
MOST_NAMED = 100
MODES = ("min", "max")


def metric(name: str, value: Any) -> str:
    """The name of a metric."""
    if not isinstance(value, str) or not value.strip() or len(value) > 1000:
        raise StateError(
            f"{name} is {shown(value)}, and has to be the name of a metric",
            hint='such as "val_loss"; "none" says that there is no best',
        )
    return value


def choice(allowed: tuple[str, ...], name: str, value: Any) -> str:
    """One of a few words."""
    if value not in allowed or not isinstance(value, str):
        words = " or ".join(repr(word) for word in allowed)
        raise StateError(f"{name} is {shown(value)}, and has to be {words}")
    return value


def switch(name: str, value: Any) -> bool:
    """True or false, also `on`, `yes`, `off`, `no`."""
    if value is not None and is_off(value):
        return False
    if value is True or (isinstance(value, str) and value.strip().lower() in ("on", "yes", "true")):
        return True
    raise StateError(f"{name} is {shown(value)}, and has to be true or false")


def count(most: int, name: str, value: Any) -> int:
    """A number of checkpoints, epochs or steps."""
    return whole(name, value, 1, most, _count_hint(name, value))


def _count_hint(name: str, value: Any) -> str:
    if value == -1 and not isinstance(value, bool):
        return f"to keep every checkpoint, give no rule at all: leave {name} out"
    if name == "save_top_k" and value == 0:
        return 'the best is always kept; leave save_top_k out, or say monitor = "none" where there is no best'
    return f"leave {name} out for no such rule"


def steps(name: str, value: Any) -> tuple[int, ...]:
    """Steps, ascending, from a list or a text such as `1000,5000`."""
    listed: list[Any]
    if isinstance(value, str):
        listed = [int(part) if part.strip().isdecimal() and len(part) < 20 else part for part in value.split(",")]
    else:
        listed = list(value) if isinstance(value, list | tuple) else [value]
    if len(listed) > MOST_LISTED:
        raise StateError(f"{name} lists {len(listed)} steps, and may list {MOST_LISTED}")
    found = sorted(whole(name, step, 0, MOST_STEPS, 'such as [1000, 5000] or "1000,5000"') for step in listed)
    for before, after in pairwise(found):
        if before == after:
            raise StateError(f"{name} names step {after} twice")
    return tuple(found)


def stretches(name: str, value: Any) -> tuple[dict[str, float | None], ...]:
    """Stretches of time, the shortest first, from `"1h for 1d"`, seconds, a mapping, or a list of these."""
    if isinstance(value, str):
        value = value.split(",")
    items = value if isinstance(value, list | tuple) else [value]
    if len(items) > MOST_NAMED:
        raise StateError(f"{name} names {len(items)} stretches, and may name {MOST_NAMED}")
    found = [_stretch(name, item) for item in items]
    found.sort(key=lambda stretch: stretch["every"] or 0.0)
    for before, after in pairwise(found):
        if before["every"] == after["every"]:
            raise StateError(f"{name} names every {duration_text(after['every'] or 0.0)} twice")
    return tuple(found)


def _stretch(name: str, item: Any) -> dict[str, float | None]:
    if isinstance(item, Mapping):
        _check_parts(name, item, ("every", "within"), 'such as {every = "1h", within = "1d"}')
        every, within = item.get("every"), item.get("within")
    elif isinstance(item, str):
        every, word, within = item.partition(" for ")
        within = within if word else None
    else:
        every, within = item, None
    stretch = duration(name, every, 1.0)
    if within is None:
        return {"every": stretch, "within": None}
    reach = duration(name, within, 1.0)
    if reach < stretch:
        raise StateError(
            f"{name} is {shown(item)}: one for every {duration_text(stretch)} cannot fit into {duration_text(reach)}",
            hint='the shorter time comes first: "1h for 1d"',
        )
    return {"every": stretch, "within": reach}


def _check_parts(name: str, item: Mapping[Any, Any], parts: tuple[str, ...], example: str) -> None:
    for part in item:
        if part not in parts:
            raise StateError(
                f"{name} holds '{printable(str(part))[:80]}', which means nothing there",
                hint=nearest(str(part), parts, example),
            )


def best_of(name: str, value: Any) -> dict[str, dict[str, Any] | None]:
    """Metric to {"keep": N, "mode": "min" | "max"}, or to None for one that is switched off."""
    if not isinstance(value, Mapping):
        raise StateError(
            f"{name} is {shown(value)}, and has to name metrics",
            hint='such as {accuracy = 2}, {accuracy = {keep = 2, mode = "max"}}, or keep_best_of.accuracy=2',
        )
    if len(value) > MOST_NAMED:
        raise StateError(f"{name} names {len(value)} metrics, and may name {MOST_NAMED}")
    return {
        metric(name, key): None if is_off(wanted) else _best(f"{name}.{printable(key)[:80]}", key, wanted)
        for key, wanted in value.items()
    }


def _best(name: str, key: str, wanted: Any) -> dict[str, Any]:
    mode: Any = None
    if isinstance(wanted, Mapping):
        _check_parts(name, wanted, ("keep", "mode"), 'such as {keep = 2, mode = "max"}')
        wanted, mode = wanted.get("keep"), wanted.get("mode")
    elif isinstance(wanted, str):
        number, _, rest = wanted.strip().partition(" ")
        mode = rest.strip() or None
        wanted = int(number) if number.isdecimal() and len(number) < 20 else wanted
    keep = count(MOST_CHECKPOINTS, name, wanted)
    return {"keep": keep, "mode": mode_for(key) if mode is None else choice(MODES, f"{name} mode", mode)}


RULES: dict[str, Reader] = {
    "keep_last": partial(count, MOST_CHECKPOINTS),
    "keep_best": partial(count, MOST_CHECKPOINTS),
    "keep_every_n_epochs": partial(count, MOST_STEPS),
    "keep_every_n_steps": partial(count, MOST_STEPS),
    "keep_best_of": best_of,
    "keep_every": stretches,
    "keep_within": partial(duration, least=1.0),
    "keep_steps": steps,
    "keep_tagged": switch,
    "max_age": partial(duration, least=1.0),
    "max_bytes": size,
}
"""What a policy may ask to be kept. Each can be switched off."""

SETTINGS: dict[str, Reader] = {
    "monitor": metric,
    "mode": partial(choice, MODES),
    "unmonitored": switch,
    "missing_metric": partial(choice, ("keep", "ignore")),
    "metric_grace": duration,
    "min_age": duration,
    "max_share": share,
    "include_unknown": switch,
    "tag_best": switch,
    "keep_for": duration,
}
"""What else a policy says. Each always has a value."""

COUNTED = ("keep_last", "keep_best", "keep_every_n_epochs", "keep_every_n_steps")


def refuse_nothing(said: Iterable[tuple[str, str, Any]]) -> None:
    """Refuses rules that are all 0. `said` is (field, name that was used, value). Raises StateError."""
    rules = [(field, name, value) for field, name, value in said if field in RULES and not is_off(value)]
    if rules and all(value == 0 and field != "keep_steps" for field, _, value in rules):
        names = " and ".join(f"{name} = 0" for _, name, _ in rules)
        hint = "leave a rule out to switch it off"
        if len(rules) == 1 and rules[0][0] in COUNTED:
            hint = _count_hint(rules[0][1], 0)
        raise StateError(f"a policy with {names} would keep nothing", hint=hint)
