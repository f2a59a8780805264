"""Which checkpoints of a run stay, which go, and why: pure functions over records, no disk and no clock.

    Policy      what a run asks for                      policy.py
    given()     what people write, as its fields         reading.py, fields.py, spelling.py, quantities.py
    merge()     what several places ask, as one          layers.py
    describe()  a policy in plain sentences              describing.py
    rules       one small function each, in one table    rules.py: counts.py, grids.py, times.py, floor.py
    budget      room for what no rule keeps              budget.py
    outside     what a plan does not decide on, and why  outside.py, recognising.py
    refusing    what is not done, or only if confirmed   refusing.py
    plan()      all of it over one run's checkpoints     planner.py, deciding.py
    combine()   plans of several runs under one id       planner.py
    rehearse()  a policy over past saves                 rehearsing.py, rehearsed.py
    *_to_json   the shape of `ckpt plan --json`          presenting.py

Kept is the union of what every rule keeps by itself. A rule never removes, only the absence of every keep does, so
adding a rule can never remove more. Below every policy lies a floor: newest complete, best, pinned, tagged, held.
"""

from ckpt.retention.deciding import Decision
from ckpt.retention.describing import describe
from ckpt.retention.layers import Layer, Merged, merge
from ckpt.retention.planner import Plan, RunPlan, combine, moving_tags, plan
from ckpt.retention.policy import Monitor, Policy
from ckpt.retention.presenting import plan_to_json, run_plan_to_json
from ckpt.retention.reading import given, parse
from ckpt.retention.situation import FOREIGN, OWN, Situation

__all__ = [
    "FOREIGN",
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
