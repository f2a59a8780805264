"""What became of a file of an older layout: what was found where, and what the present layout has and it has not."""

from __future__ import annotations

import logging

import msgspec

from ckpt.records import Record

ADVICE = "save once to have it in the present layout"


class Migration(Record, frozen=True, kw_only=True):
    """How a file of another layout was read. The file itself stays as it is."""

    layout: str
    """Which layout it is of, in a few words."""
    found: dict[str, str] = msgspec.field(default_factory=dict)
    """Part of a training to the place in the file, such as `resume_state.dataloader_manager_state`."""
    missing: tuple[str, ...] = ()
    """Parts that the present layout has and this file has not."""
    unread: dict[str, str] = msgspec.field(default_factory=dict)
    """Places that hold something which cannot be used, and why."""
    advice: str = ADVICE
    level: int = logging.INFO
    """How loudly it is told, as in `logging`: a warning for layouts of the format that nobody writes any more."""

    def __str__(self) -> str:
        text = f"{self.layout}: " + ", ".join(f"{part} from {place}" for part, place in self.found.items())
        if self.missing:
            text += f"; without {', '.join(self.missing)}"
        for place, why in self.unread.items():
            text += f"; {place} is not used: {why}"
        return f"{text}; {self.advice}"
