"""What a mark on another tool's checkpoint cannot promise, in words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ckpt.encoding import quoted
from ckpt.records import Checkpoint
from ckpt_tui.wording import file_name

_MOVING = re.compile(r"(?<![a-z])(last|latest|best)(?![a-z])")
_NUMBER = re.compile(r"[0-9]")


def is_overwritten_in_place(checkpoint: Checkpoint) -> bool:
    """Whether the name says that its trainer writes each newer checkpoint over it: last.pt, model_best.pth."""
    name = file_name(checkpoint.path).lower()
    return _MOVING.search(name) is not None and _NUMBER.search(name) is None


def numbered_twin(checkpoint: Checkpoint, others: Iterable[Checkpoint]) -> Checkpoint | None:
    """A complete checkpoint of the same step and epoch whose name has a number; None when there is none."""
    moment = (checkpoint.step, checkpoint.epoch)
    if moment == (None, None):
        return None
    for other in others:
        stays = other.id != checkpoint.id and _NUMBER.search(file_name(other.path)) is not None
        if stays and other.state == "complete" and (other.step, other.epoch) == moment:
            return other
    return None


def foreign_note(checkpoint: Checkpoint, twin: Checkpoint | None) -> str:
    """What to tell who marks a checkpoint that another tool wrote."""
    name = file_name(checkpoint.path)
    lines = [
        f"note: another tool wrote {name}, and may still delete or overwrite it; this mark cannot stop that",
        f"`ckpt restore {quoted(checkpoint.path)} DEST` makes a copy that stays",
    ]
    if twin is not None:
        lines.append(f"{name} is written over in place; {file_name(twin.path)} has the same step and epoch")
    return "\n".join(lines)
