"""What threads tell the screen: results of reads and acts. Only handlers of these touch widgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual.message import Message

from ckpt.records import Run
from ckpt_tui.dashboard.acts import Act
from ckpt_tui.dashboard.feed import Curves, RunDetail, Standing
from ckpt_tui.dashboard.widgets.chart import Mark


@dataclass
class RunsRead(Message):
    """All runs, as they are now, with their search words and how they stand."""

    runs: list[Run]
    words: list[str]
    standing: Standing


@dataclass
class RunRead(Message):
    """One run with its checkpoints, their search words and their marks below the curve."""

    detail: RunDetail
    words: list[str]
    marks: list[Mark]


@dataclass
class CurvesRead(Message):
    """The curves of one run."""

    run_id: str
    curves: Curves


@dataclass
class ResumeRead(Message):
    """What a resume finds in a checkpoint, in words; "" where that cannot be told."""

    checkpoint_id: str
    text: str


@dataclass
class ReadFailed(Message):
    """A read failed while the source is there; `run_id` is "" for the list of runs."""

    run_id: str
    text: str


@dataclass
class FeedLost(Message):
    """The source does not answer."""

    text: str


@dataclass
class FeedBack(Message):
    """The source answers again."""


@dataclass
class Performed(Message):
    """An act is done."""

    act: Act
    text: str


@dataclass
class ActFailed(Message):
    """An act could not be done."""

    act: Act
    text: str


@dataclass
class Filtered(Message):
    """Rows that a costly query let through; `ticket` tells for which keystroke."""

    table: str
    ticket: int
    rows: list[Any]


@dataclass
class UndoKnown(Message):
    """The undo of the latest act, for a person to confirm; None when there is nothing."""

    act: Act | None
