"""Runs as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ckpt import refs
from ckpt.records import Run
from ckpt_tui.output import Paint
from ckpt_tui.render.words import NONE, ago, count, number
from ckpt_tui.tables import Cell, Column, table
from ckpt_tui.wording import size_text

STATUS_STYLES = {"training": "green", "stalled": "yellow", "failed": "red", "finished": "blue", "idle": ""}
NAME_LEAST, PATH_LEAST = 12, 24  # terminal columns


def runs_table(runs: Sequence[Run], *, known: Sequence[Run], paint: Paint, width: int | None) -> list[str]:
    """One line a run. `known` are all runs, among which names must be unique."""
    names = refs.short_names(known)
    parents = any(run.parent is not None for run in runs)
    columns = [
        Column("RUN", cut=True, least=NAME_LEAST),
        Column("STATUS"),
        Column("CHECKPOINTS", right=True),
        Column("SIZE", right=True),
        Column("EPOCH", right=True, rank=4),
        Column("STEP", right=True),
        Column("LOSS", right=True, rank=2),
        Column("UPDATED", right=True, rank=3),
        *([Column("FORKED FROM", cut=True, rank=5)] if parents else []),
        Column("PATH", cut=True, least=PATH_LEAST, middle=True),
    ]
    rows: list[list[str | Cell]] = [
        [
            Cell(names.get(run.id, run.name), "bold"),
            Cell(run.status, STATUS_STYLES.get(run.status, "")),
            str(run.checkpoints),
            size_text(run.bytes),
            count(run.epoch),
            count(run.step),
            number(run.loss),
            ago(run.updated_at),
            *([_parent(run, names)] if parents else []),
            Cell(run.path, "dim"),
        ]
        for run in runs
    ]
    lines = table(columns, rows, paint=paint, width=width)
    for run in runs:
        lines += [paint(f"{names.get(run.id, run.name)}: {problem}", "yellow") for problem in run.problems]
    return lines


def _parent(run: Run, names: Mapping[str, str]) -> str:
    if run.parent is None:
        return NONE
    return names.get(run.parent.run) or run.parent.path or run.parent.run[:12] or "a file"
