"""Plans as `ckpt plan --json` shows them."""

from __future__ import annotations

from typing import Any

from ckpt.protocol import checkpoint_to_json, reason_to_json
from ckpt.retention.deciding import Decision
from ckpt.retention.planner import Plan, RunPlan


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """A plan as plain data: id, runs, and the bytes that are freed now and at purge."""
    return {
        "id": plan.id,
        "runs": [run_plan_to_json(run) for run in plan.runs],
        "freed_now": plan.freed_now,
        "freed_at_purge": plan.freed_at_purge,
    }


def run_plan_to_json(run: RunPlan) -> dict[str, Any]:
    """The part of one run; each checkpoint with the reasons of its verdict."""
    return {
        "run": run.run,
        "policy": run.policy.to_json(),
        "refused": run.refused,
        "ask": run.ask,
        "changes_at": run.changes_at,
        "over_bytes": run.over_bytes,
        "keep": [_decision_to_json(decision) for decision in run.keep],
        "remove": [_decision_to_json(decision) for decision in run.remove],
        "skip": [_decision_to_json(decision) for decision in run.skip],
    }


def _decision_to_json(decision: Decision) -> dict[str, Any]:
    shown = checkpoint_to_json(decision.checkpoint)
    del shown["verdict"]
    return {
        **shown,
        "reasons": [reason_to_json(reason) for reason in decision.verdict.reasons],
        "near_misses": [reason_to_json(reason) for reason in decision.verdict.near_misses],
    }
