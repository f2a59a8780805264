"""The whole self-test: an uninterrupted training, one that is killed, the same one resumed, and what differs first.

Nothing of it stays, and no run of the user's is written: see `ckpt.runs.redirecting`.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ckpt.encoding import printable
from ckpt.exceptions import OperationError, UsageError
from ckpt.paths import RunPaths
from ckpt.records import Record
from ckpt.runs.redirecting import private_disk
from ckpt.selftest import comparing, guidance, starting
from ckpt.selftest.choosing import Moments, choose
from ckpt.selftest.commands import Command
from ckpt.selftest.comparing import Comparison, Difference
from ckpt.selftest.plan import Plan
from ckpt.selftest.recording_file import Recording, read
from ckpt.selftest.starting import Ended

STEPS = 30
TIMEOUT_S = 600.0
Say = Callable[[str], None]


class Verdict(Record, frozen=True, kw_only=True):
    """What a self-test found."""

    exact: bool
    steps: int
    """How many steps the uninterrupted training made."""
    saved_at_step: int
    """The step of the checkpoint that was resumed from, or would have been."""
    killed_at_step: int
    compared_steps: int
    """How many steps were compared behind the resume, the one that differs included."""
    first_difference: Difference | None
    notes: tuple[str, ...]
    """What the difference usually means, and what was not compared."""

    def to_json(self) -> dict[str, Any]:
        """The shape of `ckpt selftest --json`."""
        found = self.first_difference
        return {
            "exact": self.exact,
            "steps": self.steps,
            "saved_at_step": self.saved_at_step,
            "killed_at_step": self.killed_at_step,
            "compared_steps": self.compared_steps,
            "first_difference": None
            if found is None
            else {
                "step": found.step,
                "what": found.what,
                "name": found.name,
                "reference": found.reference,
                "resumed": found.resumed,
                "between": found.between,
            },
            "notes": list(self.notes),
        }


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
    """Starts a training three times and compares what it was at each step, bit for bit.

    `steps` is the most that it makes; `save_at` and `kill_at` are chosen by chance when they are None. `resume_with`
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
        trial = _Trial(command, Path(private).resolve(), timeout_s, say)
        reference = trial.reference(steps)
        moments = choose(reference, save_at, kill_at, random.Random())
        killed = trial.killed(moments, reference)
        unseeded = comparing.unseeded(reference, killed)
        told = guidance.seeding(comparing.moving(reference, unseeded))
        notes = () if told is None else (told,)
        starts = comparing.compare(reference, killed, between="starts", unseeded=unseeded, until=moments.kill_at)
        if starts.difference is not None:
            return _verdict(reference, moments, starts, notes)
        resumed = trial.resumed(moments, reference, killed, resume_with)
        found = comparing.compare(reference, resumed, between="resume", unseeded=unseeded)
        return _verdict(reference, moments, _with_length(found, reference, resumed), notes, resumed)


