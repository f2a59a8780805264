"""`ckpt plan`, `apply` and `prune`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckpt.encoding import printable, quoted
from ckpt.exceptions import AddressError, OperationError, UsageError
from ckpt.refs import short_names
from ckpt_tui.answers.listing import runs_below
from ckpt_tui.answers.trying import read_targets, tried
from ckpt_tui.lookup import Lookup, place_of, read_place
from ckpt_tui.output import Output
from ckpt_tui.render.words import ago
from ckpt_tui.running import running
from ckpt_tui.wording import plural, size_text

Names = Mapping[str, str]


def answer_plan(
    target: str | None, *, policy: Sequence[str], enforced: bool, everything: bool, json: bool, quiet: bool
) -> None:
    """Answers `ckpt plan`; `policy` are rules to try instead of those in force."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        if policy and target is None:
            raise UsageError(
                "say which run or directory to try the policy on", hint="ckpt plan RUN --policy keep_last=3"
            )
        _check_target(target)
        is_tried = bool(policy) or enforced
        plan, names = tried(lookup, target or "", policy) if policy else _plan(lookup, target, enforced)
        if not plan["runs"]:
            out.say("no run is known yet: `ckpt watch add DIR`, or make one with ckpt.Run.create()")
        out.data(plan, ids=[plan["id"]], human=lambda: _plan_lines(plan, names, out, everything, is_tried))
        if out.mode == "human":
            for line in _next_steps(plan, target, is_tried=is_tried):
                out.say(line)


def _check_target(target: str | None) -> None:
    """Raises UsageError and AddressError for what can have no plan: an empty name, or a file of no run."""
    if target is None:
        return
    if not target.strip():
        raise UsageError("the name of the run is empty", hint="name a run or a directory, or nothing for all runs")
    place = place_of(target) if runs_below(target) is None else None
    if place is None or place.file is None:
        return
    if not any(str(place.file) in (c.path, *c.files) for c in read_place(place).checkpoints):
        raise AddressError(
            f"{printable(target)} is neither a run nor a checkpoint of one",
            hint="name a run, its directory, or a directory with runs: `ckpt ls DIR` lists what lies there",
        )


def _plan(lookup: Lookup, target: str | None, enforced: bool) -> tuple[Mapping[str, Any], Names]:
    """The plan of one run, of the runs below a directory, or of all, with the names of its runs.

    What lies below a watched directory is asked of the daemon, which knows the policies that hold there.
    """
    below = runs_below(target) if target is not None else None
    place = place_of(target) if target is not None and below is None else None
    if below is None and place is None:
        return lookup.client.get("/v1/plan", run=target, **_as_if(enforced)), lookup.run_names()
    from ckpt.scan import registered_root

    directory = Path(os.path.abspath(target or "")) if place is None else place.directory
    if registered_root(directory) is not None:
        asked = {"root": str(directory)} if place is None else {"run": str(directory)}
        return lookup.client.get("/v1/plan", **asked, **_as_if(enforced)), lookup.run_names()
    from ckpt.retention import combine, plan_to_json
    from ckpt.scan.freeing import measured

    views = read_targets(target or "")
    if not views:
        raise AddressError(
            f"no run lies below {printable(str(directory))}",
            hint="name a run, its directory, or a directory with runs; `ckpt ls` lists the runs that are known",
        )
    return plan_to_json(measured(combine(view.plan for view in views))), short_names([view.run for view in views])


def _as_if(enforced: bool) -> dict[str, str]:
    return {"enforced": "1"} if enforced else {}


def _plan_lines(
    plan: Mapping[str, Any], names: Names, out: Output, everything: bool = False, is_tried: bool = False
) -> Iterable[str]:
    from ckpt_tui.render.plans import plan_lines

    return plan_lines(plan, names, paint=out.paint, width=out.width, everything=everything, is_tried=is_tried)


