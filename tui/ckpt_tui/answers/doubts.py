"""What is probably not meant: metrics that nothing has, budgets below one checkpoint, names that are nearly others."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ckpt.encoding import printable
from ckpt_tui.wording import size_text

_NEAR = 0.8
Json = Mapping[str, Any]


def recorded(checkpoints: Iterable[Json]) -> set[str]:
    """The metrics that any of some checkpoints has, finite or not."""
    names: set[str] = set()
    for raw in checkpoints:
        names.update(raw.get("metrics") or ())
        if raw.get("loss") is not None or "loss" in (raw.get("nonfinite") or ()):
            names.add("loss")
    return names


def unrecorded(given: Json, known: Collection[str]) -> list[str]:
    """A sentence for each metric that a policy goes by and no checkpoint has. `known` are those that any has."""
    asked = [given.get("monitor"), *(given.get("keep_best_of") or ())]
    told = []
    for name in dict.fromkeys(str(name) for name in asked if name):
        if name in known:
            continue
        near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
        what = f"did you mean {printable(near[0])}?" if near else _there_is(known)
        told.append(f"no checkpoint has {printable(name)} recorded; {what}")
    return told


def _there_is(known: Collection[str]) -> str:
    return f"there is: {', '.join(map(printable, sorted(known)[:8]))}" if known else "no metric is recorded at all"


def too_small(given: Json, newest: Json | None) -> list[str]:
    """A sentence where a budget has no room for the newest checkpoint, which always stays."""
    budget = given.get("max_bytes")
    if not isinstance(budget, int) or newest is None or int(newest["bytes"]) <= budget:
        return []
    size = size_text(int(newest["bytes"]))
    return [f"max_bytes {size_text(budget)} is less than the newest checkpoint alone takes ({size}), which stays"]


def nearly(names: Iterable[str], known: Collection[str]) -> list[str]:
    """A question for each new name of a metric that is nearly one that exists."""
    told = []
    for name in names:
        if name in known:
            continue
        others = {other for other in known if re.sub(r"\d", "", other) != re.sub(r"\d", "", name)}
        near = next((other for other in sorted(others) if other.lower() == name.lower()), None)
        close = [near] if near else difflib.get_close_matches(name, sorted(others), n=1, cutoff=_NEAR)
        told += [f"{printable(other)} exists: did you mean it?" for other in close]
    return told
