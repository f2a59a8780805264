"""What the log says of a restore: part by part at DEBUG, and once, as a warning, what speaks against it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ckpt.encoding import printable
from ckpt.saving.restore.report import RestoreReport, listed
from ckpt.saving.restore.states import Pair

log = logging.getLogger("ckpt.saving")

_SKIPPING = "read again from their beginning and dropped up to the position"


def tell_restore(report: RestoreReport, given: Sequence[Pair]) -> None:
    """Logs what went back where, what did not, and what may differ."""
    name = printable(os.path.basename(report.path))
    log.debug("%s: restored %d tensors; phase %s", name, len(report.loaded), report.phase or "not known")
    for pair in given:
        log.debug("%s: restored the %s%s", name, printable(pair.kind), _position(pair.state))
    if report.random:
        log.debug("%s: restored the random states", name)
    for item in (*report.skipped, *report.notes):
        log.debug("%s: skipped: %s", name, printable(str(item)))
    told = [*report.caveats, *_slow(report)]
    if told:
        log.warning("%s: the training goes on, but %s", name, printable(listed(told)))


def _slow(report: RestoreReport) -> list[str]:
    """Loaders that only skip, where no sentence of theirs says so already."""
    return [
        f"{loader}: batches are {_SKIPPING}"
        for loader, how in report.resumes_by.items()
        if how == "skipping" and not any(caveat.startswith(f"{loader}: ") for caveat in report.caveats)
    ]


def _position(state: Any) -> str:
    """Where a loader's state stands, as words; "" for the state of anything else."""
    if not isinstance(state, Mapping):
        return ""
    place = state.get("batch_idx", state.get("schedule_position"))
    if not isinstance(place, int):
        return ""
    epoch = state.get("epoch")
    return f" at batch {place}" + (f" of epoch {epoch}" if isinstance(epoch, int) else "")
