"""What policies would have done over the history of a run, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from ckpt_tui.output import Paint
from ckpt_tui.render.policies import rules_line
from ckpt_tui.render.words import count, number
from ckpt_tui.tables import Cell, Column, table, wrapped
from ckpt_tui.wording import plural, size_text

_BARS = "▁▂▃▄▅▆▇█"
_BAR_WIDTH = 40
_IN_FORCE = "the one in force"
_OTHERS_SHOWN = 8

Json = Mapping[str, Any]


def rehearsal_lines(answer: Json, *, paint: Paint, width: int | None) -> list[str]:
    """The policy in force first, then those that were tried."""
    present, tried = answer["present"], answer["tried"]
    lines = [f"{paint(str(answer['name']), 'bold')}: {_history_text(answer['history'])}"]
    if not present["saved"]:
        return lines
    rows = [(_IN_FORCE, present), *((str(each["text"]), each) for each in tried)]
    lines += ["", *_table(rows, paint, width), "", paint("bytes after each save, without the trash", "bold")]
    lines += _bars(rows, paint)
    lines += [line for text in _bests(rows) for line in wrapped(text, width)]
    lines += [line for text in [*_notes(rows), *_not_replayed(answer)] for line in wrapped(text, width)]
    return lines


def _not_replayed(answer: Json) -> list[str]:
    """What the past cannot tell, and what of the present counts instead."""
    told = []
    if not answer["own"]:
        told.append("not replayed: what the trainer held, and what was touched later (min_age counts from each save)")
    held = max(int(each["held"]) for each in (answer["present"], *answer["tried"]))
    if held:
        told.append(f"what is held now counts as kept at the end: up to {plural(held, 'checkpoint')}")
    return told


def _history_text(history: Json) -> str:
    told = [plural(int(history["saves"]), "save")]
    if history["removed"]:
        told.append(f"{history['removed']} of them removed since")
    if history["forgotten"]:
        told.append(f"{plural(int(history['forgotten']), 'more save')} of which nothing is known any more")
    if history["unusable"]:
        told.append(f"{history['unusable']} left out because not complete")
    return ", ".join(told)


def _table(rows: Sequence[tuple[str, Json]], paint: Paint, width: int | None) -> list[str]:
    columns = [
        Column("POLICY", cut=True, least=12),
        Column("KEEPS", right=True),
        Column("SIZE", right=True),
        Column("REMOVES", right=True),
        Column("MOST AT ONCE", right=True),
        Column("BESTS LOST", cut=True),
    ]
    cells: list[list[str | Cell]] = []
    for title, each in rows:
        lost = [str(best["metric"]) for best in each["bests"] if not best["kept"]]
        name = title if title != _IN_FORCE else f"in force: {rules_line(each['policy'])}"
        cells.append(
            [
                name,
                str(len(each["kept"])),
                size_text(int(each["kept_bytes"])),
                str(len(each["removed"])),
                f"{each['most']} ({size_text(int(each['most_bytes']))})",
                Cell(", ".join(lost), "red") if lost else "none",
            ]
        )
    return table(columns, cells, paint=paint, width=width)


def _bars(rows: Sequence[tuple[str, Json]], paint: Paint) -> list[str]:
    top = max((int(point["bytes"]) for _, each in rows for point in each["points"]), default=0)
    cells: list[list[str | Cell]] = [
        [_bar([int(point["bytes"]) for point in each["points"]], top), size_text(int(each["kept_bytes"])), title]
        for title, each in rows
    ]
    return table([Column(), Column(right=True), Column()], cells, paint=paint, head=False)


def _bar(values: Sequence[int], top: int) -> str:
    """Values as a line of bars; more of them than fit are shown by the highest of each stretch."""
    if not values or top <= 0:
        return ""
    width = min(_BAR_WIDTH, len(values))
    bounds = [len(values) * i // width for i in range(width + 1)]
    highest = [max(values[a:b]) for a, b in pairwise(bounds)]
    return "".join(_BARS[min(len(_BARS) - 1, value * len(_BARS) // (top + 1))] for value in highest)


def _bests(rows: Sequence[tuple[str, Json]]) -> list[str]:
    """What becomes of the best of each metric: first those that are lost or monitored somewhere."""
    told: dict[str, list[str]] = {}
    urgent: set[str] = set()
    for title, each in rows:
        for best in each["bests"]:
            name = str(best["metric"])
            if name not in told:
                direction = "lowest" if best["mode"] == "min" else "highest"
                told[name] = [f"{name}: {direction} {number(best['value'])} at {_where(best['checkpoint'])}"]
            if not best["kept"]:
                left = "nothing with it is left" if best["left"] is None else f"{number(best['left'])} is left"
                told[name].append(f"lost by {title}, {left}")
            if best["monitored"] or not best["kept"]:
                urgent.add(name)
    ordered = [name for name in told if name in urgent] + [name for name in told if name not in urgent]
    shown = ordered[: max(len(urgent), _OTHERS_SHOWN)]
    lines = ["; ".join([*told[name], *(["kept by all"] if len(told[name]) == 1 else [])]) for name in shown]
    if len(ordered) > len(shown):
        lines.append(f"{len(ordered) - len(shown)} more metrics, whose bests all policies keep")
    return ["", *lines] if lines else []


def _where(checkpoint: Json) -> str:
    if checkpoint.get("step") is not None:
        return f"step {count(checkpoint['step'])}"
    return f"epoch {count(checkpoint['epoch'])}" if checkpoint.get("epoch") is not None else str(checkpoint["id"])


def _notes(rows: Sequence[tuple[str, Json]]) -> list[str]:
    told: list[str] = []
    for best in rows[0][1]["bests"]:
        if best["unsaved"] is not None and best["monitored"]:
            told.append(
                f"{best['metric']} came to {number(best['unsaved'])} at step {count(best['unsaved_step'])}, "
                "of which no save is known"
            )
    for title, each in rows:
        if each["refused"]:
            told.append(f"{title} would remove nothing at the end: {each['refused']}")
        if each["asked"]:
            told.append(f"{title}: {plural(int(each['asked']), 'plan')} would have waited for `ckpt apply`")
        if each["every"] > 1:
            told.append(f"{title} keeps many, so it was asked at every {each['every']}th save at worst")
    return ["", *told] if told else []
