"""Runs, and the state of the daemon, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckpt import refs
from ckpt.records import Run
from ckpt_tui.output import Paint
from ckpt_tui.render.words import NONE, ago, count, number, span
from ckpt_tui.tables import Cell, Column, table
from ckpt_tui.wording import plural, size_text

STATUS_STYLES = {"training": "green", "stalled": "yellow", "failed": "red", "finished": "blue", "idle": ""}


def runs_table(runs: Sequence[Run], *, known: Sequence[Run], paint: Paint, width: int | None) -> list[str]:
    """One line a run. `known` are all runs, among which names must be unique."""
    names = refs.short_names(known)
    parents = any(run.parent is not None for run in runs)
    columns = [
        Column("RUN", cut=True),
        Column("STATUS"),
        Column("CHECKPOINTS", right=True),
        Column("SIZE", right=True),
        Column("EPOCH", right=True),
        Column("STEP", right=True),
        Column("LOSS", right=True),
        Column("UPDATED", right=True),
        *([Column("FORKED FROM", cut=True)] if parents else []),
        Column("PATH", cut=True),
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


def roots_table(roots: Sequence[Mapping[str, Any]], *, paint: Paint, width: int | None) -> list[str]:
    """One line a watched directory."""
    columns = [
        Column("DIRECTORY", cut=True),
        Column("MODE"),
        Column("STATE"),
        Column("RUNS", right=True),
        Column("CHECKPOINTS", right=True),
        Column("SIZE", right=True),
        Column("FREE", right=True),
        Column("FULL IN", right=True),
    ]
    rows: list[list[str | Cell]] = []
    for root in roots:
        state = str(root.get("state", ""))
        rows.append(
            [
                Cell(str(root["path"]), "bold"),
                str(root.get("mode", "")),
                Cell(state, "" if state in ("ok", "watching", "") else "yellow"),
                str(root.get("runs", 0)),
                str(root.get("checkpoints", 0)),
                size_text(int(root.get("bytes") or 0)),
                NONE if root.get("free_bytes") is None else size_text(int(root["free_bytes"])),
                NONE if root.get("full_in_s") is None else span(float(root["full_in_s"])),
            ]
        )
    return table(columns, rows, paint=paint, width=width)


def status_lines(status: Mapping[str, Any], *, paint: Paint, width: int | None) -> list[str]:
    """`ckpt status`: the daemon, then its roots."""
    daemon = status.get("daemon")
    if daemon and daemon.get("pid"):
        lines = [
            f"daemon   {paint('running', 'green')}, process {daemon['pid']}, "
            f"version {paint(daemon.get('version', '?'))}, for {span(float(daemon.get('uptime_s') or 0))}"
        ]
    else:
        lines = [f"daemon   {paint('not running', 'yellow')}"]
    roots = status.get("roots") or []
    if not roots:
        lines.append("no directory is watched: `ckpt watch add DIR`")
        return lines
    lines.append(f"watches  {plural(len(roots), 'directory').replace('directorys', 'directories')}")
    lines.append("")
    return lines + roots_table(roots, paint=paint, width=width)
