"""Plans and the trash: what would be kept or removed and why, and what waits to be purged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckpt_tui.output import Paint
from ckpt_tui.render.words import ago, count, number
from ckpt_tui.tables import Cell, Column, table
from ckpt_tui.wording import file_name, size_text

_ACTIONS = (("keep", "KEEP", "green"), ("remove", "REMOVE", "red"), ("skip", "SKIP", "yellow"))


def plan_lines(plan: Mapping[str, Any], names: Mapping[str, str], *, paint: Paint) -> list[str]:
    """Every decision of a plan with all its reasons. `names` gives a run's name for its id."""
    lines: list[str] = []
    for run in plan["runs"]:
        if lines:
            lines.append("")
        lines += _run_lines(run, names, paint)
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


def _run_lines(run: Mapping[str, Any], names: Mapping[str, str], paint: Paint) -> list[str]:
    policy = run.get("policy") or {}
    metric = policy.get("monitor")
    counts = "   ".join(
        f"{name} {len(run[name])}" + (f" ({size_text(_bytes(run[name]))})" if run[name] else "")
        for name, _, _ in _ACTIONS
    )
    rules = paint("another tool's run: nothing is removed", "dim") if _is_foreign(run) else rules_text(policy, paint)
    lines = [f"{paint(names.get(run['run'], run['run']), 'bold')}   {rules}   {counts}"]
    if run.get("refused"):
        lines.append(f"  {paint('nothing is removed:', 'yellow')} {paint(run['refused'])}")
    rows: list[list[str | Cell]] = [
        _row(item, title, style, metric) for name, title, style in _ACTIONS for item in run[name]
    ]
    columns = [Column(), Column(right=True), Column(), Column(right=True), Column()]
    return lines + (table(columns, rows, paint=paint, head=False) if rows else [])


def _is_foreign(run: Mapping[str, Any]) -> bool:
    return any(map(_written_by_another, run["skip"]))


def _written_by_another(item: Mapping[str, Any]) -> bool:
    return any(reason.get("rule") == "foreign" for reason in item.get("reasons") or ())


def _row(item: Mapping[str, Any], title: str, style: str, metric: str | None) -> list[str | Cell]:
    step, epoch = item.get("step"), item.get("epoch")
    if item.get("path") and _written_by_another(item):
        # Another tool's files may share a step, as last.pt does with the newest.
        where = file_name(str(item["path"]))
    elif step is not None:
        where = f"step {count(step)}"
    elif epoch is not None:
        where = f"epoch {count(epoch)}"
    else:
        where = file_name(str(item.get("path", item.get("id"))))
    reasons = [reason["text"] for reason in item.get("reasons") or ()]
    misses = [reason["text"] for reason in item.get("near_misses") or ()]
    return [
        Cell(title, style),
        where,
        _metric_text(item, metric),
        size_text(int(item.get("bytes") or 0)),
        " · ".join(reasons + misses),
    ]


def _metric_text(item: Mapping[str, Any], metric: str | None) -> str:
    if not metric:
        return ""
    metrics = item.get("metrics") or {}
    value = metrics.get(metric, item.get("loss") if metric == "loss" else None)
    if value is None and metric in (item.get("nonfinite") or ()):
        return f"{metric} NaN"
    return f"{metric} {number(value)}"


def rules_text(policy: Mapping[str, Any], paint: Paint) -> str:
    """The rules of a policy in a few words."""
    rules = [
        f"{name.removeprefix('keep_').replace('_', ' ')} {value}"
        for name, value in policy.items()
        if name.startswith("keep_") and name not in ("keep_for",) and value
    ]
    return paint("keeps " + ", ".join(rules) if rules else "no rule: nothing is removed", "dim")


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
