"""`ckpt plan`, `apply`, `prune`, `trash` and `undo`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckpt.encoding import printable, quoted
from ckpt.exceptions import AddressError, OperationError, UsageError
from ckpt_tui.answers.listing import runs_below
from ckpt_tui.answers.trying import read_targets, tried
from ckpt_tui.lookup import Lookup, Place, place_of
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
        is_tried = bool(policy) or enforced
        plan, names = tried(lookup, target or "", policy) if policy else _plan(lookup, target, enforced)
        if not plan["runs"]:
            out.say("no run is known yet: `ckpt watch add DIR`, or make one with ckpt.Run.create()")
        out.data(plan, ids=[plan["id"]], human=lambda: _plan_lines(plan, names, out, everything, is_tried))
        if out.mode == "human":
            for line in _next_steps(plan, target, is_tried=is_tried):
                out.say(line)


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

    views = read_targets(target or "")
    return plan_to_json(combine(view.plan for view in views)), {view.run.id: view.run.name for view in views}


def _as_if(enforced: bool) -> dict[str, str]:
    return {"enforced": "1"} if enforced else {}


def _plan_lines(
    plan: Mapping[str, Any], names: Names, out: Output, everything: bool = False, is_tried: bool = False
) -> Iterable[str]:
    from ckpt_tui.render.plans import plan_lines

    return plan_lines(plan, names, paint=out.paint, everything=everything, is_tried=is_tried)


def _next_steps(plan: Mapping[str, Any], target: str | None, *, is_tried: bool) -> Iterable[str]:
    """What a person may do now."""
    from ckpt_tui.render.plans import is_ruled

    if is_tried:
        yield "nothing was done: this is what such a policy would do where it is enforced"
        return
    if any(part["remove"] for part in plan["runs"]):
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
        lookup.require_daemon()
        if not yes:
            plan, names = _find_plan(lookup, plan_id)
            _preview(out, plan, names)
            out.confirm(_question(plan), yes=False)
        _apply(out, lookup, plan_id)


def _find_plan(lookup: Lookup, plan_id: str) -> tuple[Mapping[str, Any], Names]:
    """The present plan with that id, whatever it is of. Raises UsageError when there is none."""
    return lookup.client.get("/v1/plan", id=plan_id), lookup.run_names()


def answer_prune(target: str | None, *, yes: bool, json: bool, quiet: bool) -> None:
    """Answers `ckpt prune`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        lookup.require_daemon()
        if target is not None and runs_below(target) is not None:
            asked: dict[str, str | None] = {"root": os.path.abspath(target)}
        else:
            place = place_of(target) if target is not None else None
            asked = {"run": target if place is None else str(place.directory)}
        plan, names = lookup.client.get("/v1/plan", **asked), lookup.run_names()
        if not any(part["remove"] for part in plan["runs"]):
            refused = [part["refused"] for part in plan["runs"] if part.get("refused")]
            out.say("nothing to remove" + "".join(f"; {printable(reason)}" for reason in refused[:3]))
            for line in _next_steps(plan, target, is_tried=False):
                out.say(line)
            out.data({"plan": plan["id"], "removed": [], "skipped": []}, human=lambda: ())
            return
        _preview(out, plan, names)
        out.confirm(_question(plan), yes=yes)
        _apply(out, lookup, plan["id"])


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
            yield f"{plural(len(removed), 'checkpoint')} moved to the trash; `ckpt undo` brings them back"
            yield f"{size} are free when it purges them, {purged}"
        yield from (f"  {out.paint(_label(item))}" for item in removed)
        if skipped:
            yield f"{len(skipped)} left alone"
            yield from (f"  {out.paint(_label(item))}" for item in skipped)

    out.data(answer, ids=[_id(item) for item in removed], human=human)
    if skipped and not removed:
        raise OperationError("nothing could be removed", hint=str(skipped[0].get("reason") or "") or None)


def _id(item: Any) -> str:
    return str(item["id"]) if isinstance(item, Mapping) else str(item)


def _label(item: Mapping[str, Any]) -> str:
    return f"{item['path']}: {item['reason']}" if item.get("reason") else str(item["path"])


