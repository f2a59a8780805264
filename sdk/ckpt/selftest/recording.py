"""In the training: writes down what it is at each step, and ends or kills it where the plan of the self-test says.

Only the process that makes the recording is recorded, the first that has a training: neither its children nor a second
training in it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from ckpt.runs.rank import rank
from ckpt.selftest.plan import Plan, read_plan
from ckpt.selftest.recording_file import Digests, Event, Step, encode

Parts = Callable[[], Mapping[str, Any]]


class Recorder:
    """Writes the recording of this process."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._fd: int | None = None
        self._unwritten: list[bytes] = []
        self._pid = os.getpid()
        self._other = False
        self._owner: object = None
        self._second: object = None
        self._last: int | None = None
        self._told: object = None
        self._count = 0
        self._asks = False
        self._batches: list[Digests] = []
        self._saved: set[int] = set()
        self._read: set[int] = set()
        self._lock = threading.Lock()
        self._event("began")

    @property
    def here(self) -> bool:
        """Whether this process is, or may become, the one that is recorded, and no child that was forked from it."""
        return os.getpid() == self._pid and not self._other

    def claim(self) -> bool:
        """This process has a training: it is the one that is recorded, unless another was first."""
        if self.here and self._fd is None:
            try:
                self._fd = os.open(
                    self._plan.recording,
                    os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC,
                    0o600,
                )
            except FileExistsError:
                self._other = True
                return False
            self._write(b"".join(self._unwritten))
        return self.here

    def batch(self, batch: Any) -> None:
        """A loader gives this batch to the training now."""
        if self.here:
            from ckpt.selftest.hashing import digests

            found = digests(batch)
            with self._lock:
                self._batches.append(found)

    def step(self, owner: object, step: int, epoch: float, parts: Parts, told: object = None) -> None:
        """The training is at a step; what it is made of is asked for once. Does not return at the last step.

        `owner` tells several trainings of one process apart: the first that makes a step is recorded. A step of which
        something else is `told` than before, as at the end of an epoch, is recorded again; None is nothing else.
        """
        if told is None and self._last is None and step in self._read:
            # What was just loaded is saved again.
            return
        again = step == self._last and told is not None and told != self._told
        if not self.claim() or (self._last is not None and step <= self._last and not again and self._owner is owner):
            return
        self._owner = self._owner or owner
        if self._owner is not owner:
            if self._second is None:
                self._second = owner
                self._event("another")
            return
        from ckpt.selftest.hashing import digest, digests

        found = dict(parts())
        # A generator is one thing, whatever its state is made of.
        hashed = {"random": {name: digest(state) for name, state in found.pop("random").items()}}
        hashed["metrics"] = {name: repr(value) for name, value in found.pop("metrics", {}).items()}
        hashed |= {name: digests(part) for name, part in found.items()}
        with self._lock:
            batches, self._batches = self._batches, []
        self._write(encode(Step(step=step, epoch=epoch, parts=hashed, batches=batches)))
        self._last, self._told = step, told
        if again:
            return
        self._count += 1
        plan = self._plan
        if plan.kill_at is not None and step >= plan.kill_at:
            self._event("killed", step)
            os.kill(self._pid, signal.SIGKILL)
        enough = plan.most_steps is not None and self._count >= plan.most_steps
        if enough or (plan.end_at is not None and step >= plan.end_at):
            self._event("ended", step)
            _leave()

    def wants_save(self, step: int) -> bool:
        """Whether the plan asks for a checkpoint of this step that was not saved yet."""
        if not self._asks:
            self._asks = True
            self._event("asks", step)
        return self.here and step == self._plan.save_at and step not in self._saved

    def forced(self, step: int) -> None:
        """The self-test has the training save this step."""
        self._event("forced", step)

    def saved(self, step: int, *, positions: bool) -> None:
        """A checkpoint of this step is durable; `positions` says whether it has those of loaders."""
        self._saved.add(step)
        self._event("saved", step, positions=positions)

    def read(self, step: int, *, positions: bool = False) -> None:
        """The training loaded a checkpoint of this step; `positions` says whether loaders were given theirs."""
        self._read.add(step)
        self._event("read", step, positions=positions)

    def _event(self, what: Any, step: int | None = None, *, positions: bool = False) -> None:
        if self.here:
            self._write(encode(Event(what=what, step=step, positions=positions)))

    def _write(self, line: bytes) -> None:
        with self._lock:
            if self._fd is None:
                self._unwritten.append(line)
                return
            while line:
                line = line[os.write(self._fd, line) :]


@cache
def recorder() -> Recorder | None:
    """The recorder of this process; None when no self-test goes on, and for ranks that write nothing."""
    plan = read_plan()
    return None if plan is None or rank() > 0 else Recorder(plan)


def _leave() -> None:
    """Ends the process at once: threads, workers and handlers at exit could keep it for as long as they like."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            continue
    os._exit(0)
