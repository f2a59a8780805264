"""What of a training was captured, and what was left out and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import msgspec

from ckpt.records import Record


class CaptureReport(Record, frozen=True, kw_only=True):
    """Which parts of a training a checkpoint holds.

    Parts are called `model`, `optimizer`, `scheduler`, `scaler`, `loaders`, `metrics_history`, `config`, `rng.python`,
    `rng.numpy`, `rng.torch`, `rng.cuda`, `rng.ranks` (those of the other processes) and, where it was registered, by
    the name that it was registered under.
    """

    captured: tuple[str, ...] = ()
    left_out: dict[str, str] = msgspec.field(default_factory=dict)
    """Part to the reason, a few words."""

    def to_plain(self) -> dict[str, Any]:
        """The report as it stands in the file."""
        return {"captured": list(self.captured), "left_out": dict(self.left_out)}

    @classmethod
    def from_plain(cls, value: Any) -> Self | None:
        """The report in a file; None where there is none that can be read."""
        if not isinstance(value, Mapping):
            return None
        captured, left_out = value.get("captured"), value.get("left_out")
        return cls(
            captured=tuple(str(part) for part in captured) if isinstance(captured, list | tuple) else (),
            left_out={str(part): str(why) for part, why in left_out.items()} if isinstance(left_out, Mapping) else {},
        )
