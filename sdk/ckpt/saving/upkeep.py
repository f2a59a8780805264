"""What follows a save: pointers for plain tools, then the run's policy, then what the trash no longer has to keep.

None of it may fail the save, which is done: what goes wrong is logged and warned of.
"""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from ckpt import marks, pointers
from ckpt.encoding import printable, quoted
from ckpt.exceptions import CkptError
from ckpt.protocol import checkpoint_to_json
from ckpt.retention import OWN, Decision, combine, merge
from ckpt.runs import Run
from ckpt.saving.waiting import Waiting
from ckpt.scan import RunView, governed
from ckpt.trash import Trash

log = logging.getLogger("ckpt.saving")


class Upkeep:
    """Keeps the run in order that this process trains."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._told: str | None = None
        self._waiting: Waiting | None = None

    def after_save(self) -> RunView:
        """Moves the pointers, prunes and purges; returns the run as it then is. Raises OSError when unreadable."""
        run, view = self._run, self._run.view()
        _point(run, view)
        going = unasked(view, time.time())
        self._tell_what_waits(view, going)
        removed = _prune(run, view, going)
        self._purge(view)
        return run.view() if removed else view

    def _tell_what_waits(self, view: RunView, going: Sequence[Decision]) -> None:
        """Says why what the rules leave over stays; again only when that had an end meanwhile."""
        plan, name = view.plan, printable(view.run.name)
        kind, problem = None, ""
        if view.wishes.doubt is not None:
            kind, problem = "doubt", f"nothing of run {name} is removed: {view.wishes.doubt}"
        elif plan.refused is not None:
            kind, problem = "refused", f"nothing of run {name} is removed: {plan.refused}"
        elif plan.ask is not None and len(going) < len(plan.remove):
            kind, count = "ask", len(plan.remove) - len(going)
            problem = (
                f"run {name} keeps {count} checkpoint{'s' * (count != 1)} that its policy leaves over, until "
                f"`ckpt prune {quoted(view.run.name)}` confirms it when the training has ended: {plan.ask}"
            )
        if kind not in (None, self._told):
            _tell(problem)
        self._told = kind

    def _purge(self, view: RunView) -> None:
        """Deletes for good what has waited long enough in the trash."""
        if not self._run.paths.trash.is_dir():
            return
        trash = Trash(self._run.paths.trash)
        try:
            entries = trash.entries()
            if self._waiting is None:
                self._waiting = Waiting((c.saved_at for c in view.checkpoints), entries)
            for entry in reversed(self._waiting.due(entries)):
                with contextlib.suppress(FileNotFoundError):
                    trash.purge(entry.id)
        except (OSError, CkptError) as error:
            _tell(f"the trash of run {printable(self._run.name)} could not be purged: {error}")


def unasked(view: RunView, now: float) -> Sequence[Decision]:
    """What a training may remove of its run by itself.

    A plan that has to be confirmed takes in it only what the training's own policy would remove as well.
    """
    plan = view.plan
    if plan.ask is None:
        return plan.remove
    mine = governed(view, merge([(view.wishes.origin, view.wishes.own)]), OWN, now).plan
    if mine.ask is not None:
        return ()
    own = {decision.checkpoint.id for decision in mine.remove}
    return [decision for decision in plan.remove if decision.checkpoint.id in own]


def _point(run: Run, view: RunView) -> None:
    by_id = {checkpoint.id: checkpoint for checkpoint in view.checkpoints}
    for pointer, chosen in ((run.paths.latest, view.run.latest), (run.paths.best, view.run.best)):
        try:
            if chosen is not None:
                pointers.swap(pointer, Path(by_id[chosen].path))
            elif pointer.is_symlink():
                pointers.drop(pointer)
        except OSError as error:
            _tell(f"{pointer.name} could not be moved: {error}")


def _prune(run: Run, view: RunView, going: Sequence[Decision]) -> bool:
    """Moves what may go into the trash; whether anything went."""
    if not going:
        return False
    removed = False
    trash = Trash(run.paths.trash)
    plan_id = combine([view.plan]).id
    for decision in going:
        checkpoint, verdict = decision.checkpoint, decision.verdict
        try:
            now = marks.read(run.paths.marks)
            if now.policy != view.wishes.said:
                break  # another policy since the plan was made: the next save goes by it
            said = now.of(checkpoint.id)
            if said.pinned or said.tags or said.forks:
                continue  # marked since the plan was made
            trash.remove(
                [Path(name) for name in checkpoint.files],
                run=run.id,
                checkpoint=checkpoint_to_json(checkpoint),
                plan=plan_id,
                reasons=verdict.reasons,
                near_misses=verdict.near_misses,
                keep_for_s=view.plan.policy.keep_for,
            )
            removed = True
        except (OSError, CkptError) as error:
            _tell(f"{printable(checkpoint.path)} could not be removed: {error}")
    return removed


def taken_names(run: Run) -> frozenset[str]:
    """File names that lie in the trash and may come back: a new checkpoint does not take them."""
    if not run.paths.trash.is_dir():
        return frozenset()
    try:
        return frozenset(Path(name).name for entry in Trash(run.paths.trash).entries() for name in entry.files)
    except (OSError, CkptError) as error:
        log.warning("the trash of run %s cannot be read: %s", printable(run.name), error)
        return frozenset()


def _tell(problem: str) -> None:
    log.warning("%s", problem)
    warnings.warn(problem, RuntimeWarning, stacklevel=5)
