"""Plans: what would be kept, removed or skipped, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ckpt.encoding import printable
from ckpt_tui.output import Paint
from ckpt_tui.render.folding import Fold, Item, folded
from ckpt_tui.render.rules import rules_text
from ckpt_tui.render.words import count, number
from ckpt_tui.tables import GAP, Cell, Column, cut_middle, table, text_width, wrapped
from ckpt_tui.wording import file_name, plural, size_text

_ACTIONS = (("keep", "KEEP", "green"), ("remove", "REMOVE", "red"), ("skip", "SKIP", "yellow"))
_MOST = 40
"""Rows of one action that are shown of a run unless all are asked for."""
_NAME_SHARE = 3  # of a terminal's width one such part may be a file's name
_WHY_LEAST = 30  # terminal columns; with less room the reasons stand below


def plan_lines(
    plan: Mapping[str, Any],
    names: Mapping[str, str],
    *,
    paint: Paint,
    width: int | None = None,
    everything: bool = False,
    is_tried: bool = False,
) -> list[str]:
    """The decisions of a plan with all their reasons. `names` gives a run's name for its id.

    Neighbours that say the same are one row, of long lists only the newest rows are told, and of what stays nothing
    where no rule is given, unless `everything` is asked for. `is_tried` is for a plan that cannot be carried out.
    """
    lines: list[str] = []
    for run in plan["runs"]:
        if lines:
            lines.append("")
        lines += _run_lines(run, None if is_tried else str(plan["id"]), names, paint, width, everything)
    total = sum(len(run["remove"]) for run in plan["runs"])
    if plan["runs"]:
        lines.append("")
    if len(plan["runs"]) > 1:
        together = {name: [item for run in plan["runs"] for item in run[name]] for name, _, _ in _ACTIONS}
        lines += wrapped(f"{plural(len(plan['runs']), 'run')}   {_counts(together)}", width)
    name = f"plan {printable(plan['id'])}:"
    first, *more = wrapped(
        f"{name} {total} to the trash, {size_text(plan['freed_now'])} freed now and "
        f"{size_text(plan['freed_at_purge'])} when the trash purges them"
        if total
        else f"{name} nothing to remove",
        width,
    )
    return [*lines, f"plan {paint(plan['id'], 'bold')}:{first.removeprefix(name)}", *more]


def _run_lines(
    run: Mapping[str, Any],
    plan: str | None,
    names: Mapping[str, str],
    paint: Paint,
    width: int | None,
    everything: bool,
) -> list[str]:
    lines = _head(run, names.get(run["run"], run["run"]), paint, width)
    if run.get("refused"):
        lines += _told("nothing is removed:", run["refused"], paint, width)
    if run.get("ask"):
        how = "" if plan is None else f"; `ckpt apply {plan}` confirms it"
        lines += _told("asks first:", f"{run['ask']}{how}", paint, width)
    if run.get("over_bytes"):
        over = f"{size_text(int(run['over_bytes']))} above max_bytes, and nothing more may go"
        lines += _told("over its budget:", over, paint, width)
    return lines + _rows(run, paint, width, everything)


def _head(run: Mapping[str, Any], name: str, paint: Paint, width: int | None) -> list[str]:
    rules, counts = rules_text(run.get("policy") or {}), _counts(run)
    if width is None or text_width(f"{printable(name)}   {printable(rules)}   {counts}") <= width:
        return [f"{paint(name, 'bold')}   {paint(rules, 'dim')}   {counts}"]
    return [
        paint(name, "bold"),
        *(paint(f"  {line}", "dim") for line in wrapped(rules, width - 2)),
        *(f"  {line}" for line in wrapped(counts, width - 2)),
    ]


def _counts(items: Mapping[str, Any]) -> str:
    return "   ".join(
        f"{name} {len(items[name])}" + (f" ({size_text(_bytes(items[name]))})" if items[name] else "")
        for name, _, _ in _ACTIONS
    )


def _told(what: str, text: str, paint: Paint, width: int | None) -> list[str]:
    first, *more = wrapped(f"{what} {text}", None if width is None else max(width - 4, _WHY_LEAST))
    return [f"  {paint(what, 'yellow')}{first.removeprefix(what)}", *(f"    {line}" for line in more)]


def _rows(run: Mapping[str, Any], paint: Paint, width: int | None, everything: bool) -> list[str]:
    steps = Counter(item.get("step") for name, _, _ in _ACTIONS for item in run[name])
    shared = {step for step, times in steps.items() if times > 1}
    metrics = _monitors(run.get("policy") or {})
    rows: list[list[str | Cell]] = []
    reasons: list[str] = []
    for name, title, style in _ACTIONS:
        items = run[name] if everything or name == "remove" else [*filter(_is_decided, run[name])]
        why = _kept_why if name == "keep" else _why
        if everything:
            folds = [Fold([item], why(item)) for item in items]
        else:
            folds = folded(items, why, _ALIKE[name])
        shown = folds if everything else folds[:_MOST]
        rows += [_row(fold.items, title, style, metrics, shared) for fold in shown]
        reasons += [fold.why for fold in shown]
        rest = [item for fold in folds[len(shown) :] for item in fold.items]
        if rest:
            rows.append([Cell(title, style), "…", "", ""])
            reasons.append(f"{len(rest)} older ones as well, {size_text(_bytes(rest))}: --all shows them")
    return _laid_out(rows, reasons, paint, width) if rows else []


def _laid_out(rows: list[list[str | Cell]], reasons: Sequence[str], paint: Paint, width: int | None) -> list[str]:
    """The table with the reasons beside it, broken between words; below each row where that leaves no room."""
    if width is not None:
        longest = max(width // _NAME_SHARE, len("step 1000000"))
        rows = [[row[0], cut_middle(printable(str(row[1])), longest), *row[2:]] for row in rows]
    columns = [Column(), Column(right=True), Column(), Column(right=True)]
    before = table(columns, rows, paint=paint, head=False)
    bare = table(columns, rows, paint=Paint(False), head=False)
    taken = max(map(text_width, bare)) + len(GAP)
    if width is None:
        pads = [" " * (taken - text_width(line)) for line in bare]
        return [f"{line}{pad}{paint(why)}" for line, pad, why in zip(before, pads, reasons, strict=True)]
    lines: list[str] = []
    is_below = width - taken < _WHY_LEAST
    indent = 8 if is_below else taken
    for line, plain, why in zip(before, bare, reasons, strict=True):
        first, *more = wrapped(why, max(width - indent, 1))
        if is_below:
            lines += [line, " " * indent + first]
        else:
            lines.append(f"{line}{' ' * (taken - text_width(plain))}{first}".rstrip())
        lines += [" " * indent + text for text in more]
    return lines


def _is_passing(item: Item) -> bool:
    """Whether a kept one is so for its age alone."""
    return all(reason.get("rule") == "min_age" for reason in item["reasons"])


_ALIKE: Mapping[str, Callable[[Item], bool]] = {
    "keep": _is_passing,
    "remove": lambda _: False,
    "skip": lambda _: True,
}


def _is_decided(item: Item) -> bool:
    """Whether a rule has something to say of it."""
    return any(reason.get("rule") != "no_rule" for reason in item.get("reasons") or ())


def _why(item: Item) -> str:
    """All that a plan says of a checkpoint: its reasons, and what came near to keeping it."""
    return " · ".join(_texts(item, "reasons") + _texts(item, "near_misses"))


def _kept_why(item: Item) -> str:
    """The same of one that is kept: what is said of it besides its reasons is a warning."""
    misses = _texts(item, "near_misses")
    return f"{' · '.join(_texts(item, 'reasons'))}   ! {'; '.join(misses)}" if misses else _why(item)


def _texts(item: Item, name: str) -> list[str]:
    return [str(reason["text"]) for reason in item.get(name) or ()]


def _row(
    items: Sequence[Item], title: str, style: str, metrics: Sequence[str], shared: Collection[Any]
) -> list[str | Cell]:
    size = size_text(_bytes(items))
    if len(items) == 1:
        return [Cell(title, style), _where(items[0], shared), _metric_text(items[0], metrics), size]
    steps = sorted(item["step"] for item in items if item.get("step") is not None)
    stretch = f"step {count(steps[0])} to {count(steps[-1])}" if steps and steps[0] != steps[-1] else ""
    return [Cell(title, style), plural(len(items), "checkpoint"), stretch, size]


def _where(item: Item, shared: Collection[Any]) -> str:
    step, epoch = item.get("step"), item.get("epoch")
    if item.get("path") and (step in shared or (step is None and epoch is None)):
        return file_name(str(item["path"]))
    if step is not None:
        return f"step {count(step)}"
    return f"epoch {count(epoch)}" if epoch is not None else str(item.get("id"))


def _metric_text(item: Item, names: Sequence[str]) -> str:
    values = item.get("metrics") or {}
    told = []
    for name in names[:2]:
        value = values.get(name, item.get("loss") if name == "loss" else None)
        is_odd = value is None and name in (item.get("nonfinite") or ())
        told.append(f"{name} {'NaN' if is_odd and name not in (item.get('infinite') or ()) else number(value)}")
    return "  ".join(told)


def _monitors(policy: Mapping[str, Any]) -> list[str]:
    return [name for name in dict.fromkeys([policy.get("monitor"), *(policy.get("keep_best_of") or ())]) if name]


def _bytes(items: Sequence[Item]) -> int:
    return sum(int(item.get("bytes") or 0) for item in items)
