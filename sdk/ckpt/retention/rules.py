"""All rules, in the order in which their reasons are shown.

A rule sees the candidates of one run in the orders that rules go by, and says which it keeps and, for the others, how
near they came. Rules never look at each other; what a budget leaves room for is decided after them, in budget.py.
"""

from __future__ import annotations

from ckpt.retention import counts, floor, grids, times
from ckpt.retention.candidates import Rule

RULES: tuple[Rule, ...] = (
    counts.last,
    counts.best,
    grids.every_n_epochs,
    grids.every_n_steps,
    grids.listed_steps,
    times.every,
    times.within,
    times.young,
    counts.not_measured,
)
"""What a policy can ask for."""

FLOOR: tuple[Rule, ...] = (
    floor.newest,
    counts.best_of_all,
    floor.pointed,
    floor.pinned,
    floor.tagged,
    floor.held,
    floor.linked,
    floor.fork_start,
    floor.recent,
)
"""What is kept under every policy that removes anything."""

AT_ONCE: tuple[Rule, ...] = (
    counts.very_best,
    floor.pointed,
    floor.pinned,
    floor.tagged,
    floor.held,
    floor.linked,
    floor.fork_start,
)
"""What of the floor holds for a checkpoint before it has settled."""
