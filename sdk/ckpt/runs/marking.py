"""What the user says of a run's checkpoints through its handle, written where the daemon reads it too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckpt import late_metrics, marks
from ckpt.records import Checkpoint
from ckpt.runs.looking import Looking


class Marking(Looking):
    """The marks of a run; on ranks that write nothing they change nothing."""

    def tag(self, ref: Any, name: str) -> Checkpoint:
        """Tags a checkpoint, which protects it. Raises AddressError, UsageError for a reserved name, OSError."""
        return self._mark(ref, "tag", name=marks.check_tag(name))

    def untag(self, ref: Any, name: str) -> Checkpoint:
        """Takes a tag away. Raises AddressError, OSError."""
        return self._mark(ref, "untag", name=name)

    def pin(self, ref: Any, why: str = "") -> Checkpoint:
        """Protects a checkpoint from every policy. Raises AddressError, OSError."""
        return self._mark(ref, "pin", why=why)

    def unpin(self, ref: Any) -> Checkpoint:
        """Takes the protection of `pin` away. Raises AddressError, OSError."""
        return self._mark(ref, "unpin")

    def note(self, ref: Any, text: str) -> Checkpoint:
        """Sets the note of a checkpoint; "" removes it. Raises AddressError, OSError."""
        return self._mark(ref, "note", text=text)

    def add_metrics(self, ref: Any, metrics: Mapping[str, float], *, step: int | None = None) -> Checkpoint:
        """Attaches evaluation results to a saved checkpoint; they stand before saved values of the same names.

        `step` is what they were measured at; None is the checkpoint's own. Ranks and the tags that follow them move at
        once, and what was best before may be removed after the next save. Raises AddressError, UsageError for an
        unusable name, value or step, OSError.
        """
        given, at = late_metrics.check_metrics(metrics), late_metrics.check_step(step)
        found = self.checkpoint(ref)
        return self._mark(found, "metric", metrics=given, step=found.step if at is None else at)

    def remove_metrics(self, ref: Any, *names: str) -> Checkpoint:
        """Takes attached metrics away; saved values of these names hold again.

        Raises AddressError, UsageError for a metric that was not attached, OSError.
        """
        found = self.checkpoint(ref)
        if not self.silent:
            late_metrics.check_attached(marks.read(self.paths.marks).of(found.id).metrics, names)
        return self._mark(found, "unmetric", names=list(names))

    def _mark(self, ref: Any, kind: str, **fields: Any) -> Checkpoint:
        found = self.checkpoint(ref)
        if not self.silent:
            marks.append(self.paths.marks, kind, found.id, file=Path(found.path).name, **fields)
        return self.checkpoint(found)
