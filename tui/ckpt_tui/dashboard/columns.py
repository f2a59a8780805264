"""The columns of both tables: what each shows of a run or a checkpoint, and in which tone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ckpt.encoding import printable
from ckpt.marks import RESERVED_TAG
from ckpt.records import Checkpoint, Run, Verdict
from ckpt_tui.dashboard.board import monitored
from ckpt_tui.dashboard.feed import RunDetail
from ckpt_tui.dashboard.widgets.chart import Mark, thinned
from ckpt_tui.dashboard.widgets.vtable import Cell, Column
from ckpt_tui.render.checkpoints import shown_names
from ckpt_tui.wording import age_text, count_text, number_text, size_text

if TYPE_CHECKING:
    from ckpt.records import RunStatus

STATUS: dict[RunStatus, Cell] = {
    "training": ("●", "good"),
    "stalled": ("◍", "warn"),
    "idle": ("○", "dim"),
    "finished": ("✓", "accent"),
    "failed": ("✗", "bad"),
}
_SKIPPED = {
    "settling": "settling",
    "unknown": "unknown",
    "observed": "only watched",
    "in_use": "in use",
    "degraded": "directory lost",
    "refused": "plan refused",
}
"""By rule why a checkpoint is skipped, in words for a narrow column; the details have the sentence."""
_STATES = {"writing": ("◌ writing", "warn"), "incomplete": ("! incomplete", "bad"), "corrupt": ("! corrupt", "bad")}


def run_columns(
    best_of: Callable[[Run], float | None], name_of: Callable[[Run], str], asks: Callable[[Run], bool]
) -> list[Column[Run]]:
    """Columns of the table of runs.

    `best_of` gives the monitored value of a run's best checkpoint, `name_of` what the run is called among all, `asks`
    whether its plan waits for a person.
    """

    def name_cell(run: Run) -> Cell:
        name = printable(name_of(run))
        shown = f"{'? ' if asks(run) else ''}{name}{' ⑂' if run.parent is not None else ''}"
        return shown, "bad" if run.problems else "warn" if asks(run) else "strong"

    return [
        Column("status", "", 1, lambda run: STATUS.get(run.status, ("?", "dim"))),
        Column("name", "run", 10, name_cell, grow=True),
        Column("checkpoints", "ckpts", 5, lambda run: (f"{run.checkpoints}", ""), right=True, rank=1),
        Column("size", "size", 7, lambda run: (size_text(run.bytes), "dim"), right=True, rank=4),
        Column("best", "best", 8, lambda run: _value(best_of(run)), right=True, rank=2),
        Column("updated", "seen", 4, lambda run: (age_text(run.updated_at), "dim"), right=True, rank=3),
    ]


def _value(value: float | None) -> Cell:
    text = number_text(value)
    return text, "bad" if text in ("NaN", "inf", "-inf") else "dim" if value is None else ""


def checkpoint_columns(detail: RunDetail) -> list[Column[Checkpoint]]:
    """Columns of the checkpoints of a run."""
    monitor = monitored(detail.run)
    verdicts, checkpoints = detail.verdicts, detail.checkpoints

    def monitored_cell(checkpoint: Checkpoint) -> Cell:
        text, tone = _value(checkpoint.value(monitor))
        return text, "good" if not tone and is_best(checkpoint) else tone

    columns: list[Column[Checkpoint]] = [Column("flags", "", 2, _flags)]
    named = not (detail.run.own and told_apart_by_step(checkpoints))
    if named:
        names = dict(zip((c.id for c in checkpoints), shown_names(detail.run, checkpoints), strict=True))
        columns.append(Column("name", "name", 14, lambda c: (printable(names[c.id]), "strong"), grow=True))
    if not named or any(c.step is not None for c in checkpoints):
        tone, rank = ("", 6) if named else ("strong", 0)
        columns.append(Column("step", "step", 8, lambda c: (count_text(c.step), tone), right=True, rank=rank))
    columns.append(Column("epoch", "epoch", 5, lambda c: (count_text(c.epoch), "dim"), right=True, rank=8))
    if monitor != "loss" and (detail.run.own or any(c.value("loss") is not None for c in checkpoints)):
        columns.append(Column("loss", "loss", 8, lambda c: _value(c.value("loss")), right=True, rank=4))
    columns += [
        Column("best", printable(monitor)[:12], max(8, min(12, len(monitor))), monitored_cell, right=True, rank=1),
        Column("size", "size", 7, lambda c: (size_text(c.bytes), "dim"), right=True, rank=7),
        Column("newest", "age", 4, lambda c: (age_text(c.saved_at), "dim"), right=True, rank=2),
        Column("tags", "tags", 10, lambda c: (tags_text(c), "accent"), rank=5),
    ]
    if shared_verdict(detail) is None:
        columns.append(
            Column("verdict", "verdict", 16, lambda c: verdict_cell(c, verdicts.get(c.id)), grow=True, rank=3)
        )
    return columns


def told_apart_by_step(checkpoints: Sequence[Checkpoint]) -> bool:
    """Whether every checkpoint has a step that no other has."""
    steps = {c.step for c in checkpoints}
    return None not in steps and len(steps) == len(checkpoints)


def shared_verdict(detail: RunDetail) -> str | None:
    """What the column of verdicts would say in every row, where there are several; None where they differ."""
    if len(detail.checkpoints) < 2:
        return None
    texts = {verdict_cell(c, detail.verdicts.get(c.id))[0] for c in detail.checkpoints}
    return texts.pop() if len(texts) == 1 else None


def is_best(checkpoint: Checkpoint) -> bool:
    """Whether it bears the moving tag of the best."""
    return "best" in checkpoint.tags


def tags_text(checkpoint: Checkpoint) -> str:
    """Its tags, the user's before the moving ones; `best-1` says nothing beside `best`."""
    tags = [tag for tag in checkpoint.tags if tag != "best-1" or not is_best(checkpoint)]
    return printable(" ".join(sorted(tags, key=lambda tag: RESERVED_TAG.match(tag) is not None)))


def _flags(checkpoint: Checkpoint) -> Cell:
    glyphs = ("★" if is_best(checkpoint) else " ") + ("⚲" if checkpoint.pinned else " ")
    return glyphs, "good" if is_best(checkpoint) else "accent"


def verdict_cell(checkpoint: Checkpoint, verdict: Verdict | None) -> Cell:
    """State, else what the policy makes of a checkpoint; one to be removed stands out."""
    if checkpoint.state in _STATES:
        return _STATES[checkpoint.state]
    if verdict is None:
        return "–", "dim"
    first = printable(verdict.reasons[0].text) if verdict.reasons else ""
    if verdict.action == "remove":
        return "✗ remove", "warn"
    if verdict.action == "skip":
        short = _SKIPPED.get(verdict.reasons[0].rule, first) if verdict.reasons else ""
        return f"skip: {short}" if short else "skip", "dim"
    return first or "keep", "dim"


def marks_of(checkpoints: Sequence[Checkpoint]) -> list[Mark]:
    """How checkpoints are marked below the curve; few enough to draw, however many there are."""
    return thinned([Mark(c.step, *_sign(c)) for c in checkpoints if c.step is not None])


def _sign(checkpoint: Checkpoint) -> tuple[str, str, int]:
    if is_best(checkpoint):
        return "★", "good", 3
    if checkpoint.state in ("incomplete", "corrupt"):
        return "!", "bad", 2
    if checkpoint.pinned:
        return "⚲", "accent", 1
    return "▴", "dim", 0
