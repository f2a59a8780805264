"""A plan: what the rules of a policy make of the checkpoints of a run, and of several runs together."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence

from ckpt import refs
from ckpt.encoding import printable
from ckpt.exceptions import UsageError
from ckpt.records import Checkpoint, Reason, Record, Verdict
from ckpt.retention.policy import DEFAULT_MONITOR, Policy
from ckpt.retention.rules import FLOOR, FORK_LABEL, RULES, Candidates, Selection, unranked
from ckpt.retention.situation import OWN, Situation


class Decision(Record, frozen=True, kw_only=True, gc=False):
    """One checkpoint and what is to become of it."""

    checkpoint: Checkpoint
    verdict: Verdict


class RunPlan(Record, frozen=True, kw_only=True):
    """What a policy makes of one run; every list newest first."""

    run: str
    """Id of the run; "" for a run without checkpoints that nobody named."""
    policy: Policy
    keep: tuple[Decision, ...] = ()
    remove: tuple[Decision, ...] = ()
    skip: tuple[Decision, ...] = ()
    """Outside the plan: not complete, or not ours to remove."""
    refused: str | None = None
    """Why nothing is removed although the rules leave something over; None when the plan may be applied."""
    ask: str | None = None
    """Why it is carried out only when a person confirms its plan's id; None when it may be carried out unasked."""
    changes_at: float | None = None
    """When it may become another by the passing of time alone (Unix seconds); None when it does not."""
    over_bytes: int = 0
    """By how much the run stays above `max_bytes` although all that may go is gone."""

    @property
    def decisions(self) -> Iterator[Decision]:
        """All decisions: kept, removed, skipped."""
        yield from self.keep
        yield from self.remove
        yield from self.skip

    def verdicts(self) -> dict[str, Verdict]:
        """Checkpoint id to verdict."""
        return {decision.checkpoint.id: decision.verdict for decision in self.decisions}


class Plan(Record, frozen=True, kw_only=True):
    """What the policies of several runs would do now, under one name."""

    id: str
    """8 hexadecimal digits over what the plan was made from: the same world has the same id, whatever the time."""
    runs: tuple[RunPlan, ...] = ()
    freed_now: int = 0
    """Bytes that applying it frees at once: none, because removed checkpoints go to the trash."""
    freed_at_purge: int = 0
    """Bytes that are free again when the trash is purged."""


def plan(
    checkpoints: Iterable[Checkpoint],
    policy: Policy,
    now: float,
    *,
    run: str | None = None,
    situation: Situation = OWN,
) -> RunPlan:
    """What `policy` keeps, removes or skips of one run's checkpoints at the time `now`.

    Pure, and the same for every order of the checkpoints. `now` (Unix seconds) is there for rules that go by age; none
    of the present ones does, so the same world has the same plan at any time. `own` is false for a run that another
    framework writes: it is only observed. Raises UsageError when the checkpoints are of more than one run.
    """
    ordered = refs.newest_first(checkpoints)
    name = _run_of(ordered, run)
    skipped: list[Decision] = []
    complete: list[Checkpoint] = []
    for checkpoint in ordered:
        reasons = _outside(checkpoint, situation.own)
        if reasons:
            skipped.append(Decision(checkpoint=checkpoint, verdict=Verdict(action="skip", reasons=reasons)))
        else:
            complete.append(checkpoint)
    if not policy.has_rules:
        kept = Verdict(action="keep", reasons=(Reason(rule="no_rule", text="no rule: everything is kept"),))
        decided = tuple(Decision(checkpoint=checkpoint, verdict=kept) for checkpoint in complete)
        return RunPlan(run=name, policy=policy, keep=decided, skip=tuple(skipped))

    keep, remove = _judge(complete, policy)
    refused = _refusal(complete, policy) if remove else None
    if refused is not None:
        reason = Reason(rule="refused", text=f"not removed: {refused}")
        held = {d.checkpoint.id: d.verdict.evolve(action="skip", reasons=(reason,)) for d in remove}
        verdicts = {d.checkpoint.id: d.verdict for d in skipped} | held
        skipped = [Decision(checkpoint=c, verdict=verdicts[c.id]) for c in ordered if c.id in verdicts]
        remove = []
    return RunPlan(
        run=name,
        policy=policy,
        keep=tuple(keep),
        remove=tuple(remove),
        skip=tuple(skipped),
        refused=refused,
    )


def combine(plans: Iterable[RunPlan]) -> Plan:
    """The plans of several runs as one, with an id over all that they were made from, in any order."""
    runs = tuple(plans)
    whole = hashlib.sha256()
    for digest in sorted(_digest(run) for run in runs):
        whole.update(digest)
    freed = sum(decision.checkpoint.bytes for run in runs for decision in run.remove)
    return Plan(id=whole.hexdigest()[:8], runs=runs, freed_at_purge=freed)


