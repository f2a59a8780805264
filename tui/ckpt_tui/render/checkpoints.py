"""Checkpoints: the table of a run, and everything about one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

Row = tuple[Checkpoint, Verdict | None]


def verdict_text(verdict: Verdict | None) -> str:
    """The action with its first reason: `keep: best #1 of 2`."""
    if verdict is None:
        return NONE
    why = verdict.reasons or verdict.near_misses
    return f"{verdict.action}: {why[0].text}" if why else verdict.action


def checkpoints_table(run: Run, rows: Sequence[Row], *, paint: Paint, width: int | None) -> list[str]:
    """One line a checkpoint, in the order given."""
    metric = run.monitor if run.monitor not in (None, "loss") else None
    states = any(checkpoint.state != "complete" for checkpoint, _ in rows)
    named_by_file = any(checkpoint.step is None for checkpoint, _ in rows)
    columns = [
        Column("ID"),
        *([Column("FILE", cut=True)] if named_by_file else []),
        Column("STEP", right=True),
        Column("EPOCH", right=True),
        Column("LOSS", right=True),
        *([Column(metric, right=True, cut=True)] if metric else []),
        Column("SIZE", right=True),
        Column("AGE", right=True),
        *([Column("STATE")] if states else []),
        Column("TAGS", cut=True),
        Column("PIN"),
        Column("VERDICT", cut=True),
    ]
    lines = []
    for checkpoint, verdict in rows:
        lines.append(
            [
                Cell(checkpoint.id, "dim"),
                *([file_name(checkpoint.path)] if named_by_file else []),
                count(checkpoint.step),
                count(checkpoint.epoch),
                number(checkpoint.value("loss")),
                *([number(checkpoint.value(metric))] if metric else []),
                size_text(checkpoint.bytes),
                ago(checkpoint.saved_at),
                *([Cell(checkpoint.state, STATE_STYLES.get(checkpoint.state, ""))] if states else []),
                Cell(" ".join(checkpoint.tags), "cyan"),
                "pin" if checkpoint.pinned else "",
                Cell(verdict_text(verdict), ACTION_STYLES.get(verdict.action, "") if verdict else ""),
            ]
        )
    return table(columns, lines, paint=paint, width=width)


def run_head(run: Run, total: int, *, paint: Paint) -> list[str]:
    """What stands above the table of a run."""
    parts = [paint(run.name, "bold"), paint(run.status), plural(total, "checkpoint"), size_text(run.bytes)]
    if run.monitor:
        parts.append(f"best by {paint(run.monitor)} ({run.mode})")
    lines = ["  ".join(parts), paint(run.path, "dim")]
    if run.parent is not None:
        lines.append(f"forked from {lineage_text(run, paint=paint)}")
    lines += [paint(problem, "yellow") for problem in run.problems]
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
) -> list[str]:
    """Everything about one checkpoint; `inspection` in the shape of `ckpt inspect --json`."""
    said_by_name = names_only(inspection or {})
    pairs: list[tuple[str, str, str]] = [
        ("checkpoint", checkpoint.id, "bold"),
        ("file", checkpoint.path, ""),
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
        lines += told_lines(inspection, paint=paint)
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
        lines += ["", *metric_lines(checkpoint.metrics, said_by_name, paint=paint)]
    if inspection is not None:
        lines += content_lines(inspection, all_tensors=all_tensors, paint=paint, width=width)
    return lines


def named(checkpoint: Checkpoint) -> str:
    """A checkpoint in a sentence: its file's name and id."""
    return f"{file_name(checkpoint.path)} ({checkpoint.id})"
