"""Watched directories: as a table with what is to be said of each, and the answer to naming one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ckpt.retention.writing import given_text
from ckpt_tui.output import Paint
from ckpt_tui.render.words import NONE, full_in
from ckpt_tui.tables import Cell, Column, table, wrapped
from ckpt_tui.trouble import Trouble, root_path, root_troubles
from ckpt_tui.wording import plural, size_text

_STATES = {"ok": "watched", "polling": "polled"}
_STYLES = {"watched": "green", "polled": "", "degraded": "red"}
_MARKS = {"wrong": ("!", "red"), "warning": ("!", "yellow"), "note": ("·", "")}


def roots_lines(
    roots: Sequence[Mapping[str, Any]], *, paint: Paint, width: int | None, live: bool = True, details: bool = False
) -> Iterator[str]:
    """One line a directory, and below it what is not well with it; `details` tells where it comes from too.

    `live` is false when no daemon watches: then a state says how the directory was found.
    """
    columns = [
        Column("DIRECTORY", cut=True),
        Column("MODE"),
        Column("STATE"),
        Column("RUNS", right=True),
        Column("CHECKPOINTS", right=True),
        Column("SIZE", right=True),
        Column("FREE", right=True),
    ]
    rows = [_row(root, live) for root in roots]
    if any(root.get("full_in_s") is not None or root.get("filling") for root in roots):
        columns.append(Column("FULL IN", right=True))
        for row, root in zip(rows, roots, strict=True):
            style = "red" if root.get("filling") else ""
            soon = root.get("full_in_s")
            row.append(Cell(full_in(float(soon)) if soon is not None else "nearly" if style else NONE, style))
    head, *lines = table(columns, rows, paint=paint, width=width)
    yield head
    for root, line in zip(roots, lines, strict=True):
        yield line
        if details:
            for part in wrapped(_details(root), None if width is None else width - 2):
                yield f"  {paint(part, 'dim')}"
        yield from trouble_lines(root_troubles(root), paint=paint, width=width)


def _row(root: Mapping[str, Any], live: bool) -> list[str | Cell]:
    state = str(root.get("state", ""))
    state = _STATES.get(state, state) if live or state != "ok" else "readable"
    return [
        Cell(root_path(root), "bold"),
        _mode(root),
        Cell(state, _STYLES.get(state, "yellow") if live else ""),
        f"{int(root.get('runs') or 0):,}",
        f"{int(root.get('checkpoints') or 0):,}",
        size_text(int(root.get("bytes") or 0)),
        NONE if root.get("free_bytes") is None else size_text(int(root["free_bytes"])),
    ]


def _mode(root: Mapping[str, Any]) -> Cell:
    if root.get("waits"):
        return Cell("enforce, waits", "yellow")
    return Cell(
        "enforce, by hand" if root.get("mode") == "enforce" and root.get("by_hand") else str(root.get("mode", ""))
    )


def _details(root: Mapping[str, Any]) -> str:
    origin = {
        "config.toml": "named in config.toml",
        "command": "named by `ckpt watch add`",
        "session": "for this daemon's life",
    }.get(str(root.get("origin")), "")
    directories = root.get("directories")
    exclude = root.get("exclude") or ()
    return "  ".join(
        part
        for part in (
            origin,
            plural(int(directories), "directory", "directories") if directories is not None else "",
            f"passes over {', '.join(map(str, exclude))}" if exclude else "",
            f"policy {given_text(root['policy'])}" if root.get("policy") else "",
        )
        if part
    )


def trouble_lines(troubles: Iterable[Trouble], *, paint: Paint, width: int | None) -> Iterator[str]:
    """What is not well, and below each what to do."""
    room = None if width is None else max(width - 4, 20)
    for trouble in troubles:
        mark, style = _MARKS[trouble.weight]
        for number, line in enumerate(wrapped(trouble.text, room)):
            yield f"  {' ' if number else paint(mark, style)} {paint(line, style)}"
        if trouble.hint:
            yield from (f"    {paint(line, 'cyan')}" for line in wrapped(trouble.hint, room))


def added_lines(answer: Mapping[str, Any], *, paint: Paint, width: int | None) -> Iterator[str]:
    """The answer to `ckpt watch add`: what was found there."""
    root = answer["root"]
    yield f"watching {paint(root_path(root), 'bold')} ({paint(root.get('mode', 'observe'))})"
    runs, directories = int(root.get("runs") or 0), root.get("directories")
    among = f" in {plural(int(directories), 'directory', 'directories')}" if directories is not None else ""
    if runs:
        found = f"{plural(runs, 'run')}, {plural(int(root.get('checkpoints') or 0), 'checkpoint')}"
        yield f"  {found}, {size_text(int(root.get('bytes') or 0))}{among}"
    else:
        yield f"  no run yet{among}; what appears there is known by itself"
    if root.get("exclude"):
        yield f"  passes over {paint(', '.join(map(str, root['exclude'])))}"
    for inner in answer.get("absorbed") or ():
        yield f"  {paint(inner)} lies inside it and is watched with it"
    if answer.get("moved_from"):
        yield f"  it was {paint(answer['moved_from'])} before; tags, pins and notes came along"
    yield from trouble_lines(root_troubles(root), paint=paint, width=width)
