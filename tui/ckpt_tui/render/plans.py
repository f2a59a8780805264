"""Plans and the trash: what would be kept or removed and why, and what waits to be purged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ckpt_tui.output import Paint
from ckpt_tui.render.words import ago, count, number, span
from ckpt_tui.tables import Cell, Column, table
from ckpt_tui.wording import file_name, size_text

_ACTIONS = (("keep", "KEEP", "green"), ("remove", "REMOVE", "red"), ("skip", "SKIP", "yellow"))
_MOST = 40
"""Rows that are kept, and as many that are skipped, that are shown of a run unless all are asked for."""


def plan_lines(
    plan: Mapping[str, Any],
    names: Mapping[str, str],
    *,
    paint: Paint,
    everything: bool = False,
    is_tried: bool = False,
) -> list[str]:
    """The decisions of a plan with all their reasons. `names` gives a run's name for its id.

    What is removed is told whole; of what stays only the newest, and nothing where no rule is given, unless
    `everything` is asked for. `is_tried` is for a plan that cannot be carried out.
    """
    lines: list[str] = []
    for run in plan["runs"]:
        if lines:
            lines.append("")
        lines += _run_lines(run, None if is_tried else str(plan["id"]), names, paint, everything)
    total = sum(len(run["remove"]) for run in plan["runs"])
    if plan["runs"]:
        lines.append("")
    if total:
        lines.append(
            f"plan {paint(plan['id'], 'bold')}: {total} to the trash, {size_text(plan['freed_now'])} freed now and "
            f"{size_text(plan['freed_at_purge'])} when the trash purges them"
        )
    else:
        lines.append(f"plan {paint(plan['id'], 'bold')}: nothing to remove")
    return lines


def _run_lines(
    run: Mapping[str, Any], plan: str | None, names: Mapping[str, str], paint: Paint, everything: bool
) -> list[str]:
    policy = run.get("policy") or {}
    counts = "   ".join(
        f"{name} {len(run[name])}" + (f" ({size_text(_bytes(run[name]))})" if run[name] else "")
        for name, _, _ in _ACTIONS
    )
    lines = [f"{paint(names.get(run['run'], run['run']), 'bold')}   {rules_text(policy, paint)}   {counts}"]
    if run.get("refused"):
        lines.append(f"  {paint('nothing is removed:', 'yellow')} {paint(run['refused'])}")
    if run.get("ask"):
        question = paint("asks first:", "yellow")
        how = "" if plan is None else f"; `ckpt apply {plan}` confirms it"
        lines.append(f"  {question} {paint(run['ask'])}{how}")
    if run.get("over_bytes"):
        over = f"{size_text(int(run['over_bytes']))} above max_bytes, and nothing more may go"
        lines.append(f"  {paint('over its budget:', 'yellow')} {over}")
    steps = Counter(item.get("step") for name, _, _ in _ACTIONS for item in run[name])
    shared = {step for step, times in steps.items() if times > 1}
    metrics = _monitors(policy)
    rows: list[list[str | Cell]] = []
    for name, title, style in _ACTIONS:
        shown = run[name] if everything or name == "remove" else [*filter(_is_decided, run[name])][:_MOST]
        rows += [_row(item, title, style, metrics, shared) for item in shown]
        rest = [] if len(shown) < _MOST else run[name][len(shown) :]
        if rest:
            what = f"{len(rest)} older ones as well, {size_text(_bytes(rest))}: --all shows them"
            rows.append([Cell(title, style), "…", "", "", what])
    columns = [Column(), Column(right=True), Column(), Column(right=True), Column()]
    return lines + (table(columns, rows, paint=paint, head=False) if rows else [])


def _is_decided(item: Mapping[str, Any]) -> bool:
    """Whether a rule has something to say of it."""
    return any(reason.get("rule") != "no_rule" for reason in item.get("reasons") or ())


def _row(
    item: Mapping[str, Any], title: str, style: str, metrics: Sequence[str], shared: Collection[Any]
) -> list[str | Cell]:
    step, epoch = item.get("step"), item.get("epoch")
    if item.get("path") and (step in shared or (step is None and epoch is None)):
        where = file_name(str(item["path"]))
    elif step is not None:
        where = f"step {count(step)}"
    elif epoch is not None:
        where = f"epoch {count(epoch)}"
    else:
        where = str(item.get("id"))
    reasons = [reason["text"] for reason in item.get("reasons") or ()]
    misses = [reason["text"] for reason in item.get("near_misses") or ()]
    why = " · ".join(reasons + misses)
    if title == "KEEP" and misses:
        # What is said of a kept one besides its reasons is a warning.
        why = f"{' · '.join(reasons)}   ! {'; '.join(misses)}"
    return [Cell(title, style), where, _metric_text(item, metrics), size_text(int(item.get("bytes") or 0)), why]


def _metric_text(item: Mapping[str, Any], names: Sequence[str]) -> str:
    values = item.get("metrics") or {}
    told = []
    for name in names[:2]:
        value = values.get(name, item.get("loss") if name == "loss" else None)
        is_odd = value is None and name in (item.get("nonfinite") or ())
        told.append(f"{name} {'NaN' if is_odd and name not in (item.get('infinite') or ()) else number(value)}")
    return "  ".join(told)


def _monitors(policy: Mapping[str, Any]) -> list[str]:
    return [name for name in dict.fromkeys([policy.get("monitor"), *(policy.get("keep_best_of") or ())]) if name]


def rules_text(policy: Mapping[str, Any], paint: Paint) -> str:
    """The rules of a policy in a few words."""
    rules = ", ".join(_rules(policy))
    return paint(f"keeps {rules}" if rules else "no rule: nothing is removed", "dim")


def is_ruled(policy: Mapping[str, Any]) -> bool:
    """Whether a policy has any rule; without one nothing is removed."""
    return bool(_rules(policy))


def _rules(policy: Mapping[str, Any]) -> list[str]:
    by = f" by {policy['monitor']}" if policy.get("monitor") else ""
    told = [
        _counted("last {}", policy.get("keep_last")),
        _counted(f"best {{}}{by}", policy.get("keep_best")),
        *(f"best {_number_of(best)} by {name}" for name, best in (policy.get("keep_best_of") or {}).items()),
        _counted("every {} epochs", policy.get("keep_every_n_epochs")),
        _counted("every {} steps", policy.get("keep_every_n_steps")),
        *(_stretch(every) for every in policy.get("keep_every") or ()),
        f"all within {span(float(policy['keep_within']))}" if policy.get("keep_within") else "",
        f"{len(policy['keep_steps'])} listed steps" if policy.get("keep_steps") else "",
        "what is tagged" if policy.get("keep_tagged") else "",
        f"what is younger than {span(float(policy['max_age']))}" if policy.get("max_age") else "",
        f"up to {size_text(int(policy['max_bytes']))}" if policy.get("max_bytes") else "",
    ]
    return [text for text in told if text]


def _counted(text: str, value: Any) -> str:
    return text.format(value) if value else ""


def _number_of(best: Any) -> Any:
    return best.get("keep", 1) if isinstance(best, Mapping) else best


def _stretch(every: Mapping[str, Any]) -> str:
    reach = f" for {span(float(every['within']))}" if every.get("within") else ""
    return f"one every {span(float(every.get('every') or 0))}{reach}"


def _bytes(items: Sequence[Mapping[str, Any]]) -> int:
    return sum(int(item.get("bytes") or 0) for item in items)


def trash_lines(
    entries: Sequence[Mapping[str, Any]], names: Mapping[str, str], *, paint: Paint, width: int | None
) -> list[str]:
    """One line an entry of the trash."""
    columns = [
        Column("ID"),
        Column("RUN", cut=True),
        Column("FILE", cut=True),
        Column("SIZE", right=True),
        Column("REMOVED", right=True),
        Column("PURGED", right=True),
        Column("WHY", cut=True),
    ]
    rows: list[list[str | Cell]] = [
        [
            Cell(str(entry["id"]), "dim"),
            names.get(entry["run"], str(entry["run"])[:12]),
            file_name(str(entry["path"])),
            size_text(int(entry["bytes"])),
            ago(entry["trashed_at"]),
            ago(entry["purge_at"]),
            " · ".join(reason["text"] for reason in [*(entry.get("reasons") or ()), *(entry.get("near_misses") or ())]),
        ]
        for entry in entries
    ]
    return table(columns, rows, paint=paint, width=width)
