"""What a training that goes on from a checkpoint finds in it, decided from the checkpoint's `resume` report alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ckpt.records import Record

Outcome = Literal["exact", "differs", "weights", "partial", "nothing"]
GENERATORS = ("python", "numpy", "torch", "cuda")
"""The random generators of a report."""
NONE_GIVEN = "none was given"
"""The reason in a report of what was left out that says no more than that the part is not there."""
_BETWEEN = ("epoch_end", "epoch_start")  # where a training stands that is in no epoch's data
_NEEDED = ("python", "numpy", "torch")  # every training has them; whether it used a GPU, its checkpoint does not say


class Resumption(Record, frozen=True, kw_only=True):
    """How a training goes on from a checkpoint, as far as that can be told.

    `outcome` is exact (as if it had not stopped), differs (it goes on, but for what is in `lacking` and `caveats`),
    weights (only the model), partial (states of a training, but no model) or nothing.
    """

    outcome: Outcome
    lacking: tuple[str, ...] = ()
    """What an exact resume needs and does not find: `rng` (of no generator at all), else `rng.NAME` for the single
    generators, `rng.ranks` (fewer ranks than the training had), `data` (the position in an epoch that is not over)."""
    caveats: tuple[str, ...] = ()
    """What else speaks against an exact one, by the writer's own word, as sentences."""


def resumption(resume: Mapping[str, Any]) -> Resumption:
    """What a resume makes of a report of the shape of `Inspection.resume`; {} tells of nothing.

    A scheduler or a scaler that is not there is not missed, because many trainings have none.
    """
    others = any(resume.get(part) for part in ("optimizer", "scheduler", "scaler", "data")) or bool(generators(resume))
    if not resume.get("model"):
        return Resumption(outcome="partial" if others else "nothing")
    if not resume.get("optimizer"):
        return Resumption(outcome="weights")
    is_between = resume.get("epoch_finished") or resume.get("phase") in _BETWEEN
    needs_position = not (resume.get("data") or is_between)
    lacking = [*_lacking_generators(resume), *(("data",) if needs_position else ())]
    caveats = tuple(resume.get("caveats") or ())
    return Resumption(outcome="differs" if lacking or caveats else "exact", lacking=tuple(lacking), caveats=caveats)


def generators(resume: Mapping[str, Any]) -> tuple[str, ...]:
    """The random generators whose states a report names."""
    rng = resume.get("rng") or {}
    return tuple(name for name in GENERATORS if rng.get(name))


def _lacking_generators(resume: Mapping[str, Any]) -> list[str]:
    known = generators(resume)
    if not known:
        return ["rng"]
    lacking = [f"rng.{name}" for name in _NEEDED if name not in known]
    ranks = (resume.get("rng") or {}).get("ranks") or 0
    world = (resume.get("topology") or {}).get("world_size") or 0
    return [*lacking, "rng.ranks"] if 0 < ranks < world else lacking
