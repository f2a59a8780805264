"""The acts that can be taken back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckpt_tui.output import Paint
from ckpt_tui.render.words import ago
from ckpt_tui.tables import Cell, Column, table
from ckpt_tui.wording import size_text

_WHO = {"you": "you", "daemon": "the daemon", "training": "a training"}


def by_text(act: Mapping[str, Any]) -> str:
    """Who did it."""
    return _WHO.get(str(act.get("by")), "somebody")


def acts_lines(acts: Sequence[Mapping[str, Any]], *, paint: Paint, width: int | None) -> list[str]:
    """One line an act, in the order given."""
    columns = [Column("ID"), Column("WHEN", right=True), Column("BY"), Column("WHAT", cut=True, least=24)]
    rows: list[list[str | Cell]] = [
        [Cell(str(act["id"]), "bold"), ago(act["at"]), by_text(act), f"{act['text']}{_size(act)}"] for act in acts
    ]
    return table(columns, rows, paint=paint, width=width)


def _size(act: Mapping[str, Any]) -> str:
    return f" ({size_text(int(act['bytes']))})" if act.get("bytes") else ""
