"""What of a training was captured, and what was left out and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import msgspec

from ckpt.records import Record


class CaptureReport(Record, frozen=True, kw_only=True):
    """Which parts of a training a checkpoint holds.

    Parts are called `model`, `optimizer`, `scheduler`, `scaler`, `loaders`, `metrics_history`, `config`, `rng.python`,
    `rng.numpy`, `rng.torch`, `rng.cuda`, `gradients`, `early_stopping`, `rng.ranks` and `loaders.ranks` (those of the
    other processes) and, where it was registered, by the name that it was registered under.
    """

    captured: tuple[str, ...] = ()
    left_out: dict[str, str] = msgspec.field(default_factory=dict)
    """Part to the reason, a few words."""
    resumes_by: dict[str, str] = msgspec.field(default_factory=dict)
    """Loader to how it goes on: `position` and `state` at once, `skipping` by reading and dropping what came before."""
    caveats: tuple[str, ...] = ()
    """Why a training that goes on from here may not be the same to the bit, as sentences; () when nothing is known."""
    slow: tuple[str, ...] = ()
    """Why it takes its time before it goes on, as sentences."""

    def to_plain(self) -> dict[str, Any]:
        """The report as it stands in the file."""
        return {
            "captured": list(self.captured),
            "left_out": dict(self.left_out),
            "resumes_by": dict(self.resumes_by),
            "caveats": list(self.caveats),
            "slow": list(self.slow),
        }

    @classmethod
    def from_plain(cls, value: Any) -> Self | None:
        """The report in a file; None where there is none that can be read."""
        if not isinstance(value, Mapping):
            return None
        return cls(
            captured=_texts(value.get("captured")),
            left_out=_by_name(value.get("left_out")),
            resumes_by=_by_name(value.get("resumes_by")),
            caveats=_texts(value.get("caveats")),
            slow=_texts(value.get("slow")),
        )


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list | tuple) else ()


def _by_name(value: Any) -> dict[str, str]:
    return {str(name): str(item) for name, item in value.items()} if isinstance(value, Mapping) else {}
