"""The trash: what was removed and waits to be purged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from ckpt_tui.output import Paint
from ckpt_tui.render.words import ago
from ckpt_tui.tables import Cell, Column, table
from ckpt_tui.wording import file_name, size_text

Entry = Mapping[str, Any]


def trash_lines(entries: Sequence[Entry], names: Mapping[str, str], *, paint: Paint, width: int | None) -> list[str]:
    """One line an entry of the trash. `names` gives a run's name for its id."""
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
            _run_name(entry, names),
            file_name(str(entry["path"])),
            size_text(int(entry["bytes"])),
            ago(entry["trashed_at"]),
            "stays" if entry["purge_at"] is None else ago(entry["purge_at"]),
            " · ".join(reason["text"] for reason in [*(entry.get("reasons") or ()), *(entry.get("near_misses") or ())]),
        ]
        for entry in entries
    ]
    return table(columns, rows, paint=paint, width=width)


def summary_lines(entries: Sequence[Entry], names: Mapping[str, str], *, paint: Paint, width: int | None) -> list[str]:
    """One line a run: how much of it lies in the trash, and between when it was removed."""
    columns = [
        Column("RUN", cut=True),
        Column("CHECKPOINTS", right=True),
        Column("SIZE", right=True),
        Column("REMOVED"),
    ]
    rows: list[list[str | Cell]] = []
    for _, group in groupby(sorted(entries, key=lambda entry: str(entry["run"])), key=lambda entry: entry["run"]):
        mine = list(group)
        times = sorted(float(entry["trashed_at"]) for entry in mine)
        first, last = ago(times[0]), ago(times[-1])
        size = size_text(sum(int(entry["bytes"]) for entry in mine))
        removed = first if first == last else f"{first} to {last}"
        rows.append([_run_name(mine[0], names), f"{len(mine):,}", size, removed])
    return table(columns, rows, paint=paint, width=width)


def _run_name(entry: Entry, names: Mapping[str, str]) -> str:
    return names.get(entry["run"], str(entry["run"])[:12])
