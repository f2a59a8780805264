"""How fast a running training fills its disk: by the checkpoints that it saved and its policy. Pure.

Bytes are those that lie on the disk and have no other name outside of their checkpoint, so that neither a hole in a
file nor a hard link counts as growth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from ckpt.records import Checkpoint
from ckpt.retention import Decision
from ckpt.retention.budget import freed
from ckpt.scan import RunView

SAVES_MIN = 3  # fewer make no cadence
_SAVES = 12  # newest ones that are looked at
SOON_S = 20.0
"""Seconds for which there should be room: disks are looked at, and room is made, twice as often."""
_PACE_MAX = 256 << 20  # bytes in a second; checkpoints that came faster were copied and not saved
_PASSING = frozenset(
    {"last", "best", "newest", "series", "pointed", "within", "max_age", "missing_metric", "min_age", "max_bytes"}
)
"""Rules under which a checkpoint stays only until others have come."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """What one training does to its disk."""

    interval_s: float
    """Between two saves: the median of the last ones, or as long as the next is overdue."""
    bytes: int
    """Of one save, the median of the last ones."""
    lasting: float
    """The share of the saves that stay for good, 0 to 1; the others leave the run after a while."""
    kept_for_s: float = 0.0
    """How long what leaves the run stays in its trash."""

    @property
    def pace(self) -> float:
        """Bytes written in a second."""
        return self.bytes / self.interval_s


def cadence(view: RunView, now: float) -> Cadence | None:
    """The cadence of a run; None while it does not train, or has saved too little to tell."""
    if view.run.status != "training":
        return None
    saved = sorted((c for c in view.checkpoints if c.state == "complete" and c.label != "fork"), key=_when)
    recent = saved[-_SAVES:]
    # Of three saves a rule may have left two.
    if len(recent) < 2 or _saves_made(saved) < SAVES_MIN:
        return None
    interval = max(_usual(recent), now - recent[-1].saved_at)
    if interval <= 0:
        return None
    governed = view.situation.enforced and view.plan.policy.has_rules and view.plan.refused is None
    lasting = _lasting(view.plan.keep) + len(view.plan.skip) if governed else len(saved)
    share = min(1.0, lasting / max(_saves_made(saved), 1))
    waits = view.plan.policy.keep_for if governed else 0.0
    return Cadence(interval, int(median(map(freed, recent))), share, waits)


def written_soon(views: Iterable[RunView]) -> int:
    """Bytes that the running trainings among some runs write until room is made again; 0 when none trains.

    Those of the largest of the last checkpoints, and as many times that as a training saves until then.
    """
    most = 0
    for view in views:
        if view.run.status == "training":
            recent = sorted((c for c in view.checkpoints if c.state == "complete"), key=_when)[-_SAVES:]
            size = max(map(freed, recent), default=0)
            shortest = max(1.0, size / _PACE_MAX)
            often = SOON_S / max(_usual(recent), shortest) if len(recent) > 1 else 1.0
            most = max(most, size * max(1, math.ceil(often)))
    return most


def _usual(saved: Sequence[Checkpoint]) -> float:
    """Seconds between two saves: the median."""
    return median(later.saved_at - earlier.saved_at for earlier, later in pairwise(saved))


def _saves_made(saved: Sequence[Checkpoint]) -> float:
    """How many saves a training has made, those that are gone again among them."""
    newest = saved[-1]
    if newest.seq is not None:
        return max(newest.seq, len(saved))
    steps = [c.step for c in saved if c.step is not None]
    apart = [later - earlier for earlier, later in pairwise(steps) if later > earlier]
    return max(steps[-1] / median(apart), len(saved)) if apart else len(saved)


def _lasting(kept: Sequence[Decision]) -> int:
    return sum(any(reason.rule not in _PASSING for reason in decision.verdict.reasons) for decision in kept)


def _when(checkpoint: Checkpoint) -> tuple[float, int]:
    return checkpoint.saved_at, checkpoint.seq or 0
