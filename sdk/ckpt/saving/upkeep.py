"""What follows a save: pointers for plain tools, then the run's policy, then what the trash no longer has to keep.

None of it may fail the save, which is done: what goes wrong is logged and warned of.
"""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from pathlib import Path

from ckpt import marks, pointers
from ckpt.encoding import printable
from ckpt.exceptions import CkptError
from ckpt.protocol import checkpoint_to_json
from ckpt.records import Checkpoint
from ckpt.retention import combine
from ckpt.runs import Run
from ckpt.scan import RunView
from ckpt.trash import Trash

log = logging.getLogger("ckpt.saving")


def after_save(run: Run) -> RunView:
    """Brings a run in order that this process trains, and returns it as it then is. Raises OSError when unreadable."""
    view = run.view()
    _point(run, view)
    removed = _prune(run, view)
    _purge(run)
    return run.view() if removed else view


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


def _prune(run: Run, view: RunView) -> list[Checkpoint]:
    plan = view.plan
    removed: list[Checkpoint] = []
    if not plan.remove:
        return removed
    trash = Trash(run.paths.trash)
    plan_id = combine([plan]).id
    for decision in plan.remove:
        checkpoint, verdict = decision.checkpoint, decision.verdict
        try:
            said = marks.read(run.paths.marks).of(checkpoint.id)
            if said.pinned or said.tags or said.forks:
                continue  # marked since the plan was made
            trash.remove(
                [Path(name) for name in checkpoint.files],
                run=run.id,
                checkpoint=checkpoint_to_json(checkpoint),
                plan=plan_id,
                reasons=verdict.reasons,
                near_misses=verdict.near_misses,
                keep_for_s=plan.policy.keep_for,
            )
            removed.append(checkpoint)
        except (OSError, CkptError) as error:
            _tell(f"{printable(checkpoint.path)} could not be removed: {error}")
    return removed


def _purge(run: Run) -> None:
    if not run.paths.trash.is_dir():
        return
    trash = Trash(run.paths.trash)
    try:
        for entry in trash.due(time.time()):
            with contextlib.suppress(FileNotFoundError):
                trash.purge(entry.id)
    except (OSError, CkptError) as error:
        _tell(f"the trash of run {printable(run.name)} could not be purged: {error}")


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
