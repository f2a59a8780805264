"""What `ckpt doctor` found, for a person: one line a judgement, and below it what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckpt_tui.output import Paint
from ckpt_tui.tables import wrapped
from ckpt_tui.wording import plural

_MARKS = {"ok": ("ok", "green"), "warning": ("WARN", "yellow"), "wrong": ("WRONG", "red")}
_NAME = 13  # columns
_MARK = 5


def doctor_lines(answer: Mapping[str, Any], *, paint: Paint, width: int | None) -> Iterator[str]:
    """The versions, the checks, and how many of them ask for something."""
    room = None if width is None else max(width - _NAME - _MARK - 2, 20)
    versions = ", ".join(f"{name} {found or 'absent'}" for name, found in answer["versions"].items())
    yield from _row("versions", "", wrapped(versions, room))
    yield from _row("autostart", "", wrapped(answer["autostart"], room))
    for check in answer["checks"]:
        mark, style = _MARKS[check["level"]]
        about = f"{check['subject']}: " if check["subject"] else ""
        lines = wrapped(about + check["detail"], room)
        if check["hint"]:
            inner = None if room is None else room - 2
            lines += [f"  {paint(line, 'cyan')}" for part in check["hint"].split("\n") for line in wrapped(part, inner)]
        yield from _row(check["name"], paint(mark, style) + " " * (_MARK - len(mark)), lines)
    counts = {level: sum(check["level"] == level for check in answer["checks"]) for level in _MARKS}
    yield ""
    yield verdict(counts["wrong"], counts["warning"], paint=paint)


def _row(name: str, mark: str, lines: Sequence[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        head = f"{name:<{_NAME}}{mark or ' ' * _MARK}" if number == 0 else " " * (_NAME + _MARK)
        yield f"{head}  {line}"


def verdict(wrong: int, warnings: int, *, paint: Paint) -> str:
    """All in one line."""
    if wrong:
        also = f", {plural(warnings, 'warning')}" if warnings else ""
        return paint(f"{plural(wrong, 'thing is', 'things are')} wrong{also}", "red")
    if warnings:
        return paint(f"nothing is wrong; {plural(warnings, 'warning')}", "yellow")
    return paint("nothing is wrong", "green")
