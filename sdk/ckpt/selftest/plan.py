"""What one start of a training is to do in a self-test: a file that the training's process finds by a variable."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ckpt.records import Record
from ckpt.runs.redirecting import VARIABLE


class Plan(Record, frozen=True, kw_only=True):
    """One start of a training. Steps are counted as the training's states count them."""

    recording: str
    """The file to write; the first process that makes it is the one that is recorded."""
    most_steps: int | None = None
    """End after this many steps."""
    end_at: int | None = None
    """End after this step."""
    kill_at: int | None = None
    """Kill this process after this step, without a word."""
    save_at: int | None = None
    """Save after this step, whatever the rules say."""


def write_plan(path: Path, plan: Plan) -> None:
    """Writes a plan where `read_plan` finds it. Raises OSError."""
    path.write_bytes(msgspec.json.encode(plan))


def read_plan() -> Plan | None:
    """The plan of this process; None when no self-test goes on. Raises OSError and ValueError for a broken one."""
    path = os.environ.get(VARIABLE)
    return msgspec.json.decode(Path(path).read_bytes(), type=Plan) if path else None
