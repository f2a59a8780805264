"""The policy of a run as people ask about it: what is in force and why, and what another one would have done."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ckpt import retention
from ckpt.encoding import printable
from ckpt.exceptions import StateError
from ckpt.protocol import run_to_json
from ckpt.retention import Layer, Merged
from ckpt.retention.rehearsed import rehearsal_to_json
from ckpt.retention.rehearsing import rehearse
from ckpt.scan.history import history
from ckpt.scan.view import RunView


def policy_view_to_json(view: RunView, layers: Iterable[Layer]) -> dict[str, Any]:
    """`ckpt policy show RUN --json`; `layers` are what the places ask for, the weakest first."""
    merged = Merged(policy=view.plan.policy, origins=view.origins)
    return {"run": run_to_json(view.run), **policy_to_json(merged, layers), "problem": view.situation.degraded}


def policy_to_json(merged: Merged, layers: Iterable[Layer]) -> dict[str, Any]:
    """A policy, where each given field of it comes from, and what it means."""
    return {
        "policy": merged.policy.to_json(),
        "origins": {printable(name): origin for name, origin in merged.origins.items()},
        "describe": retention.describe(merged.policy),
        "layers": [{"origin": origin, "policy": dict(given)} for origin, given in layers],
    }


def try_policy(view: RunView, text: str | None, now: float, foreign_marks: Path | None = None) -> dict[str, Any]:
    """What a policy would have made of the history of a run, as `ckpt policy test --json` shows it.

    `text` is like `keep_last=3 keep_best=2`, and follows the run's monitor where it names none; None is the policy in
    force. Raises StateError for a text that is no policy, OSError.
    """
    policy, situation = view.plan.policy, view.situation
    if text is not None:
        given = retention.parse([text])
        if not given:
            raise StateError("the policy that is to be tried says nothing", hint="for example: keep_last=3 keep_best=2")
        merged = retention.merge([view.followed, ("the policy to try", given)])
        policy, situation = merged.policy, situation.evolve(guessed=merged.guessed)
    past = history(view, foreign_marks)
    return {
        "run": view.run.id,
        "name": printable(view.run.name),
        "text": text,
        **rehearsal_to_json(rehearse(past, policy, situation, now=now)),
        "history": {
            "saves": len(past.saves),
            "removed": past.removed,
            "forgotten": past.forgotten,
            "unusable": past.unusable,
        },
    }
