"""The checkpoints that the states of a training name: its best, and those that it keeps. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from ckpt import refs
from ckpt.encoding import printable
from ckpt.scan.failing import UNREADABLE
from ckpt.scan.names import is_newest
from ckpt.scan.pointers import Pointer
from ckpt.scan.recording import Recorded
from ckpt.scan.unbounded import is_list, is_worst, unbounded

_MAX_NAMES = 1000  # checkpoints that one state names at most under one key
_MAX_STATES = 64  # states of a run that are believed, the newest ones
_BEFORE_NUMBER = re.compile(r"\D*")
_REQUEUED = re.compile(r"hpc_ckpt_(\d{1,12})\.ckpt")
"""Lightning's saves before a job ends on a cluster; a job that is started again goes on from the highest number."""


def references(recorded: Sequence[Recorded]) -> list[Pointer]:
    """What the newest state of each training in a run names; of the lists of what is kept, those of other states too.

    Several trainings may write into one directory. They are told apart by the beginnings of their names and by the
    metric that they follow. The newest is both the one that is gone on from and the one that was written last: a
    training that went back to an earlier step writes beside higher ones. Only what the newest state of all names
    should be there.
    """
    naming = {
        item.checkpoint.id: item
        for item in recorded
        if item.checkpoint.state == "complete" and item.inspection is not None and item.inspection.references
    }
    by_order = refs.newest_first(item.checkpoint for item in naming.values())
    by_time = sorted(by_order, key=lambda c: (c.saved_at, c.id), reverse=True)
    orders = [[naming[c.id] for c in order[:_MAX_STATES]] for order in (by_order, by_time)]
    newest = {place for order in orders for place in _newest(order)}
    found: list[Pointer] = []
    kept: set[str] = set()
    states = {item.checkpoint.id: item for order in orders for item in order}
    growing = unbounded(states.values())
    for checkpoint, item in states.items():
        directory, name = os.path.split(item.checkpoint.path)
        is_first = checkpoint == by_order[0].id
        for key, targets in item.inspection.references.items() if item.inspection is not None else ():
            named = tuple(target for target in targets[:_MAX_NAMES] if target)
            if is_worst(key) or (checkpoint, key) in growing:
                continue
            if is_list(key) and named:
                named = tuple(target for target in named if target not in kept)
                kept.update(named)
            elif checkpoint not in newest:
                continue
            wording = f"{printable(key)} of {printable(name)}"
            unread = None if targets else f"{wording} cannot be read"
            found.append(Pointer(wording, directory, named, is_current=is_first, unread=unread))
    return found + _requeued(recorded)


def rewritten(recorded: Sequence[Recorded], since: float) -> list[Pointer]:
    """The files that a trainer writes its newest state over, as `last.ckpt`, where that cannot be read at the moment.

    What the earlier state named is not told any more then, and may be named by no other file. What was not written to
    after `since` (Unix seconds) was left like that, and nobody waits for it. A state under a name of its own needs no
    such care: beyond itself it names nothing that the one before it does not.
    """
    found = []
    for item in recorded:
        directory, name = os.path.split(item.checkpoint.path)
        if is_newest(name) and item.unit.touched > since and _is_torn(item):
            said = f"{printable(name)} is written over and cannot be read now"
            found.append(Pointer(printable(name), directory, (), unread=said))
    return found


def _is_torn(item: Recorded) -> bool:
    return item.checkpoint.state in ("writing", "incomplete") or item.checkpoint.fingerprint == UNREADABLE


def _newest(ordered: Sequence[Recorded]) -> Iterator[str]:
    """Ids of the first state of each training. What an earlier one names is of the same training, and has no say."""
    families: set[tuple[str, str, str | None]] = set()
    of_others: set[tuple[str, str]] = set()
    for item in ordered:
        directory, name = os.path.split(item.checkpoint.path)
        inspection = item.inspection
        if inspection is None:
            continue
        family = (directory, _beginning(name), inspection.monitor)
        if family not in families and (directory, name) not in of_others:
            yield item.checkpoint.id
        families.add(family)
        for targets in inspection.references.values():
            of_others |= {(directory, os.path.basename(target)) for target in targets[:_MAX_NAMES]}


def _requeued(recorded: Sequence[Recorded]) -> list[Pointer]:
    """Where jobs go on that a cluster starts again: the highest of their saves in each directory."""
    highest: dict[str, tuple[int, str]] = {}
    for item in recorded:
        directory, name = os.path.split(item.checkpoint.path)
        number = _REQUEUED.fullmatch(name)
        if number is not None and item.checkpoint.state == "complete":
            candidate = (int(number[1]), name)
            highest[directory] = max(candidate, highest.get(directory, candidate))
    return [Pointer("where a requeued job goes on", place, (name,)) for place, (_, name) in highest.items()]


def _beginning(name: str) -> str:
    """A name up to its first number."""
    found = _BEFORE_NUMBER.match(name)
    return "" if found is None else found[0]