def _next_steps(plan: Mapping[str, Any], target: str | None, *, is_tried: bool) -> Iterable[str]:
    """What a person may do now."""
    from ckpt_tui.render.rules import is_ruled

    if is_tried:
        yield "nothing was done: this is what such a policy would do where it is enforced"
        return
    if _goes(plan):
        yield f"nothing was done: `ckpt apply {plan['id']}` carries this out"
    skipped = [reason.get("rule") for part in plan["runs"] for item in part["skip"] for reason in item["reasons"]]
    observed = skipped.count("observed")
    if observed:
        where = quoted(target) if target is not None and os.path.isdir(target) else "DIR"
        would = f"{plural(observed, 'checkpoint')} would go if their directory was enforced"
        yield f"{would}: ckpt watch add {where} --enforce"
    if any(part.get("refused") or (part["keep"] and not is_ruled(part["policy"])) for part in plan["runs"]):
        yield "what a policy asks is seen with `ckpt policy show RUN` and set with `ckpt policy set RUN RULE…`"


def answer_apply(plan_id: str, *, yes: bool, json: bool, quiet: bool) -> None:
    """Answers `ckpt apply`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        if not plan_id.strip():
            raise UsageError("the id of the plan is empty", hint="`ckpt plan` shows a plan and its id")
        lookup.require_daemon()
        plan = lookup.client.get("/v1/plan", id=plan_id)
        if not _goes(plan):
            _tell_nothing(out, plan, plan_id)
            return
        if not yes:
            _preview(out, plan, lookup.run_names())
        out.confirm(_question(plan), yes=yes)
        _apply(out, lookup, plan_id)


def answer_prune(target: str | None, *, yes: bool, json: bool, quiet: bool) -> None:
    """Answers `ckpt prune`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        _check_target(target)
        lookup.require_daemon()
        if target is not None and runs_below(target) is not None:
            asked: dict[str, str | None] = {"root": os.path.abspath(target)}
        else:
            place = place_of(target) if target is not None else None
            asked = {"run": target if place is None else str(place.directory)}
        plan = lookup.client.get("/v1/plan", **asked)
        if not _goes(plan):
            _tell_nothing(out, plan, target)
            return
        _preview(out, plan, lookup.run_names())
        out.confirm(_question(plan), yes=yes)
        _apply(out, lookup, plan["id"])


def _goes(plan: Mapping[str, Any]) -> bool:
    """Whether a plan removes anything."""
    return any(part["remove"] for part in plan["runs"])


def _tell_nothing(out: Output, plan: Mapping[str, Any], target: str | None) -> None:
    """The answer where a plan removes nothing."""
    refused = [part["refused"] for part in plan["runs"] if part.get("refused")]
    out.say("nothing to remove" + "".join(f"; {printable(reason)}" for reason in refused[:3]))
    for line in _next_steps(plan, target, is_tried=False):
        out.say(line)
    nothing = {"plan": plan["id"], "removed": [], "skipped": [], "freed_now": 0, "freed_at_purge": 0}
    out.data(nothing, human=lambda: ())


def _preview(out: Output, plan: Mapping[str, Any], names: Names) -> None:
    """The plan as narration, because the command's data is what was done."""
    if out.mode == "human":
        out.stderr.write("\n".join(_plan_lines(plan, names, out)) + "\n")
        out.stderr.flush()


def _question(plan: Mapping[str, Any]) -> str:
    count = sum(len(part["remove"]) for part in plan["runs"])
    return f"move {plural(count, 'checkpoint')} to the trash?"


def _apply(out: Output, lookup: Lookup, plan_id: str) -> None:
    answer = lookup.client.post("/v1/apply", {"plan": plan_id})
    removed, skipped = answer["removed"], answer["skipped"]

    def human() -> Iterable[str]:
        if removed:
            size, purged = size_text(int(answer.get("freed_at_purge") or 0)), ago(min(e["purge_at"] for e in removed))
            yield f"{plural(len(removed), 'checkpoint')} moved to the trash; `ckpt undo {plan_id}` brings them back"
            early = "; may be purged early: the disk is nearly full" if answer.get("may_go_early") else ""
            yield f"{size} are free when it purges them, {purged}{early}"
        yield from (f"  {out.paint(_label(item))}" for item in removed)
        if skipped:
            yield f"{len(skipped)} left alone"
            yield from (f"  {out.paint(_label(item))}" for item in skipped)

    out.data(answer, ids=[str(item["id"]) for item in removed], human=human)
    if skipped and not removed:
        raise OperationError("nothing could be removed", hint=str(skipped[0].get("reason") or "") or None)


def _label(item: Mapping[str, Any]) -> str:
    return f"{item['path']}: {item['reason']}" if item.get("reason") else str(item["path"])
