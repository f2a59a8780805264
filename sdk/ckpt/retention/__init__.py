"""Which checkpoints of a run stay, which go, and why: pure functions over records, no disk and no clock.

    Policy      what a run asks for                      policy.py
    given()     what people write, as its fields         reading.py, fields.py, spelling.py, quantities.py
    merge()     what several places ask, as one          layers.py
    Situation   where a run stands, besides its policy   situation.py
    describe()  a policy in plain sentences              describing.py
    rules       one small function each, in one table    rules.py: counts.py, grids.py, times.py, floor.py
    budget      room for what no rule keeps              budget.py
    series      what follows each other in other runs    series.py
    outside     what a plan does not decide on, and why  outside.py, recognising.py
    refusing    what is not done, or only if confirmed   refusing.py
    plan()      all of it over one run's checkpoints     planner.py, deciding.py
    combine()   plans of several runs under one id       planner.py
    rehearse()  a policy over past saves                 rehearsing.py, rehearsed.py
    *_to_json   the shape of `ckpt plan --json`          presenting.py

Kept is the union of what every rule keeps by itself. A rule never removes, only the absence of every keep does, so
adding a rule can never remove more. Below every policy lies a floor: newest complete, best, pinned, tagged, held.

Each name is loaded when it is first used: what plans is not needed to write a policy down.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckpt.retention.deciding import Decision
    from ckpt.retention.describing import describe
    from ckpt.retention.layers import GUESS, Layer, Merged, merge
    from ckpt.retention.planner import Plan, RunPlan, combine, moving_tags, plan
    from ckpt.retention.policy import Monitor, Policy
    from ckpt.retention.presenting import plan_to_json, run_plan_to_json
    from ckpt.retention.reading import given, parse
    from ckpt.retention.situation import FOREIGN, OWN, Situation

_HOMES = {
    "FOREIGN": "ckpt.retention.situation",
    "GUESS": "ckpt.retention.layers",
    "OWN": "ckpt.retention.situation",
    "Decision": "ckpt.retention.deciding",
    "Layer": "ckpt.retention.layers",
    "Merged": "ckpt.retention.layers",
    "Monitor": "ckpt.retention.policy",
    "Plan": "ckpt.retention.planner",
    "Policy": "ckpt.retention.policy",
    "RunPlan": "ckpt.retention.planner",
    "Situation": "ckpt.retention.situation",
    "combine": "ckpt.retention.planner",
    "describe": "ckpt.retention.describing",
    "given": "ckpt.retention.reading",
    "merge": "ckpt.retention.layers",
    "moving_tags": "ckpt.retention.planner",
    "parse": "ckpt.retention.reading",
    "plan": "ckpt.retention.planner",
    "plan_to_json": "ckpt.retention.presenting",
    "run_plan_to_json": "ckpt.retention.presenting",
}

__all__ = [
    "FOREIGN",
    "GUESS",
    "OWN",
    "Decision",
    "Layer",
    "Merged",
    "Monitor",
    "Plan",
    "Policy",
    "RunPlan",
    "Situation",
    "combine",
    "describe",
    "given",
    "merge",
    "moving_tags",
    "parse",
    "plan",
    "plan_to_json",
    "run_plan_to_json",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ckpt.retention' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
