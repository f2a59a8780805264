"""The checkpoints that the states of a training name: its best, and those that it keeps. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from ckpt import refs
from ckpt.encoding import printable
from ckpt.scan.pointers import Pointer
from ckpt.scan.recording import Recorded

_MAX_NAMES = 1000  # checkpoints that one state names at most under one key
_MAX_STATES = 64  # states of a run that are believed, the newest ones
_BEFORE_NUMBER = re.compile(r"\D*")
_KEPT = frozenset({"best_k_models"})
"""Lists of files of which a trainer removes those that it drops: whatever is still there belongs to somebody."""


def references(recorded: Sequence[Recorded]) -> list[Pointer]:
    """What the newest state of each training in a run names; of the lists of what is kept, those of other states too.

    Several trainings may write into one directory. They are told apart by the beginnings of their names and by the
    metric that they follow. Only what the newest state of all names should be there.
    """
    naming = {
        item.checkpoint.id: item
        for item in recorded
        if item.checkpoint.state == "complete" and item.inspection is not None and item.inspection.references
    }
    found: list[Pointer] = []
    families: set[tuple[str, str, str | None]] = set()
    kept: set[str] = set()
    for place, checkpoint in enumerate(refs.newest_first(item.checkpoint for item in naming.values())[:_MAX_STATES]):
        inspection = naming[checkpoint.id].inspection
        if inspection is None:
            continue
        directory, name = os.path.split(checkpoint.path)
        family = (directory, _beginning(name), inspection.monitor)
        is_newest = family not in families
        families.add(family)
        for key, targets in inspection.references.items():
            named = tuple(target for target in targets[:_MAX_NAMES] if target)
            if key in _KEPT:
                named = tuple(target for target in named if target not in kept)
                kept.update(named)
            elif not is_newest:
                continue
            found.append(Pointer(f"{printable(key)} of {printable(name)}", directory, named, is_current=not place))
    return found


def _beginning(name: str) -> str:
    """A name up to its first number."""
    found = _BEFORE_NUMBER.match(name)
    return "" if found is None else found[0]
