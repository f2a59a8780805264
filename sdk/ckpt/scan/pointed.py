"""Where a trainer would go on: the checkpoints that its own words for the newest one stand for. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from ckpt.scan.names import is_newest
from ckpt.scan.pointers import Names, Pointer
from ckpt.scan.recording import Recorded

_TRAINER = re.compile(r"checkpoint-(?P<step>\d{1,12})")
"""The Transformers Trainer goes on from the highest number among these, whatever its time."""


def marked(recorded: Sequence[Recorded], written: Iterable[Pointer], names: Names) -> list[Recorded]:
    """The checkpoints of a run, those marked as pointed that are complete and that the trainer would go on from."""
    meant = {
        checkpoint
        for pointer in written
        if pointer.is_newest
        for target in pointer.targets
        for checkpoint in names.meant(target, pointer)
    }
    meant |= {
        item.checkpoint.id
        for item in recorded
        if any(is_newest(os.path.basename(name)) for name, _ in item.unit.aliases)
    }
    steps = {
        item.checkpoint.id: int(found["step"])
        for item in recorded
        if item.checkpoint.state == "complete"
        and item.checkpoint.framework == "transformers"
        and (found := _TRAINER.fullmatch(os.path.basename(item.checkpoint.path))) is not None
    }
    meant |= {checkpoint for checkpoint, step in steps.items() if step == max(steps.values())}
    return [item.pointed() if _is_meant(item, meant) else item for item in recorded]


def _is_meant(item: Recorded, meant: set[str]) -> bool:
    return item.checkpoint.id in meant and item.checkpoint.state == "complete"
