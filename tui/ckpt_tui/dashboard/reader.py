"""The thread that reads: one mailbox in which a newer wish replaces the older, so nothing piles up and nothing starves.

Changes that come in bursts are answered at most ten times a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from ckpt.exceptions import CkptError, DaemonError
from ckpt.records import Checkpoint
from ckpt_tui.dashboard.columns import marks_of
from ckpt_tui.dashboard.feed import Feed
from ckpt_tui.dashboard.filtering import checkpoint_words, run_words
from ckpt_tui.dashboard.messages import CurvesRead, FeedBack, FeedLost, ReadFailed, ResumeRead, RunRead, RunsRead
from ckpt_tui.render.resuming import resume_text

if TYPE_CHECKING:
    from textual.message import Message

PING_S = 2.0
PACE_S = 0.1  # least time between two answers to changes


class Reader:
    """Reads what is wished for and posts it; lives in threads of its own, that end with the program."""

    def __init__(self, feed: Feed, post: Callable[[Message], object]) -> None:
        self._feed = feed
        self._post = post
        self._wake = threading.Condition()
        self._runs = False
        self._run: str | None = None
        self._curves: str | None = None
        self._resume: Checkpoint | None = None
        self._ahead: list[str] = []
        self._watched: str | None = None
        self._changed: set[str] = set()
        self._all_changed = False
        self._stopped = False
        self._lost = False
        self._paced_until = 0.0

    def start(self) -> None:
        """Starts reading and listening. Quitting must not wait for a daemon that hangs, so the threads are daemonic."""
        for name, target in (("reader", self._loop), ("listener", self._listen)):
            threading.Thread(target=target, name=f"dashboard-{name}", daemon=True).start()

    def stop(self) -> None:
        """Ends both threads soon."""
        with self._wake:
            self._stopped = True
            self._wake.notify_all()
        self._feed.close()

    def ask_runs(self) -> None:
        """Wishes for the list of runs."""
        with self._wake:
            self._runs = True
            self._wake.notify()

    def watch(self, run_id: str | None) -> None:
        """Wishes for one run with its curves now, and again whenever it changes."""
        with self._wake:
            self._watched = self._run = self._curves = run_id
            self._wake.notify()

    def ask_ahead(self, run_ids: Iterable[str]) -> None:
        """Wishes for runs that may be looked at next; read when nothing else is to be done."""
        with self._wake:
            self._ahead = list(run_ids)
            self._wake.notify()

    def ask_resume(self, checkpoint: Checkpoint) -> None:
        """Wishes for what a resume finds in a checkpoint."""
        with self._wake:
            self._resume = checkpoint
            self._wake.notify()

    def changed(self, run_ids: frozenset[str] | None) -> None:
        """Runs changed (None: any); what is shown of them is read again, soon."""
        with self._wake:
            if run_ids is None:
                self._all_changed = True
            else:
                self._changed |= run_ids
            self._wake.notify()

    def _listen(self) -> None:
        while not self._stopped:
            try:
                for change in self._feed.changes():
                    self.changed(change)
            except (CkptError, OSError):
                # The pings of the other thread find out whether the source is lost.
                time.sleep(PING_S / 2)
            else:
                return

    def _loop(self) -> None:
        pinged = time.monotonic()
        while True:
            with self._wake:
                if not self._ready():
                    self._wake.wait(self._patience(pinged))
                if self._stopped:
                    return
                self._take_changes()
                job = self._next()
            if job is not None:
                self._read(*job)
            elif time.monotonic() - pinged >= PING_S:
                self._ping()
                pinged = time.monotonic()

    def _ready(self) -> bool:
        return bool(self._stopped or self._runs or self._run or self._curves or self._resume or self._ahead)

    def _patience(self, pinged: float) -> float:
        now = time.monotonic()
        until = pinged + PING_S
        if self._changed or self._all_changed:
            until = min(until, self._paced_until)
        return max(0.005, until - now)

    def _take_changes(self) -> None:
        now = time.monotonic()
        if not (self._changed or self._all_changed) or now < self._paced_until:
            return
        self._paced_until = now + PACE_S
        self._runs = True
        if self._watched is not None and (self._all_changed or self._watched in self._changed):
            self._run = self._curves = self._watched
        self._changed, self._all_changed = set(), False

    def _next(self) -> tuple[str, Callable[[], Message]] | None:
        """What to read now, with the id of the run that it is about ("" for all)."""
        if self._run:
            run_id, self._run = self._run, None
            return run_id, partial(self._read_run, run_id)
        if self._runs:
            self._runs = False
            return "", self._read_runs
        if self._curves:
            run_id, self._curves = self._curves, None
            return run_id, partial(self._read_curves, run_id)
        if self._resume is not None:
            checkpoint, self._resume = self._resume, None
            return checkpoint.run, partial(self._read_resume, checkpoint)
        if self._ahead:
            run_id = self._ahead.pop(0)
            return run_id, partial(self._read_run, run_id)
        return None

    def _read_runs(self) -> Message:
        runs = self._feed.runs()
        return RunsRead(runs, [run_words(run) for run in runs], self._feed.standing())

    def _read_run(self, run_id: str) -> Message:
        detail = self._feed.run(run_id)
        words = [checkpoint_words(c) for c in detail.checkpoints]
        return RunRead(detail, words, marks_of(detail.checkpoints))

    def _read_curves(self, run_id: str) -> Message:
        return CurvesRead(run_id, self._feed.curves(run_id))

    def _read_resume(self, checkpoint: Checkpoint) -> Message:
        resume = self._feed.resume(checkpoint)
        return ResumeRead(checkpoint.id, "" if resume is None else resume_text(resume))

    def _read(self, run_id: str, read: Callable[[], Message]) -> None:
        try:
            message = read()
        except DaemonError as error:
            self._tell_lost(error)
            return
        except (CkptError, OSError) as error:
            self._post(ReadFailed(run_id, str(error)))
            return
        self._tell_back()
        self._post(message)

    def _ping(self) -> None:
        try:
            self._feed.ping()
        except (CkptError, OSError) as error:
            self._tell_lost(error)
        else:
            self._tell_back()

    def _tell_lost(self, error: Exception) -> None:
        if not self._lost:
            self._lost = True
            self._post(FeedLost(str(error)))

    def _tell_back(self) -> None:
        if self._lost:
            self._lost = False
            self._post(FeedBack())
            self.changed(None)
