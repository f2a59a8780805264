"""What a restore did."""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

from ckpt.encoding import printable
from ckpt.formats.resuming import NONE_GIVEN
from ckpt.records import Record
from ckpt.saving.envelope.content import Phase
from ckpt.saving.envelope.migration import Migration

_SHOWN = 10
"""How many of one kind are named; of the rest, their number."""


class SkippedTensor(Record, frozen=True, kw_only=True):
    """A tensor that was not restored, and why."""

    name: str
    saved: tuple[int, ...] | None
    """Shape in the checkpoint; None when it is not there."""
    expected: tuple[int, ...] | None
    """Shape in the model; None when it has no such tensor."""
    why: str = ""
    """What else speaks against it, where the shapes agree."""

    def __str__(self) -> str:
        if self.why:
            return f"{self.name}: {self.why}"
        if self.saved is None:
            return f"{self.name}: not in the checkpoint"
        if self.expected is None:
            return f"{self.name}: not in the model"
        return f"{self.name}: {list(self.saved)} in the checkpoint, {list(self.expected)} in the model"


def listed(items: Iterable[object]) -> str:
    """The first items as a text, and how many more there are."""
    texts = [str(item) for item in items]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more


class RestoreReport(Record, frozen=True, kw_only=True):
    """What a restore did; `str()` says it in a few lines."""

    checkpoint: str
    """Id of the checkpoint; "" for a file that was loaded by hand."""
    path: str
    epoch: int
    global_step: int
    epoch_finished: bool | None
    """Whether the checkpoint was made at the end of its epoch; None when the training did not tell."""
    phase: Phase | None = None
    """Where in its epoch the training stood: in its training, its validation, or between two; None when that is not
    known."""
    loaded: tuple[str, ...]
    skipped: tuple[SkippedTensor, ...] = ()
    converted: tuple[str, ...] = ()
    """Tensors whose dtype in the model is another than in the checkpoint."""
    optimizers: int = 0
    schedulers: int = 0
    loaders: int = 0
    scaler: bool = False
    gradients: int = 0
    """How many parameters have the gradients back that counted, in the midst of an accumulation."""
    registered: tuple[str, ...] = ()
    """Names of registered objects whose states are back."""
    random: bool = False
    """Whether the random states went back into their generators."""
    start_of_fork: bool = False
    """Whether it is what a forked run starts from: its numbers are the parent's, and the fork counts from 0."""
    warm_start: bool = False
    """Whether weights alone were wanted: nothing else was restored, and the training counts from 0."""
    notes: tuple[str, ...] = ()
    """What was asked for or saved and was not restored, as sentences."""
    left_out: dict[str, str] = msgspec.field(default_factory=dict)
    """What the checkpoint never held, by part of the training, and why; as it was told at the save."""
    resumes_by: dict[str, str] = msgspec.field(default_factory=dict)
    """Loader to how it goes on: `position` and `state` at once, `skipping` by reading and dropping what came before."""
    caveats: tuple[str, ...] = ()
    """Why the training may not go on to the bit as if it had not stopped, as sentences; () when nothing is known."""
    slow: tuple[str, ...] = ()
    """Why it takes its time before it goes on, as sentences."""
    migration: Migration | None = None
    """How the file was read, when it is of an older layout or of another maker."""

    @property
    def next_epoch(self) -> int:
        """The epoch to go on with."""
        if self.start_of_fork or self.warm_start:
            return 0
        return self.epoch + 1 if self.epoch_finished else self.epoch

    @property
    def next_step(self) -> int:
        """The global step to count on from."""
        return 0 if self.start_of_fork or self.warm_start else self.global_step

    @property
    def fully_restored(self) -> bool:
        """Whether all that was saved and asked for is back, bit for bit."""
        return not self.skipped and not self.converted and not self.notes

    def __str__(self) -> str:
        lines = [
            f"{printable(os.path.basename(self.path))}: epoch {self.epoch}, step {self.global_step}; "
            f"goes on with epoch {self.next_epoch}, step {self.next_step}",
            f"restored: {', '.join(self._restored()) or 'nothing'}",
        ]
        reasons = [f"{name}: {why}" for name, why in self.left_out.items() if why != NONE_GIVEN]
        for told, items in (
            ("skipped", self.skipped),
            ("converted to the model's dtype", self.converted),
            ("not restored", self.notes),
            ("left out at the save", reasons),
            ("but", self.caveats),
            ("slow", self.slow),
            ("read as", () if self.migration is None else (self.migration,)),
        ):
            if items:
                lines.append(f"{told}: {printable(listed(items))}")
        return "\n".join(lines)

    def _restored(self) -> list[str]:
        counts = [("tensor", len(self.loaded)), ("optimizer", self.optimizers), ("scheduler", self.schedulers)]
        counts += [("scaler", int(self.scaler)), ("loader", self.loaders), ("gradient", self.gradients)]
        found = [f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts if count]
        return [*found, *map(printable, self.registered), *(["random states"] if self.random else [])]