def moving_tags(checkpoints: Iterable[Checkpoint], policy: Policy) -> dict[str, tuple[str, ...]]:
    """The tags that move by themselves: checkpoint id to its sorted names, for those that have any.

    `latest` is the newest complete one; `best` (also `best-1`) to `best-N` follow the monitor, N as the policy keeps.
    """
    complete = refs.newest_first(c for c in checkpoints if c.state == "complete")
    names: dict[str, list[str]] = {checkpoint.id: ["latest"] for checkpoint in complete[:1]}
    if policy.tag_best:
        candidates = Candidates(newest=complete, metric=policy.metric, mode=policy.mode)
        for rank, place in enumerate(candidates.best[: policy.keep_best or 1], 1):
            found = names.setdefault(complete[place].id, [])
            found += ["best", "best-1"] if rank == 1 else [f"best-{rank}"]
    return {checkpoint: tuple(sorted(tags)) for checkpoint, tags in names.items()}


def _run_of(checkpoints: Sequence[Checkpoint], run: str | None) -> str:
    found = {checkpoint.run for checkpoint in checkpoints} | ({run} if run is not None else set())
    if len(found) > 1:
        names = ", ".join(sorted(printable(name) for name in found)[:4])
        raise UsageError(f"the checkpoints are of {len(found)} runs ({names})", hint="plan each run by itself")
    return found.pop() if found else ""


def _outside(checkpoint: Checkpoint, own: bool) -> tuple[Reason, ...]:
    reasons: list[Reason] = []
    if checkpoint.state != "complete":
        what = {
            "writing": "still being written",
            "incomplete": "incomplete",
            "corrupt": "unreadable",
            "trashed": "already in the trash",
        }[checkpoint.state]
        detail = f": {printable(checkpoint.problems[0])}" if checkpoint.problems else ""
        reasons.append(Reason(rule=checkpoint.state, text=what + detail))
    if not own:
        reasons.append(Reason(rule="foreign", text="not ours to remove: another tool wrote it"))
    return tuple(reasons)


def _judge(complete: Sequence[Checkpoint], policy: Policy) -> tuple[list[Decision], list[Decision]]:
    candidates = Candidates(newest=complete, metric=policy.metric, mode=policy.mode)
    selections: list[Selection] = [s for rule in (*RULES, *FLOOR) if (s := rule(candidates, policy)) is not None]
    kept: dict[str, list[Reason]] = {}
    for selection in selections:
        for checkpoint_id, reason in selection.kept.items():
            kept.setdefault(checkpoint_id, []).append(reason)
    keep: list[Decision] = []
    left_over: list[int] = []
    for place, checkpoint in enumerate(complete):
        reasons = kept.get(checkpoint.id)
        if reasons is None:
            left_over.append(place)
            continue
        verdict = Verdict(action="keep", reasons=tuple(reasons), near_misses=_odd_value(candidates, place))
        keep.append(Decision(checkpoint=checkpoint, verdict=verdict))
    # Rule by rule and not checkpoint by checkpoint: runs of 100 000 are planned anew at every change.
    columns = [selection.misses(left_over) for selection in selections if selection.misses is not None]
    remove = [
        Decision(
            checkpoint=complete[place],
            verdict=Verdict(action="remove", near_misses=row if all(row) else tuple(filter(None, row))),
        )
        for place, row in zip(left_over, zip(*columns, strict=True), strict=True)
    ]
    return keep, remove


def _odd_value(candidates: Candidates, place: int) -> tuple[Reason, ...]:
    """A value that is there and cannot be ranked is said even where something else keeps the checkpoint."""
    if candidates.ranks[place] or candidates.values[place] is None:
        return ()
    reason = unranked(candidates, place)
    return () if reason is None else (reason,)


def _refusal(complete: Sequence[Checkpoint], policy: Policy) -> str | None:
    """A monitor that nobody ever recorded is a wrong name: what is best is unknown, so nothing may go."""
    asked = policy.keep_best is not None or policy.metric != DEFAULT_MONITOR
    if not asked or any(checkpoint.value(policy.metric) is not None for checkpoint in complete):
        return None
    known = sorted({name for c in complete if c.label != FORK_LABEL for name in c.metrics})
    near = difflib.get_close_matches(policy.metric, known, n=1, cutoff=0.5)
    if near:
        hint = f"; did you mean {printable(near[0])}?"
    else:
        hint = f"; recorded: {', '.join(printable(name) for name in known[:6])}" if known else ""
    return f"no checkpoint has {printable(policy.metric)} recorded, so the best is unknown{hint}"


def _digest(run: RunPlan) -> bytes:
    digest = hashlib.sha256()
    lines = [run.run, json.dumps(run.policy.to_json(), sort_keys=True), run.refused or ""]
    for decision in run.decisions:
        checkpoint = decision.checkpoint
        lines.append(f"{checkpoint.id} {checkpoint.state} {decision.verdict.action}")
        if checkpoint.pinned or checkpoint.tags or checkpoint.held_by:
            tags = [tag for tag in checkpoint.tags if not refs.RESERVED_TAG.match(tag)]
            said = (checkpoint.pinned, sorted(tags), sorted(checkpoint.held_by))
            if any(said):
                lines.append(json.dumps(said))
    digest.update("\n".join(lines).encode("utf-8", "surrogatepass"))
    return digest.digest()
