"""What a plan has to know of a run besides its checkpoints."""

from __future__ import annotations

import msgspec

from ckpt.records import Record


class Situation(Record, frozen=True, kw_only=True):
    """Where a run stands; the default is an own run that its own training prunes."""

    own: bool = True
    """Whether the SDK made it. Of a foreign run only what is plainly a checkpoint of a training may go."""
    enforced: bool = True
    """Whether anything of it may be removed at all: own runs, and foreign ones under an enforced root."""
    own_policy: bool = True
    """Whether the policy in force is the training's own word. One that comes from elsewhere, one that goes by time, and
    any policy of a foreign run, may remove a large share only by a plan that was confirmed."""
    guessed: bool = False
    """Whether the monitor is but a guess: neither its trainer nor a person named one. It protects its best like any
    other, and what goes beside it goes only by a plan that was confirmed."""
    named: bool = False
    """Whether a person named this very run in a policy, so that `include_unknown` holds."""
    degraded: str | None = None
    """Why what is seen of it is not to be believed now."""
    in_use: frozenset[str] = frozenset()
    """Ids of the checkpoints that some process has open."""
    linked: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """Checkpoint id to the symbolic links elsewhere that lead to it."""


OWN = Situation()
"""An own run, pruned by its own training."""
FOREIGN = Situation(own=False, enforced=False, own_policy=False)
"""A foreign run as long as nobody enforces anything."""