def answer_trash_ls(run: str | None, *, json: bool, quiet: bool) -> None:
    """Answers `ckpt trash ls`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        below = runs_below(run) if run is not None else None
        place = place_of(run) if run is not None and below is None else None
        if place is not None or below is not None:
            entries, names = _trash_at(place, Path(os.path.abspath(run or "")), below or ())
        else:
            entries = lookup.client.get("/v1/trash", run=run)["entries"]
            names = lookup.run_names() if entries and out.mode == "human" else {}
        if not entries:
            out.say("the trash is empty")
        out.data(
            {"entries": entries}, ids=[entry["id"] for entry in entries], human=lambda: _trash(entries, names, out)
        )


def _trash(entries: Sequence[Mapping[str, Any]], names: Names, out: Output) -> Iterable[str]:
    from ckpt_tui.render.plans import trash_lines

    return trash_lines(entries, names, paint=out.paint, width=out.width) if entries else ()


def _trash_at(place: Place | None, directory: Path, below: Sequence[Path]) -> tuple[list[Mapping[str, Any]], Names]:
    """What of a run, or of what lies below a directory, is in the trash, as the disk tells it."""
    from ckpt.paths import RunPaths
    from ckpt.scan import is_own, registered_root
    from ckpt.trash import Trash, entry_to_json, placing

    if place is not None:
        directory, below = place.directory, [place.directory]
    trashes = [Trash(RunPaths(run).trash) for run in below if is_own(run)]
    root = registered_root(directory) or directory
    trashes += [found.open() for found in placing.existing(root)]
    prefix = os.path.join(directory, "")
    entries = [entry for trash in trashes for entry in trash.entries() if entry.path.startswith(prefix)]
    entries.sort(key=lambda entry: entry.trashed_at, reverse=True)
    return [entry_to_json(entry) for entry in entries], {
        entry.run: os.path.relpath(os.path.dirname(entry.path), root) if not is_own(directory) else directory.name
        for entry in entries
    }


def answer_trash_restore(ids: Sequence[str], *, json: bool, quiet: bool) -> None:
    """Answers `ckpt trash restore`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        answer = lookup.client.post("/v1/trash/restore", {"ids": list(ids)})
        lines = _restored_lines(out, answer["restored"], answer["left"])
        out.data(answer, ids=[str(item["path"]) for item in answer["restored"]], human=lambda: lines)
        _refuse_if_none(answer["restored"], answer["left"])


def _restored_lines(
    out: Output, restored: Sequence[Mapping[str, Any]], left: Sequence[Mapping[str, Any]]
) -> Iterable[str]:
    yield from (f"restored and pinned {out.paint(str(item['path']))}" for item in restored)
    if left:
        yield f"{len(left)} stayed in the trash"
        yield from (f"  {out.paint(_label(item))}" for item in left)


def _refuse_if_none(restored: Sequence[Any], left: Sequence[Mapping[str, Any]]) -> None:
    """Raises OperationError where everything stayed in the trash."""
    if left and not restored:
        raise OperationError("nothing came back", hint=f"all of it stays in the trash: {_label(left[0])}")


def answer_trash_purge(ids: Sequence[str], *, everything: bool, yes: bool, json: bool, quiet: bool) -> None:
    """Answers `ckpt trash purge`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        if bool(ids) == everything:
            raise UsageError("say what to purge", hint="`ckpt trash purge ID…`, or --all for everything in the trash")
        lookup.require_daemon()
        entries = _chosen(lookup.client.get("/v1/trash")["entries"], ids)
        if not entries:
            out.say("the trash is empty")
            out.data({"purged": [], "freed": 0}, human=lambda: ())
            return
        if out.mode == "human":
            out.stderr.write("\n".join(_trash(entries, lookup.run_names(), out)) + "\n")
        size = size_text(sum(int(entry["bytes"]) for entry in entries))
        out.confirm(f"delete {plural(len(entries), 'checkpoint')} ({size}) for good?", yes=yes)
        answer = lookup.client.post("/v1/trash/purge", {"ids": [entry["id"] for entry in entries]})
        purged = answer["purged"]

        def human() -> Iterable[str]:
            yield f"{plural(len(purged), 'checkpoint')} deleted, {size_text(int(answer['freed']))} freed"
            if len(purged) < len(entries):
                yield f"{len(entries) - len(purged)} left alone: a process has them open"

        out.data(answer, ids=[_id(item) for item in purged], human=human)


def _chosen(entries: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> list[Mapping[str, Any]]:
    """The entries that ids, or their unique beginnings, name; all when there are no ids. Raises AddressError."""
    if not ids:
        return list(entries)
    chosen: dict[str, Mapping[str, Any]] = {}
    for wanted in ids:
        fitting = [entry for entry in entries if str(entry["id"]).startswith(wanted)] if wanted else []
        exact = [entry for entry in fitting if entry["id"] == wanted] or fitting
        if len(exact) != 1:
            raise AddressError(
                f"'{printable(wanted)}' names {len(exact) or 'nothing'} in the trash" + (" entries" if exact else ""),
                hint="`ckpt trash ls` shows the ids",
                candidates=[str(entry["id"]) for entry in fitting or entries][:20],
            )
        chosen[str(exact[0]["id"])] = exact[0]
    return list(chosen.values())


def answer_undo(*, yes: bool, json: bool, quiet: bool) -> None:
    """Answers `ckpt undo`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        lookup.require_daemon()
        latest = lookup.client.get("/v1/undo")["undo"]
        if latest is None:
            raise UsageError("there is nothing to undo", hint="what was purged from the trash cannot come back")
        back = "; what comes back is pinned" if latest["kind"] == "remove" else ""
        out.confirm(f"take back {latest['text']}, {ago(latest['at'])}{back}?", yes=yes)
        answer = lookup.client.post("/v1/undo", undo_body(latest))
        act = answer["undone"]
        restored, left = act.get("restored") or (), act.get("left") or ()

        def human() -> Iterable[str]:
            if restored or not left:
                yield f"taken back: {out.paint(act['text'])}"
            yield from (f"  {line}" for line in _restored_lines(out, restored, left))

        out.data(answer, ids=[str(item["path"]) for item in restored], human=human)
        _refuse_if_none(restored, left)
