"""What the log says of a restore: part by part at DEBUG, and what speaks against it once.

That is a warning where the training goes on otherwise than it would have; what every run of it has to live with, and
what only takes its time, is told at INFO.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ckpt.encoding import printable
from ckpt.saving.capture.environment import is_of_every_run
from ckpt.saving.restore.report import RestoreReport, listed
from ckpt.saving.restore.states import Pair

log = logging.getLogger("ckpt.saving")


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
    differing = [caveat for caveat in report.caveats if not is_of_every_run(caveat)]
    if differing:
        log.warning("%s: the training goes on, but %s", name, printable(listed(differing)))
    told = [*filter(is_of_every_run, report.caveats), *report.slow]
    if told:
        log.info("%s: the training goes on; %s", name, printable(listed(told)))


def _position(state: Any) -> str:
    """Where a loader's state stands, as words; "" for the state of anything else."""
    if not isinstance(state, Mapping):
        return ""
    place = state.get("batch_idx", state.get("schedule_position"))
    if not isinstance(place, int):
        return ""
    epoch = state.get("epoch")
    return f" at batch {place}" + (f" of epoch {epoch}" if isinstance(epoch, int) else "")
