"""What the several files of one step say together. Pure."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from itertools import chain
from typing import Any, TypeVar

from ckpt.encoding import printable
from ckpt.formats import Inspection
from ckpt.records import CheckpointState
from ckpt.scan.failing import UNREADABLE
from ckpt.scan.listing import Entry

_Value = TypeVar("_Value")
_BY_WEIGHT: tuple[CheckpointState, ...] = ("corrupt", "incomplete", "writing", "complete")


def merged(parts: Sequence[tuple[str, Inspection]], sides: Sequence[Entry] = ()) -> Inspection:
    """One inspection of the files of one step: the first to say something is believed, the worst state is that of all.

    `parts` are the files by their names, at least one; `sides` are files that only belong to them, told by their sizes.
    """
    first = parts[0][1]
    if len(parts) == 1 and not sides:
        return first
    rest = [inspection for _, inspection in parts[1:]]
    metrics = dict(first.metrics)
    references = dict(first.references)
    for other in rest:
        metrics = {**other.metrics, **metrics}
        references = {**other.references, **references}
    told: Inspection = first.evolve(
        state=min((inspection.state for _, inspection in parts), key=_BY_WEIGHT.index),
        step=_first([first.step, *(other.step for other in rest)]),
        epoch=_first([first.epoch, *(other.epoch for other in rest)]),
        loss=_first([first.loss, *(other.loss for other in rest)]),
        learning_rate=_first([first.learning_rate, *(other.learning_rate for other in rest)]),
        metrics=metrics,
        kinds=_together([inspection.kinds for _, inspection in parts]),
        references=references,
        resume=_resume([inspection.resume for _, inspection in parts if inspection.resume]),
        config=next((inspection.config for _, inspection in parts if inspection.config), {}),
        problems=tuple(
            f"{printable(os.path.basename(name))}: {problem}" if len(parts) > 1 else problem
            for name, inspection in parts
            for problem in inspection.problems
        ),
        fingerprint=_fingerprint(parts, sides),
    )
    return told


def _together(kinds: Sequence[dict[str, int]]) -> dict[str, int]:
    """The bytes of all files by what they are."""
    found: dict[str, int] = {}
    for known in kinds:
        for name, size in known.items():
            found[name] = found.get(name, 0) + size
    return found


def _first(values: Sequence[_Value | None]) -> _Value | None:
    return next((value for value in values if value is not None), None)


def _resume(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a training finds in all of the files together."""
    if len(reports) < 2:
        return dict(reports[0]) if reports else {}
    told: dict[str, Any] = {}
    for name in dict.fromkeys(name for report in reports for name in report):
        values = [report[name] for report in reports if name in report]
        if name == "rng":
            told[name] = {part: any(value.get(part) for value in values) for part in dict.fromkeys(chain(*values))}
            told[name]["ranks"] = sum(value.get("ranks", 0) for value in values)
        else:
            told[name] = next((value for value in values if value), values[0])
    return told


def _fingerprint(parts: Sequence[tuple[str, Inspection]], sides: Sequence[Entry]) -> str:
    """Changes with the content of the parts and the sizes of the sides; "" where a part was not read to that point.

    UNREADABLE where a part could not be read.
    """
    if any(inspection.fingerprint == UNREADABLE for _, inspection in parts):
        return UNREADABLE
    if not all(inspection.fingerprint for _, inspection in parts):
        return ""
    lines = [f"{os.path.basename(name)}\0{inspection.fingerprint}" for name, inspection in parts]
    lines += [f"{os.path.basename(side.name)}\0{side.info.st_size}" for side in sides]
    joined = "\n".join(lines).encode("utf-8", "surrogateescape")
    return f"files:{hashlib.sha256(joined).hexdigest()[:32]}"
