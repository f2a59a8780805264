"""Checkpoints: the table of a run, and everything about one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ckpt.records import Checkpoint, Run, Verdict
from ckpt_tui.output import Paint
from ckpt_tui.render.contents import (
    STATE_STYLES,
    content_lines,
    counted,
    made_with,
    metric_lines,
    names_only,
    told_lines,
)
from ckpt_tui.render.words import NONE, ago, count, number
from ckpt_tui.tables import Cell, Column, table
from ckpt_tui.wording import file_name, moment_text, plural, size_text

ACTION_STYLES = {"keep": "green", "remove": "red", "skip": "yellow"}

NAME_LEAST, METRIC_LEAST = 24, 8  # terminal columns

Row = tuple[Checkpoint, Verdict | None]


def verdict_text(verdict: Verdict | None) -> str:
    """The action with its first reason: `keep: best #1 of 2`."""
    if verdict is None:
        return NONE
    why = verdict.reasons or verdict.near_misses
    return f"{verdict.action}: {why[0].text}" if why else verdict.action


def checkpoints_table(run: Run, rows: Sequence[Row], *, paint: Paint, width: int | None) -> list[str]:
    """One line a checkpoint, in the order given. What none of them has gets no column, as a verdict that all share."""
    metric = run.monitor if run.monitor not in (None, "loss") else None
    records = [checkpoint for checkpoint, _ in rows]
    names = dict(zip((c.id for c in records), shown_names(run, records), strict=True))
    shown: list[tuple[Column, Callable[[Checkpoint, Verdict | None], str | Cell]]] = [
        (Column("NAME", cut=True, least=NAME_LEAST, middle=True), lambda c, _: names[c.id]),
        (Column("ID", rank=5), lambda c, _: Cell(c.id, "dim")),
    ]
    if any(c.step is not None for c in records):
        shown.append((Column("STEP", right=True), lambda c, _: count(c.step)))
    if any(c.epoch is not None for c in records):
        shown.append((Column("EPOCH", right=True, rank=2), lambda c, _: count(c.epoch)))
    if any(c.value("loss") is not None for c in records):
        shown.append((Column("LOSS", right=True, rank=1), lambda c, _: number(c.value("loss"))))
    if metric:
        column = Column(metric, right=True, cut=True, least=METRIC_LEAST)
        shown.append((column, lambda c, _: number(c.value(metric))))
    shown.append((Column("SIZE", right=True, rank=3), lambda c, _: size_text(c.bytes)))
    shown.append((Column("AGE", right=True, rank=4), lambda c, _: ago(c.saved_at)))
    if any(c.state != "complete" for c in records):
        shown.append((Column("STATE"), lambda c, _: Cell(c.state, STATE_STYLES.get(c.state, ""))))
    if any(c.tags for c in records):
        shown.append((Column("TAGS", cut=True, least=11), lambda c, _: Cell(_tags_text(c), "cyan")))
    if any(c.pinned for c in records):
        shown.append((Column("PIN"), lambda c, _: "pin" if c.pinned else ""))
    if shared_verdict(rows) is None:
        shown.append((Column("VERDICT", cut=True), lambda _, verdict: _verdict_cell(verdict)))
    cells = [[cell(checkpoint, verdict) for _, cell in shown] for checkpoint, verdict in rows]
    return table([column for column, _ in shown], cells, paint=paint, width=width)


def shared_verdict(rows: Sequence[Row]) -> str | None:
    """The verdict of all checkpoints with its reason, where there are several and it is the same; None otherwise."""
    texts = {verdict_text(verdict) for _, verdict in rows}
    return texts.pop() if len(rows) > 1 and len(texts) == 1 else None


def _tags_text(checkpoint: Checkpoint) -> str:
    # Where a checkpoint is the best, that it is the first of the best says nothing more.
    return " ".join(tag for tag in checkpoint.tags if tag != "best-1" or "best" not in checkpoint.tags)


def _verdict_cell(verdict: Verdict | None) -> Cell:
    return Cell(verdict_text(verdict), ACTION_STYLES.get(verdict.action, "") if verdict else "")


def shown_names(run: Run, checkpoints: Sequence[Checkpoint]) -> list[str]:
    """What the checkpoints of a run are called: their own names, or paths below the run where two have the same."""
    names = [file_name(checkpoint.path) for checkpoint in checkpoints]
    if len(set(names)) == len(names):
        return names
    return [os.path.relpath(checkpoint.path, run.path) for checkpoint in checkpoints]


def run_head(run: Run, total: int, rows: Sequence[Row], *, paint: Paint) -> list[str]:
    """What stands above the table of a run with `total` checkpoints, of which `rows` are shown."""
    parts = [paint(run.name, "bold"), paint(run.status), plural(total, "checkpoint"), size_text(run.bytes)]
    if run.monitor:
        parts.append(f"best by {paint(run.monitor)} ({run.mode})")
    lines = ["  ".join(parts), paint(run.path, "dim")]
    if run.parent is not None:
        lines.append(f"forked from {lineage_text(run, paint=paint)}")
    lines += [paint(problem, "yellow") for problem in run.problems]
    shared = shared_verdict(rows)
    if shared is not None and any(verdict is not None for _, verdict in rows):
        lines.append(f"verdict of all: {paint(shared)}")
    return [*lines, ""]


def lineage_text(run: Run, *, paint: Paint) -> str:
    """Where a run was forked from."""
    if run.parent is None:
        return NONE
    checkpoint = f" at checkpoint {run.parent.checkpoint}" if run.parent.checkpoint else ""
    path = f" ({run.parent.path})" if run.parent.path else ""
    return paint(f"{'run ' + run.parent.run if run.parent.run else 'a file'}{checkpoint}{path}")


def checkpoint_lines(
    run: Run,
    checkpoint: Checkpoint,
    verdict: Verdict | None,
    inspection: Mapping[str, Any] | None,
    *,
    all_tensors: bool,
    paint: Paint,
    width: int | None,
    parts: Sequence[str] = (),
) -> list[str]:
    """Everything about one checkpoint; `inspection` in the shape of `ckpt inspect --json`.

    `parts` are paths of its other files where it is several.
    """
    said_by_name = names_only(inspection or {})
    pairs: list[tuple[str, str, str]] = [
        ("checkpoint", checkpoint.id, "bold"),
        ("directory" if (inspection or {}).get("files") else "file", checkpoint.path, ""),
        *(("with", path, "") for path in parts),
        ("run", f"{run.name} ({run.id})", ""),
        ("state", checkpoint.state, STATE_STYLES.get(checkpoint.state, "green")),
        ("framework", made_with(checkpoint.framework, checkpoint.format), ""),
        ("step", counted(checkpoint.step, "step", said_by_name), ""),
        ("epoch", counted(checkpoint.epoch, "epoch", said_by_name), ""),
        ("loss", number(checkpoint.value("loss")), ""),
        ("learning rate", number(checkpoint.learning_rate), ""),
        ("size", f"{size_text(checkpoint.bytes)} ({checkpoint.bytes} bytes)", ""),
        ("saved", f"{moment_text(checkpoint.saved_at)}, {ago(checkpoint.saved_at)}", ""),
        ("saved as", checkpoint.label or NONE, ""),
        ("number", f"{count(checkpoint.seq)} of attempt {count(checkpoint.attempt)}", ""),
        ("tags", " ".join(checkpoint.tags) or NONE, "cyan"),
        ("pinned", "yes" if checkpoint.pinned else "no", ""),
        ("note", checkpoint.note or NONE, ""),
        ("held by", ", ".join(checkpoint.held_by) or NONE, ""),
    ]
    if checkpoint.seq is None:
        pairs = [pair for pair in pairs if pair[0] != "number"]
    if run.parent is not None:
        pairs.append(("forked from", lineage_text(run, paint=Paint(False)), ""))
    lines = [f"{name:<14} {paint(value, style)}" for name, value, style in pairs]
    if inspection is not None:
        lines += told_lines(inspection, paint=paint, width=width)
    lines += [
        f"{'problem':<14} {paint(problem, 'red')}"
        for problem in checkpoint.problems
        if problem not in ((inspection or {}).get("problems") or ())
    ]
    if verdict is not None:
        lines.append(f"{'verdict':<14} {paint(verdict.action, ACTION_STYLES.get(verdict.action, ''))}")
        lines += [f"{'':<14} {paint(reason.text)}" for reason in verdict.reasons]
        lines += [f"{'':<14} not kept by: {paint(reason.text)}" for reason in verdict.near_misses]
    if checkpoint.metrics:
        lines += ["", *metric_lines(checkpoint.metrics, said_by_name, checkpoint.measured, paint=paint)]
    if inspection is not None:
        lines += content_lines(inspection, all_tensors=all_tensors, paint=paint, width=width)
    return lines


def named(checkpoint: Checkpoint) -> str:
    """A checkpoint in a sentence: its file's name and id."""
    return f"{file_name(checkpoint.path)} ({checkpoint.id})"