class _Trial:
    """The starts of one self-test."""

    def __init__(self, command: Command, private: Path, timeout_s: float, say: Say) -> None:
        self._command = command
        self._timeout_s = timeout_s
        self._say = say
        self._uninterrupted = private / "uninterrupted"
        self._interrupted = private / "interrupted"
        for directory in (self._uninterrupted, self._interrupted):
            directory.mkdir()

    def reference(self, steps: int) -> Recording:
        self._say(f"1/3 training without a stop: {self._command}")
        recording, ended = self._start(self._command, self._uninterrupted, "reference", most_steps=steps)
        if not recording.has("ended") and ended.code != 0:
            raise _failed("first", ended)
        if not recording.steps:
            raise UsageError(
                "the script made no step that could be seen" + ("" if recording.has("began") else ", nor a run"),
                hint="it needs a ckpt.TrainingHook, or a ckpt.CheckpointManager that is asked or saves at its steps",
            )
        return recording

    def killed(self, moments: Moments, reference: Recording) -> Recording:
        self._say(
            f"2/3 training, saved at step {moments.save_at} and killed at step {moments.kill_at} of {reference.last}"
        )
        recording, ended = self._start(
            self._command, self._interrupted, "killed", save_at=moments.save_at, kill_at=moments.kill_at
        )
        if not recording.has("killed"):
            if ended.code:
                raise _failed("second", ended)
            raise OperationError(
                f"the second start ended at step {recording.last}, and the first went beyond step {moments.kill_at}",
                hint=_last_lines(ended),
            )
        if not recording.of("saved"):
            raise UsageError(
                f"the script saved no checkpoint until step {moments.kill_at}",
                hint="save whenever CheckpointManager.should_save_checkpoint(state) says so",
            )
        return recording

    def resumed(
        self, moments: Moments, reference: Recording, killed: Recording, resume_with: Sequence[str]
    ) -> Recording:
        run = _run_in(private_disk(self._interrupted / "plan.json"))
        command = self._command.plus([word.replace("{run}", str(run)) for word in resume_with])
        self._say(f"3/3 going on: {command}")
        last = reference.last or 0
        end_at = last if reference.has("ended") else last + 1
        recording, ended = self._start(command, self._interrupted, "resumed", end_at=end_at)
        if not recording.has("ended") and ended.code != 0:
            raise _failed("third", ended)
        if recording.went_on_from not in killed.of("saved"):
            raise _not_resumed(run != _run_in(private_disk(self._interrupted / "plan.json")), bool(resume_with), ended)
        if not recording.steps:
            raise OperationError("the third start made no step", hint=_last_lines(ended))
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
                hint=f"--timeout gives it more time\n{_last_lines(ended)}",
            )
        return recording, ended


def _run_in(disk: Path) -> Path:
    """The newest run that a training made below a directory."""
    made = sorted(disk.rglob(RunPaths(disk).manifest.name), key=lambda path: path.stat().st_mtime_ns)
    return made[-1].parent if made else disk


def _failed(which: str, ended: Ended) -> OperationError:
    code = ended.code or 0
    how = f"with exit code {code}" if code > 0 else f"by signal {-code}"
    return OperationError(f"the {which} start of the script failed, {how}", hint=_last_lines(ended))


def _last_lines(ended: Ended) -> str:
    return f"its last lines:\n{ended.tail}" if ended.tail else "it printed nothing"


def _not_resumed(made_a_run: bool, was_told: bool, ended: Ended) -> UsageError:
    if was_told:
        return UsageError("the third start did not resume, though it had further arguments", hint=_last_lines(ended))
    if made_a_run:
        return UsageError(
            "the third start made a new run and did not resume",
            hint="tell how your script resumes: --resume-with '--resume {run}'; {run} is the directory of the run",
        )
    return UsageError(
        "the third start trained the same run from its beginning",
        hint="call hook.resume(), or CheckpointManager.restore_from_checkpoint(), before the loop; where the script "
        "needs arguments for that: --resume-with '--resume {run}'",
    )


def _with_length(found: Comparison, reference: Recording, resumed: Recording) -> Comparison:
    """The comparison, with a difference in length where all that both have is the same."""
    if found.difference is not None or reference.last == resumed.last:
        return found
    last = min(reference.last or 0, resumed.last or 0)
    difference = Difference(
        step=last + 1,
        what="steps",
        name="last step",
        reference=str(reference.last),
        resumed=str(resumed.last),
        between="resume",
        after=found.compared,
    )
    return Comparison(compared=found.compared, difference=difference, batches_seen=found.batches_seen)


def _verdict(
    reference: Recording,
    moments: Moments,
    found: Comparison,
    notes: tuple[str, ...],
    resumed: Recording | None = None,
) -> Verdict:
    went_on_from = None if resumed is None else resumed.went_on_from
    return Verdict(
        exact=found.difference is None,
        steps=len(reference.steps),
        saved_at_step=moments.save_at if went_on_from is None else went_on_from,
        killed_at_step=moments.kill_at,
        compared_steps=found.compared if resumed is not None else 0,
        first_difference=found.difference,
        notes=(*guidance.advice(found), *notes),
    )
