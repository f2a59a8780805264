"""Why a self-test cannot say anything: what the training did not do, and what would help. Pure."""

from __future__ import annotations

from ckpt.exceptions import CkptError, OperationError, UsageError
from ckpt.selftest.comparing import Comparison
from ckpt.selftest.recording_file import Recording
from ckpt.selftest.starting import Ended

_RESUME = (
    "call hook.resume(), or CheckpointManager.restore_from_checkpoint(), before the loop; where the script needs "
    "arguments for that: --resume-with '--resume {run}'"
)


def failed(which: str, ended: Ended) -> OperationError:
    """A start of the training ended by a failure of its own."""
    code = ended.code or 0
    how = f"with exit code {code}" if code > 0 else f"by signal {-code}"
    hint = last_lines(ended)
    if "FileNotFoundError" in ended.tail:
        hint += "\nin a self-test a run lies at hook.run.directory, and nowhere else"
    return OperationError(f"the {which} start of the script failed, {how}", hint=hint)


def last_lines(ended: Ended) -> str:
    """What a start of the training printed last, as a hint."""
    return f"its last lines:\n{ended.tail}" if ended.tail else "it printed nothing"


def not_resumed(made_a_run: bool, was_told: bool, ended: Ended) -> UsageError:
    """The training read no checkpoint of the one that was killed: it made another run, or began anew."""
    if was_told:
        return UsageError("the third start did not resume, though it had further arguments", hint=last_lines(ended))
    if made_a_run:
        return UsageError(
            "the third start made a new run and did not resume",
            hint="tell how your script resumes: --resume-with '--resume {run}'; {run} is the directory of the run",
        )
    return UsageError("the third start trained the same run from its beginning", hint=_RESUME)


def began_again(resumed: Recording) -> UsageError:
    """The training read a checkpoint and trained from another place."""
    return UsageError(
        f"the third start read the checkpoint of step {resumed.went_on_from} and began at step "
        f"{min(resumed.steps, default=0)}",
        hint=_RESUME + "; the loop begins behind report.next_step, or at hook.epoch",
    )


def once_more(error: CkptError, *, exact_at: int, save_at: int) -> CkptError:
    """An error of the second trial, which tells what the first one found."""
    message = f"from step {exact_at} the script resumed exactly; tried from its own save at step {save_at}, "
    return type(error)(message + error.message, hint=error.hint)


def refuse_blind(found: Comparison) -> None:
    """Raises UsageError where all was the same that was seen, and the weights were not."""
    if found.difference is None and "weights" not in found.parts:
        raise UsageError(
            f"the weights of the resumed training were never seen, only {', '.join(found.parts) or 'nothing'}",
            hint="restore by hook.resume() or CheckpointManager.restore_from_checkpoint(model, optimizer), or give "
            "--steps more, so that the training saves behind the resume",
        )
