"""What a mark that is asked for means: the fields that are written, and the mark that takes it back. Pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ckpt import late_metrics, marks
from ckpt.encoding import printable
from ckpt.exceptions import UsageError
from ckpt.marks import Late, Marks
from ckpt.records import Checkpoint

Said = Mapping[str, Any]


@dataclass(frozen=True)
class Meant:
    """A mark: its fields, and the kind and fields of its inverse."""

    fields: dict[str, Any]
    inverse: dict[str, Any]


def meant(kind: str, said: Said, checkpoint: Checkpoint, before: Marks) -> Meant:
    """The mark of a checkpoint that a request stands for, of one of KINDS. `before` is what holds until then.

    Raises UsageError for one that cannot be.
    """
    return _MEANINGS[kind](said, checkpoint, before)


def _tag(said: Said, checkpoint: Checkpoint, before: Marks) -> Meant:
    name = _tag_name(said)
    holder = before.tags.get(name)
    if holder is None:
        return Meant({"name": name}, {"kind": "untag", "name": name})
    inverse = {"kind": "tag", "checkpoint": holder, "name": name, "file": before.files.get(holder)}
    return Meant({"name": name}, inverse)


def _untag(said: Said, checkpoint: Checkpoint, before: Marks) -> Meant:
    name = _tag_name(said)
    if name not in checkpoint.tags:
        tags = [tag for tag in checkpoint.tags if not marks.RESERVED_TAG.match(tag)]
        raise UsageError(
            f"{printable(os.path.basename(checkpoint.path))} has no tag {name!r}",
            hint=f"it has: {', '.join(tags)}" if tags else "it has none",
        )
    return Meant({"name": name}, {"kind": "tag", "name": name})


def _pin(said: Said, checkpoint: Checkpoint, before: Marks) -> Meant:
    return Meant({"why": ""}, {"kind": "pin" if checkpoint.id in before.pins else "unpin"})


def _unpin(said: Said, checkpoint: Checkpoint, before: Marks) -> Meant:
    return Meant({}, {"kind": "pin" if checkpoint.id in before.pins else "unpin"})


def _note(said: Said, checkpoint: Checkpoint, before: Marks) -> Meant:
    text = said.get("text")
    fields = {"text": text if isinstance(text, str) else ""}
    return Meant(fields, {"kind": "note", "text": before.notes.get(checkpoint.id, "")})


def _metric(said: Said, checkpoint: Checkpoint, before: Marks) -> Meant:
    metrics, step = late_metrics.check_metrics(said.get("metrics")), late_metrics.check_step(said.get("step"))
    known = before.metrics.get(checkpoint.id, {})
    fields = {"metrics": metrics, "step": checkpoint.step if step is None else step}
    return Meant(fields, _again(list(metrics), known))


def _unmetric(said: Said, checkpoint: Checkpoint, before: Marks) -> Meant:
    names, known = said.get("names"), before.metrics.get(checkpoint.id, {})
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError("'names' has to be a list of metrics")
    late_metrics.check_attached(known, names)
    return Meant({"names": names}, _again(names, known))


def _again(names: list[str], known: Mapping[str, Late]) -> dict[str, Any]:
    """What makes metrics be again as they are known now: attached with these values, or not at all."""
    back = {name: known[name] for name in names if name in known}
    return {
        "kind": "unmetric",
        "names": names,
        "metrics": {name: late.value for name, late in back.items()},
        "steps": {name: late.step for name, late in back.items() if late.step is not None},
    }


def _tag_name(said: Said) -> str:
    name = said.get("name")
    if not isinstance(name, str) or not name:
        raise UsageError("a tag needs a name")
    return marks.check_tag(name)


_MEANINGS: dict[str, Callable[[Said, Checkpoint, Marks], Meant]] = {
    "tag": _tag,
    "untag": _untag,
    "pin": _pin,
    "unpin": _unpin,
    "note": _note,
    "metric": _metric,
    "unmetric": _unmetric,
}
KINDS = tuple(_MEANINGS)
"""All kinds of marks of checkpoints."""
