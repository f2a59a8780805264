"""The whole self-test: an uninterrupted training, one that is killed, the same one resumed, and what differs first.

Where nothing is said of where to save and to kill, and nothing differed, a training that saves by itself is killed and
resumed once more, behind a save of its own.

Nothing of it stays, and no run of the user's is written: see `ckpt.runs.redirecting`.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ckpt.encoding import printable
from ckpt.exceptions import CkptError, OperationError, UsageError
from ckpt.paths import RunPaths
from ckpt.runs.redirecting import private_disk
from ckpt.selftest import comparing, starting
from ckpt.selftest.choosing import Moments, choose, choose_own
from ckpt.selftest.commands import Command
from ckpt.selftest.plan import Plan
from ckpt.selftest.recording_file import Recording, read
from ckpt.selftest.refusing import began_again, failed, last_lines, not_resumed, once_more, refuse_blind
from ckpt.selftest.starting import Ended
from ckpt.selftest.verdict import Tried, Verdict, verdict_of

STEPS = 30
TIMEOUT_S = 600.0
Say = Callable[[str], None]


def selftest(
    command: Command,
    *,
    steps: int = STEPS,
    save_at: int | None = None,
    kill_at: int | None = None,
    resume_with: Sequence[str] = (),
    timeout_s: float = TIMEOUT_S,
    say: Say = lambda text: None,
) -> Verdict:
    """Starts a training three to five times and compares what it was at each step, bit for bit.

    `steps` is the most that it makes; `save_at` and `kill_at` are chosen by chance when they are None. When both are,
    a save of the training's own is tried too, at the end of an epoch where there is one. `resume_with`
    are further arguments of the third start, in which `{run}` stands for the directory of the run that was killed.
    `timeout_s` is the time of one start in seconds; `say` is told how far it is.

    Raises UsageError for steps that the training does not have, and for one that does not save or resume;
    OperationError with the last lines of a training that failed, or that took too long.
    """
    if os.name != "posix":
        raise UsageError("a self-test kills a process, which works on POSIX systems only")
    if steps < 2:
        raise UsageError(f"--steps is {steps}, and has to be 2 or more: one step to save and one to compare")
    with tempfile.TemporaryDirectory(prefix="ckpt-selftest-", ignore_cleanup_errors=True) as private:
        starts = _Starts(command, Path(private).resolve(), timeout_s, say)
        reference = starts.reference(steps)
        chance = random.Random()
        first = choose(reference, save_at, kill_at, chance)
        killed = starts.killed(first, reference)
        tried = [starts.resumed(first, reference, killed, resume_with)]
        own = choose_own(reference, first, chance)
        if own is not None and save_at is None and kill_at is None and tried[0].found.difference is None:
            starts.remove(first)
            try:
                killed = starts.killed(own, reference)
                # A rule of time has it save elsewhere each time.
                if own.save_at in killed.of("saved"):
                    tried.append(starts.resumed(own, reference, killed, resume_with))
            except CkptError as error:
                raise once_more(error, exact_at=tried[0].saved_at, save_at=own.save_at) from error
        return verdict_of(reference, tried)


class _Starts:
    """The starts of one self-test."""

    def __init__(self, command: Command, private: Path, timeout_s: float, say: Say) -> None:
        self._command = command
        self._private = private
        self._timeout_s = timeout_s
        self._say = say

    def reference(self, steps: int) -> Recording:
        self._say(f"1/3 training without a stop: {self._command}")
        recording, ended = self._start(self._command, self._place(), "reference", most_steps=steps)
        if not recording.has("ended") and ended.code != 0:
            raise failed("first", ended)
        if not recording.steps:
            raise UsageError(
                "the script made no step that could be seen" + ("" if recording.has("began") else ", nor a run"),
                hint="it needs a ckpt.TrainingHook, or a ckpt.CheckpointManager that is asked or saves at its steps",
            )
        return recording

    def killed(self, moments: Moments, reference: Recording) -> Recording:
        saved_at, kill_at = moments.save_at, moments.kill_at
        if moments.by_itself:
            where = "at the end of an epoch, " if saved_at in reference.epoch_ends() else ""
            self._say(
                f"2/3 again, saved by itself {where}at step {saved_at} and killed at step {kill_at} of {reference.last}"
            )
            plan = {"kill_at": kill_at}
        else:
            self._say(f"2/3 training, saved at step {saved_at} and killed at step {kill_at} of {reference.last}")
            plan = {"kill_at": kill_at, "save_at": saved_at}
        recording, ended = self._start(self._command, self._place(moments), "killed", **plan)
        if not recording.has("killed"):
            if ended.code:
                raise failed("second", ended)
            raise OperationError(
                f"the second start ended at step {recording.last}, and the first went beyond step {kill_at}",
                hint=last_lines(ended),
            )
        if not recording.of("saved") and not moments.by_itself:
            raise UsageError(
                f"the script saved no checkpoint until step {kill_at}",
                hint="save whenever CheckpointManager.should_save_checkpoint(state) says so",
            )
        return recording

    def resumed(self, moments: Moments, reference: Recording, killed: Recording, resume_with: Sequence[str]) -> Tried:
        """Goes on with the one that was killed, unless it was another training from its start, and compares."""
        passed = comparing.passed_over(reference, killed)
        found = comparing.compare(reference, killed, between="starts", passed=passed, until=moments.kill_at)
        if found.difference is not None:
            return Tried(moments=moments, found=found, passed=passed, killed=killed)
        resumed = self._go_on(self._place(moments), reference, killed, resume_with)
        found = comparing.compare(reference, resumed, between="resume", passed=passed, behind=resumed.went_on_from)
        refuse_blind(found)
        found = comparing.with_length(found, reference, resumed)
        return Tried(moments=moments, found=found, passed=passed, killed=killed, resumed=resumed)

    def remove(self, moments: Moments) -> None:
        """What a trial left on disk is not needed any more."""
        shutil.rmtree(self._place(moments), ignore_errors=True)

    def _place(self, moments: Moments | None = None) -> Path:
        """The directory of the uninterrupted training, or of the one that is killed."""
        place = self._private / ("uninterrupted" if moments is None else f"interrupted-{moments.save_at}")
        place.mkdir(exist_ok=True)
        return place

    def _go_on(self, place: Path, reference: Recording, killed: Recording, resume_with: Sequence[str]) -> Recording:
        run = _run_in(private_disk(place / "plan.json"))
        command = self._command.plus([word.replace("{run}", str(run)) for word in resume_with])
        self._say(f"3/3 going on: {command}")
        last = reference.last or 0
        end_at = last if reference.has("ended") else last + 1
        recording, ended = self._start(command, place, "resumed", end_at=end_at)
        if not recording.has("ended") and ended.code != 0:
            raise failed("third", ended)
        if recording.went_on_from not in killed.of("saved"):
            raise not_resumed(run != _run_in(private_disk(place / "plan.json")), bool(resume_with), ended)
        if not recording.steps:
            raise OperationError("the third start made no step", hint=last_lines(ended))
        if comparing.began_anew(reference, recording):
            raise began_again(recording)
        return recording

    def _start(self, command: Command, private: Path, name: str, **plan: int) -> tuple[Recording, Ended]:
        path = private / f"{name}.jsonl"
        try:
            ended = starting.start(command, Plan(recording=str(path), **plan), private, self._timeout_s)
        except OSError as error:
            raise OperationError(f"{printable(command.argv[0])} cannot be started: {error.strerror}") from error
        recording = read(path)
        if ended.code is None:
            raise OperationError(
                f"the script was still running after {self._timeout_s:g} s, "
                + ("before its first step" if recording.last is None else f"at step {recording.last}"),
                hint=f"--timeout gives it more time\n{last_lines(ended)}",
            )
        return recording, ended


def _run_in(disk: Path) -> Path:
    """The newest run that a training made below a directory."""
    made = sorted(disk.rglob(RunPaths(disk).manifest.name), key=lambda path: path.stat().st_mtime_ns)
    return made[-1].parent if made else disk
