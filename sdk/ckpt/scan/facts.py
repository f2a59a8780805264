"""What the checkpoints of a foreign run say of it: framework, configuration, what it is compared by. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ckpt import refs
from ckpt.formats import Inspection
from ckpt.records import Checkpoint
from ckpt.scan.failing import UNREADABLE
from ckpt.scan.live import Reached
from ckpt.scan.recording import Recorded

_ANYBODYS = frozenset({"torch", "safetensors", "unknown"})
"""Frameworks that say no more than how a file is written."""
_BY_NAME = frozenset({"torch", "safetensors", "transformers"})
"""Frameworks whose files may be models or data as well, when no state of a training is in them."""


def framework(checkpoints: Sequence[Checkpoint]) -> str:
    """The framework that wrote most of the checkpoints; of equals the one that wrote the newest."""
    known = [c.framework for c in refs.newest_first(checkpoints) if c.fingerprint != UNREADABLE]
    telling = [name for name in known if name not in _ANYBODYS] or [n for n in known if n != "unknown"] or known
    return Counter(telling).most_common(1)[0][0] if telling else "unknown"


def exports(recorded: Sequence[Recorded]) -> set[str]:
    """Ids of those that are nothing to go on from, however new they are: models for use, and data.

    That is what has but a number in its name, and in a run whose others know how far they are, what is weights and
    nothing else, or unknown to all.
    """
    whole = {made.checkpoint.id: made for made in recorded if made.checkpoint.state == "complete"}
    found = {name for name, made in whole.items() if made.inspection is not None and _only_numbered(made.inspection)}
    lost = [made for made in recorded if made.checkpoint.step is None and made.checkpoint.epoch is None]
    if len(lost) == len(recorded):
        return found
    return found | {
        made.checkpoint.id
        for made in lost
        if made.checkpoint.id in whole and made.inspection is not None and _only_weights(made.inspection)
    }


def _only_numbered(inspection: Inspection) -> bool:
    """Whether no more than its name speaks for a state of a training: data may be called `epoch_3.pt` too."""
    if inspection.framework not in _BY_NAME or inspection.resume.get("optimizer"):
        return False
    told = {name for name in ("step", "epoch") if getattr(inspection, name) is not None}
    return bool(told) and (told <= set(inspection.from_name) or not inspection.resume.get("model"))


def _only_weights(inspection: Inspection) -> bool:
    unknown = inspection.format == "unknown"
    return unknown or (bool(inspection.resume.get("model")) and not inspection.resume.get("optimizer"))


def config(recorded: Sequence[Recorded]) -> dict[str, Any]:
    """The configuration in the newest checkpoint that holds one; exported models are asked last."""
    whose = framework([made.checkpoint for made in recorded])
    for_use = exports(recorded)
    going_on = _newest_first([made for made in recorded if made.checkpoint.id not in for_use])
    exported = _newest_first([made for made in recorded if made.checkpoint.id in for_use])
    holding = [inspection for inspection in (*going_on, *exported) if inspection.config]
    first = [inspection for inspection in going_on if inspection.config and inspection.framework == whose]
    return next((inspection.config for inspection in (*first, *holding)), {})


def monitor(recorded: Sequence[Recorded]) -> dict[str, Any]:
    """The metric that the trainer compares by, and its direction, as fields of a policy; {} where it names none."""
    for inspection in _newest_first(recorded):
        if inspection.monitor is not None:
            return {"monitor": inspection.monitor, "mode": inspection.mode or refs.mode_for(inspection.monitor)}
    return {}


def likely_monitor(checkpoints: Sequence[Checkpoint]) -> dict[str, Any]:
    """A metric that a run may be compared by, as fields of a policy: the validation loss, else the loss; {} without."""
    known = {name for checkpoint in checkpoints for name in checkpoint.metrics}
    if any(checkpoint.loss is not None for checkpoint in checkpoints):
        known.add("loss")
    name = next((name for name in ("val_loss", "eval_loss", "valid_loss", "loss") if name in known), None)
    return {} if name is None else {"monitor": name, "mode": "min"}


def furthest(checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
    """The newest checkpoint that knows how far it is; where none does, the newest. None where there is none."""
    ordered = refs.newest_first(checkpoints)
    return next((c for c in ordered if c.step is not None or c.epoch is not None), ordered[0] if ordered else None)


def position(newest: Checkpoint | None, reached: Reached | None) -> tuple[float | None, int | None, float | None]:
    """Epoch, step and loss of a run: what its metric files tell when they are younger than its newest checkpoint."""
    if newest is None or reached is None or reached.at < newest.saved_at:
        known = reached if newest is None else newest
        return (None, None, None) if known is None else (known.epoch, known.step, known.loss)
    # What was logged at step n is saved as n + 1 where steps are counted from 0.
    is_same = newest.step is not None and reached.step == newest.step - 1
    return (
        newest.epoch if reached.epoch is None else reached.epoch,
        newest.step if is_same or reached.step is None else reached.step,
        newest.loss if reached.loss is None else reached.loss,
    )


def _newest_first(recorded: Sequence[Recorded]) -> list[Inspection]:
    read = {made.checkpoint.id: made.inspection for made in recorded if made.inspection is not None}
    return [read[c.id] for c in refs.newest_first(made.checkpoint for made in recorded if made.checkpoint.id in read)]
