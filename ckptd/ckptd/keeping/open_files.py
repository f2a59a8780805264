"""Which checkpoints some process has open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ckpt.in_use import all_open_elsewhere, open_elsewhere
from ckpt.records import Checkpoint, Reason
from ckpt.retention import Decision, RunPlan
from ckpt.trash import Trash, TrashEntry

IN_USE = "in_use"
"""The rule of the reason that leaves something alone because a process has it open."""


def users_of(checkpoints: Iterable[Checkpoint]) -> dict[str, str]:
    """Of those that are open now: id to who has them open. What cannot be told is not among them."""
    files = {checkpoint.id: checkpoint.files for checkpoint in checkpoints}
    users = all_open_elsewhere(file for paths in files.values() for file in paths)
    found = {name: next((users[file] for file in paths if file in users), None) for name, paths in files.items()}
    return {name: user for name, user in found.items() if user is not None}


def naming(plan: RunPlan, users: Mapping[str, str]) -> RunPlan:
    """The plan with who has what open in the reasons of those that are left alone for it. Pure."""

    def told(decision: Decision) -> Decision:
        user = users.get(decision.checkpoint.id)
        if user is None or all(reason.rule != IN_USE for reason in decision.verdict.reasons):
            return decision
        reason = Reason(rule=IN_USE, text=f"in use by {user}")
        changed: Decision = decision.evolve(verdict=decision.verdict.evolve(reasons=(reason,)))
        return changed

    named: RunPlan = plan.evolve(skip=tuple(told(decision) for decision in plan.skip))
    return named


def user_of(checkpoint: Checkpoint) -> str | None:
    """Who has a checkpoint open; None when nobody has. Raises OperationError when that cannot be told."""
    return _first(checkpoint.files)


def user_of_entry(trash: Trash, entry: TrashEntry) -> str | None:
    """Who has something open that lies in the trash; None when nobody has. Raises OperationError."""
    return _first(str(Path(trash.directory, entry.id, item.name)) for item in entry.items)


def _first(paths: Iterable[str]) -> str | None:
    return next((user for path in paths if (user := open_elsewhere(path)) is not None), None)
