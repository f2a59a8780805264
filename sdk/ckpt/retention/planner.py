"""A plan: what the rules of a policy make of the checkpoints of a run, and of several runs together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ckpt import refs
from ckpt.encoding import printable
from ckpt.exceptions import UsageError
from ckpt.records import Checkpoint, Reason, Record, Verdict
from ckpt.retention.budget import freed, over
from ckpt.retention.candidates import Candidates
from ckpt.retention.deciding import Decision, decide, reassured
from ckpt.retention.floor import given_tags
from ckpt.retention.outside import divide, unfinished
from ckpt.retention.policy import Policy
from ckpt.retention.refusing import question, refusal
from ckpt.retention.situation import OWN, Situation


class RunPlan(Record, frozen=True, kw_only=True):
    """What a policy makes of one run; every list newest first."""

    run: str
    """Id of the run; "" for a run without checkpoints that nobody named."""
    policy: Policy
    keep: tuple[Decision, ...] = ()
    remove: tuple[Decision, ...] = ()
    skip: tuple[Decision, ...] = ()
    """What the plan does not decide on, and what its rules leave over and is not to go now."""
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
    """Bytes that are free again when the trash is purged; files that have another name elsewhere free none."""


def plan(
    checkpoints: Iterable[Checkpoint],
    policy: Policy,
    now: float,
    *,
    run: str | None = None,
    situation: Situation = OWN,
) -> RunPlan:
    """What `policy` keeps, removes or skips of one run's checkpoints at the time `now` (Unix seconds).

    Pure, and the same for every order of the checkpoints; from `now` until `changes_at` also the same at any time.
    `run` is the id for a run without checkpoints. Raises UsageError when the checkpoints are of more than one run, or
    when two are told apart by nothing: their ids are the same and they are not.
    """
    ordered = refs.newest_first(_once(checkpoints))
    name = _run_of(ordered, run)
    if not policy.has_rules:
        return _everything(name, ordered, policy, situation)
    divided = divide(ordered, policy, now, situation)
    inside = divided.inside
    candidates = Candidates(inside, now, situation.own, situation.linked)
    decided = decide(candidates, policy)
    remove = decided.remove
    refused = refusal(inside, len(decided.keep), policy, situation) if remove else None
    early = reassured(candidates, divided.settling, policy)
    safe = {c: Verdict(action="keep", reasons=(*why, *divided.outside[c])) for c, why in early.items()}
    outside = {c: Verdict(action="skip", reasons=why) for c, why in divided.outside.items() if c not in safe}
    withheld = _withheld(remove, refused, situation)
    if withheld:
        remove = [decision for decision in remove if decision.checkpoint.id not in withheld]
    times = [time for time in (divided.changes_at, decided.changes_at) if time is not None]
    return RunPlan(
        run=name,
        policy=policy,
        keep=_newest_first([*decided.keep, *_decisions(ordered, safe)]) if safe else tuple(decided.keep),
        remove=tuple(remove),
        skip=_decisions(ordered, outside | withheld),
        refused=refused,
        ask=question(len(remove), len(inside), policy, situation) if remove else None,
        changes_at=min(times, default=None),
        over_bytes=over(inside, (decision.checkpoint for decision in remove), policy),
    )


def combine(plans: Iterable[RunPlan]) -> Plan:
    """The plans of several runs as one, with an id over all that they were made from, in any order."""
    runs = tuple(plans)
    whole = hashlib.sha256()
    for digest in sorted(_digest(run) for run in runs):
        whole.update(digest)
    size = sum(freed(decision.checkpoint) for run in runs for decision in run.remove)
    return Plan(id=whole.hexdigest()[:8], runs=runs, freed_at_purge=size)


def moving_tags(checkpoints: Iterable[Checkpoint], policy: Policy) -> dict[str, tuple[str, ...]]:
    """The tags that move by themselves: checkpoint id to its sorted names, for those that have any.

    `latest` is the newest complete one; `best` (also `best-1`) to `best-N` follow the monitor, N as the policy keeps.
    """
    complete = refs.newest_first(c for c in checkpoints if c.state == "complete")
    names: dict[str, list[str]] = {checkpoint.id: ["latest"] for checkpoint in complete[:1]}
    if policy.tag_best and not policy.unmonitored:
        best = Candidates(complete).ranked(policy.metric, policy.mode).best
        for rank, place in enumerate(best[: policy.keep_best or 1], 1):
            found = names.setdefault(complete[place].id, [])
            found += ["best", "best-1"] if rank == 1 else [f"best-{rank}"]
    return {checkpoint: tuple(sorted(tags)) for checkpoint, tags in names.items()}


def _once(checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
    """Each checkpoint once; what is given twice would take two places of a rule."""
    given = list(checkpoints)
    known = {checkpoint.id: checkpoint for checkpoint in given}
    if len(known) == len(given):
        return given
    other = next((c for c in given if c is not known[c.id] and repr(c) != repr(known[c.id])), None)
    if other is not None:
        raise UsageError(
            f"checkpoint {printable(other.id)} is given twice, and not as the same",
            hint="plan each run from one look at it",
        )
    return list(known.values())


def _run_of(checkpoints: Sequence[Checkpoint], run: str | None) -> str:
    found = {checkpoint.run for checkpoint in checkpoints} | ({run} if run is not None else set())
    if len(found) > 1:
        names = ", ".join(sorted(printable(name) for name in found)[:4])
        raise UsageError(f"the checkpoints are of {len(found)} runs ({names})", hint="plan each run by itself")
    return found.pop() if found else ""


def _everything(run: str, ordered: Sequence[Checkpoint], policy: Policy, situation: Situation) -> RunPlan:
    """The plan of a policy without rules, or of one that cannot be read: then there may be some."""
    reason = Reason(rule="no_rule", text="no rule: everything is kept")
    if situation.degraded is not None:
        reason = Reason(rule="degraded", text=f"everything is kept: {printable(situation.degraded)}")
    kept = Verdict(action="keep", reasons=(reason,))
    outside = {c.id: Verdict(action="skip", reasons=(why,)) for c in ordered if (why := unfinished(c))}
    keep = tuple(Decision(checkpoint=c, verdict=kept) for c in ordered if c.id not in outside)
    return RunPlan(run=run, policy=policy, keep=keep, skip=_decisions(ordered, outside), refused=situation.degraded)


def _withheld(remove: Iterable[Decision], refused: str | None, situation: Situation) -> dict[str, Verdict]:
    """What stays of that which the rules leave over, by id."""
    if situation.degraded is not None:
        return _as_skipped(remove, Reason(rule="degraded", text=f"not removed now: {printable(situation.degraded)}"))
    if refused is not None:
        return _as_skipped(remove, Reason(rule="refused", text=f"not removed: {refused}"))
    if not situation.enforced:
        return _as_skipped(remove, Reason(rule="observed", text="observed only: nothing is enforced here"))
    if not situation.in_use:
        return {}
    in_use = [decision for decision in remove if decision.checkpoint.id in situation.in_use]
    return _as_skipped(in_use, Reason(rule="in_use", text="in use: a process has it open"))


def _as_skipped(remove: Iterable[Decision], reason: Reason) -> dict[str, Verdict]:
    """Verdicts with the near misses that they had."""
    return {d.checkpoint.id: d.verdict.evolve(action="skip", reasons=(reason,)) for d in remove}


def _decisions(ordered: Sequence[Checkpoint], verdicts: Mapping[str, Verdict]) -> tuple[Decision, ...]:
    if not verdicts:
        return ()
    return tuple(Decision(checkpoint=c, verdict=verdicts[c.id]) for c in ordered if c.id in verdicts)


def _newest_first(decisions: Iterable[Decision]) -> tuple[Decision, ...]:
    known = {decision.checkpoint.id: decision for decision in decisions}
    return tuple(known[c.id] for c in refs.newest_first(decision.checkpoint for decision in known.values()))


def _digest(run: RunPlan) -> bytes:
    digest = hashlib.sha256()
    lines = [run.run, json.dumps(run.policy.to_json(), sort_keys=True), run.refused or "", run.ask or ""]
    for decision in run.decisions:
        checkpoint = decision.checkpoint
        lines.append(f"{checkpoint.id} {checkpoint.state} {decision.verdict.action}")
        if checkpoint.pinned or checkpoint.tags or checkpoint.held_by:
            said = (checkpoint.pinned, sorted(given_tags(checkpoint)), sorted(checkpoint.held_by))
            if any(said):
                lines.append(json.dumps(said))
    digest.update("\n".join(lines).encode("utf-8", "surrogatepass"))
    return digest.digest()
