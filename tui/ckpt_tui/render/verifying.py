"""What reading whole checkpoints proved, as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckpt_tui.output import Paint
from ckpt_tui.wording import plural, size_text

if TYPE_CHECKING:
    from ckpt.formats import Verification
    from ckpt_tui.answers.verifying import Outcome

_LABEL = 9


def verification_lines(outcome: Outcome, *, paint: Paint) -> list[str]:
    """A line a checkpoint, its problems below it, and a last line that counts."""
    lines = []
    for target, found in outcome.checked:
        word, style = _judged(found)
        lines.append(_line(word, style, target.path, "" if found.damaged else proof_text(found), paint))
        lines += [f"{'':<{_LABEL}}{paint(problem, 'red')}" for problem in found.problems]
    unproved = "is still being written: not checked"
    lines += [_line("writing", "blue", target.path, unproved, paint) for target in outcome.writing]
    for target, problem in outcome.failed:
        lines += [_line("failed", "red", target.path, "", paint), f"{'':<{_LABEL}}{paint(problem, 'red')}"]
    return [*lines, "", _sum(outcome, paint)]


def proof_text(found: Verification) -> str:
    """How far a checkpoint is proved to be what was written."""
    if not found.checksums and found.format == "unknown":
        return "no reader knows it: nothing to check"
    if not found.checksums:
        return f"{size_text(found.bytes_read)} read; no checksums to compare, its structure is sound"
    under = "" if found.bytes_compared * 100 >= found.bytes_read * 99 else f", {size_text(found.bytes_compared)} of it"
    return f"{size_text(found.bytes_read)} read{under} under {plural(found.checksums, 'checksum')}"


def _judged(found: Verification) -> tuple[str, str]:
    if found.damaged:
        return "damaged", "red"
    return ("unknown", "dim") if found.format == "unknown" and not found.checksums else ("whole", "green")


def _line(word: str, style: str, path: str, rest: str, paint: Paint) -> str:
    shown = f"{paint(word, style)}{' ' * (_LABEL - len(word))}{paint(path)}"
    return f"{shown}  {paint(rest, 'dim')}" if rest else shown


def _sum(outcome: Outcome, paint: Paint) -> str:
    total = sum(found.bytes_read for _, found in outcome.checked)
    parts = [f"{plural(len(outcome.checked), 'checkpoint')} checked, {size_text(total)} read"]
    damaged = len(outcome.damaged)
    parts.append(paint(f"{damaged} damaged", "red") if damaged else "none is damaged")
    if outcome.writing:
        parts.append(f"{len(outcome.writing)} still being written and not checked")
    if outcome.failed:
        parts.append(paint(f"{len(outcome.failed)} could not be read", "red"))
    return ", ".join(parts)
