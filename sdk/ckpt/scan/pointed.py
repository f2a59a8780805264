"""Where a trainer would go on: the checkpoints that its own words for the newest one stand for. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from ckpt.scan.names import is_newest
from ckpt.scan.pointers import Names, Pointer
from ckpt.scan.recording import Recorded

_NUMBERED = {
    "transformers": re.compile(r"checkpoint-(\d{1,12})"),
    "accelerate": re.compile(r"checkpoint[-_](\d{1,12})"),
    "dcp": re.compile(r"step-(\d{1,12})"),
    "olmo-core": re.compile(r"step(\d{1,12})"),
    "orbax": re.compile(r"(?:\w{1,100}_)?(\d{1,18})"),
}
"""Trainers that go on from the highest number in a directory, whatever its time, and how they name checkpoints."""


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
    meant |= _highest(recorded)
    return [item.pointed() if _is_meant(item, meant) else item for item in recorded]


def _highest(recorded: Sequence[Recorded]) -> set[str]:
    """Ids of the complete checkpoints with the highest number of their trainer, one a directory."""
    found: dict[tuple[str, str], tuple[int, str]] = {}
    for item in recorded:
        checkpoint = item.checkpoint
        pattern = _NUMBERED.get(checkpoint.framework)
        if pattern is None or checkpoint.state != "complete":
            continue
        directory, name = os.path.split(checkpoint.path)
        number = pattern.fullmatch(name)
        if number is not None:
            place, candidate = (directory, checkpoint.framework), (int(number[1]), checkpoint.id)
            found[place] = max(candidate, found.get(place, candidate))
    return {checkpoint for _, checkpoint in found.values()}


def _is_meant(item: Recorded, meant: set[str]) -> bool:
    return item.checkpoint.id in meant and item.checkpoint.state == "complete"
