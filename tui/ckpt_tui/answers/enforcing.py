"""`ckpt watch add DIR --enforce`: the first plan of a directory, shown, confirmed and carried out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ckpt.encoding import path_fields, path_from_fields, quoted
from ckpt.exceptions import UsageError
from ckpt.protocol import run_from_json
from ckpt.refs import short_names
from ckpt.retention.quantities import duration_text
from ckpt_tui.answers.watching import LOOK_S, real_directory
from ckpt_tui.output import Declined, Output
from ckpt_tui.running import running
from ckpt_tui.wording import plural, size_text


def answer_watch_enforce(
    directory: str,
    *,
    policy: Sequence[str],
    take_over: bool,
    exclude: Sequence[str],
    yes: bool,
    json: bool,
    quiet: bool,
) -> None:
    """Answers `ckpt watch add --enforce`."""
    from ckpt.client import Client
    from ckpt.retention.reading import parse

    with running(json=json, quiet=quiet) as out:
        path = real_directory(directory)
        body: dict[str, Any] = {**path_fields(path), "mode": "enforce", "exclude": list(exclude)}
        if take_over:
            body["take_over"] = True
        if policy:
            body["policy"] = parse(policy)
        if not yes and not (sys.stdin is not None and sys.stdin.isatty()):
            raise UsageError(
                f"enforcing {path} has to be confirmed – nobody is at a terminal to answer, so nothing was done",
                hint="say --yes to carry its first plan out without being asked",
            )
        with Client.connect(answer_s=LOOK_S) as client:
            with out.waiting(f"looking at {path}"):
                proposed = client.post("/v1/roots", body)
                plan = client.get("/v1/plan", root=path, enforced="1")
            root = proposed["root"]
            if root.get("mode") == "enforce" and root.get("confirmed") and root.get("policy") == proposed["proposed"]:
                out.say(f"{path} is enforced already; `ckpt plan {quoted(path)}` shows what goes next")
                out.data({**proposed, "plan": None, "applied": None}, ids=[path], human=lambda: ())
                return
            runs = [run_from_json(raw) for raw in client.get("/v1/runs")["runs"]]
            names = short_names(runs)
            _preview(out, plan, names)
            own = {run.id for run in runs if run.own}
            if following := [names[run["run"]] for run in plan["runs"] if run["run"] in own and run["remove"]]:
                out.say(f"runs of the SDK follow too: {', '.join(map(out.paint, following[:3]))}{_more(following)}")
            if root.get("by_hand"):
                out.say(f"nothing goes by itself there: {root['by_hand']}; only plans that you apply are carried out")
            try:
                out.confirm(_question(path, plan), yes=yes)
            except Declined:
                out.say(_declined(path, root, policy))
                raise
            # The policy too, as the plan was shown with it: somebody else may propose another one meanwhile.
            confirmed = {**path_fields(path), "mode": "enforce", "plan": plan["id"], "policy": proposed["proposed"]}
            if take_over:
                confirmed["take_over"] = True
            answer = client.post("/v1/roots", confirmed)
        out.data(answer, ids=[path_from_fields(answer["root"])], human=lambda: _done(out, answer))


def _preview(out: Output, plan: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """The first plan as narration, because the command's data is what was done."""
    if out.mode != "human":
        return
    from ckpt_tui.render.plans import plan_lines

    out.stderr.write("\n".join(plan_lines(plan, names, paint=out.paint, width=out.width)) + "\n")
    without = [names.get(run["run"], run["run"]) for run in plan["runs"] if _needs_monitor(run)]
    if without:
        named = ", ".join(map(out.paint, without[:3])) + _more(without)
        out.stderr.write(f"what is best in {named} is for you to say: --policy monitor=NAME\n")
    out.stderr.flush()


def _more(names: Sequence[str]) -> str:
    """What follows the first three."""
    return f" and {len(names) - 3} more" if len(names) > 3 else ""


def _needs_monitor(run: Mapping[str, Any]) -> bool:
    return "monitor=" in f"{run.get('refused') or ''} {run.get('ask') or ''}"


def _question(path: str, plan: Mapping[str, Any]) -> str:
    gone = [item for run in plan["runs"] for item in run["remove"]]
    if not gone:
        told = "from now on what the policies leave over goes to the trash by itself"
        return f"enforce {path}? Nothing goes now{_why_not(plan)}; {told}{_at_most(plan)}"
    size = size_text(sum(int(item.get("bytes") or 0) for item in gone))
    return f"enforce {path}, and move {plural(len(gone), 'checkpoint')} ({size}) to the trash now?"


def _why_not(plan: Mapping[str, Any]) -> str:
    """For how many checkpoints time alone decides, in brackets."""
    rules = [
        {reason.get("rule") for reason in item["reasons"]}
        for run in plan["runs"]
        for name in ("keep", "skip")
        for item in run[name]
    ]
    young, settling = sum("min_age" in each for each in rules), sum("settling" in each for each in rules)
    ages = {float(run["policy"]["min_age"]) for run in plan["runs"]}
    age = f" {duration_text(*ages)}" if len(ages) == 1 else ""
    told = [f"{young} {'is' if young == 1 else 'are'} younger than min_age{age}"] if young else []
    told += [f"{settling} {'was' if settling == 1 else 'were'} written just now"] if settling else []
    return f" ({', '.join(told)})" if told else ""


def _at_most(plan: Mapping[str, Any]) -> str:
    """How much of a run may go unasked."""
    shares = {float(run["policy"]["max_share"]) for run in plan["runs"]}
    if len(shares) != 1 or 1.0 in shares:
        return ""
    (share,) = shares
    return f", at most {'half' if share == 0.5 else f'{share * 100:.4g} %'} of a run at once"


def _declined(path: str, root: Mapping[str, Any], policy: Sequence[str]) -> str:
    again = " ".join(["ckpt watch add", quoted(path), "--enforce", *(f"--policy {quoted(text)}" for text in policy)])
    if root.get("mode") == "enforce" and root.get("confirmed"):
        return f"{path} stays enforced as it was; `{again}` asks again"
    return f"{path} is only observed; `{again}` asks again"


def _done(out: Output, answer: Mapping[str, Any]) -> Iterable[str]:
    from ckpt.retention.writing import given_text

    root, applied = answer["root"], answer["applied"]
    removed, skipped = applied["removed"], applied["skipped"]
    yield f"enforcing {out.paint(path_from_fields(root), 'bold')}"
    if root.get("policy"):
        yield f"  policy {out.paint(given_text(root['policy']))}"
    if removed:
        back = f"`ckpt undo {applied['plan']}` brings them back"
        yield f"  {plural(len(removed), 'checkpoint')} moved to the trash; {back}"
    for item in skipped:
        yield f"  left alone: {out.paint(item['path'])}: {out.paint(item.get('reason') or '')}"
    if root.get("by_hand"):
        yield f"  plans are carried out by hand alone: {out.paint(root['by_hand'])}"
        yield f"  `ckpt plan {out.paint(quoted(path_from_fields(root)))}` shows the next one, `ckpt apply` does it"
