"""What a self-test found, as lines."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt.selftest.verdict import Trial, Verdict
from ckpt_tui.output import Paint
from ckpt_tui.tables import wrapped
from ckpt_tui.wording import plural


def verdict_lines(found: Verdict, *, paint: Paint, width: int | None) -> Iterator[str]:
    """The answer, what differs first with both values, and what that usually means."""
    difference = found.first_difference
    *before, last = found.trials
    how = _how(last)
    if difference is None:
        yield from (_exact(trial, paint) for trial in found.trials)
    elif difference.between == "starts":
        yield f"{paint('differs', 'red')}  two starts of the script, without a stop, first at step {difference.step}"
    else:
        same = plural(difference.after, "step")
        yield f"{paint('differs', 'red')}  {how}: {same} the same, then step {difference.step} differs"
    if difference is not None:
        second = "second" if difference.between == "starts" else "resumed"
        yield f"  first      {paint(difference.what, 'bold')}: {paint(difference.name)}"
        yield f"  reference  {paint(difference.reference or 'not there')}"
        yield f"  {second:<9}  {paint(difference.resumed or 'not there')}"
        yield from (_exact(trial, paint) for trial in before)
    for note in found.notes:
        yield ""
        yield from wrapped(note, width)


def _exact(trial: Trial, paint: Paint) -> str:
    return f"{paint('exact', 'green')}    {_how(trial)}: {plural(trial.compared_steps, 'step')} behind it, all the same"


def _how(trial: Trial) -> str:
    end = " (an epoch's end)" if trial.epoch_end else ""
    return f"saved at step {trial.saved_at_step}{end}, killed at step {trial.killed_at_step}"
