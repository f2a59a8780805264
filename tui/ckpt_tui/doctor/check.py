"""One judgement: what was looked at, how it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True)
class Check:
    """A judgement on one thing. `hint` says what to do, where there is something to do."""

    name: str
    level: Level
    detail: str
    hint: str | None = None
    subject: str | None = None
    """The path or the like that it is about, where several things have one name."""

    def to_json(self) -> dict[str, Any]:
        """The check as `ckpt doctor --json` shows it; a warning is not a failure."""
        return {
            "name": self.name,
            "ok": self.level != "wrong",
            "level": self.level,
            "subject": self.subject,
            "detail": self.detail,
            "hint": self.hint,
        }


def ok(name: str, detail: str, *, subject: str | None = None) -> Check:
    """It is as it should be."""
    return Check(name, "ok", detail, subject=subject)


def warning(name: str, detail: str, hint: str | None = None, *, subject: str | None = None) -> Check:
    """It works, but somebody should know."""
    return Check(name, "warning", detail, hint, subject)


def wrong(name: str, detail: str, hint: str | None = None, *, subject: str | None = None) -> Check:
    """It does not work, or what is told cannot be believed."""
    return Check(name, "wrong", detail, hint, subject)
