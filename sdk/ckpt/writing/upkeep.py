"""What follows a save: pointers for plain tools, then the run's policy, then what the trash no longer has to keep.

None of it may fail the save, which is done: what goes wrong is told. On a full disk the same is done before a save.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckpt import marks, pointers
from ckpt.encoding import printable, quoted
from ckpt.exceptions import CkptError
from ckpt.paths import RunPaths
from ckpt.protocol import checkpoint_to_json
from ckpt.retention import OWN, Decision, combine, merge
from ckpt.scan import Cache, RunView, governed, read_run
from ckpt.telling import one_line
from ckpt.trash import Trash
from ckpt.writing import making_room
from ckpt.writing.waiting import Waiting

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Kept:
    """What an upkeep left."""

    view: RunView
    """The run as it is now."""
    told: tuple[str, ...]
    """What the training is to be warned of."""


@dataclass(frozen=True)
class Made:
    """What made room."""

    purged: int
    """How many entries of the trash."""
    told: tuple[str, ...]
    """What the training is to be warned of."""


class Upkeep:
    """Keeps a run in order while it is trained. One for each run, for it remembers what it saw and told."""

    def __init__(self, paths: RunPaths) -> None:
        self._paths = paths
        self._cache = Cache()
        self._told: str | None = None
        self._told_of_room = False
        self._waiting: Waiting | None = None
        self._one_at_a_time = threading.Lock()

    def after_save(self) -> Kept:
        """Moves the pointers, prunes and purges. Raises OSError when the run cannot be read."""
        told: list[str] = []
        with self._one_at_a_time:
            view = self._view()
            _point(self._paths, view, told.append)
            going = unasked(view, time.time())
            self._tell_what_waits(view, going, told.append)
            removed = _prune(self._paths, view, going, told.append)
            self._purge(view, told.append)
            return Kept(self._view() if removed else view, tuple(told))

    def make_room(self, missing: int | None) -> Made:
        """Has the policy remove what it leaves over by now, then purges the oldest of the trash before its time.

        That is as much as frees `missing` bytes, and nothing when all of it does not; the oldest alone where None knows
        what is missing. What is in no trash is never deleted. Raises nothing.
        """
        told: list[str] = []
        count = 0
        with self._one_at_a_time:
            name = printable(self._paths.directory.name)
            try:
                view = self._view()
                _prune(self._paths, view, unasked(view, time.time()), told.append)
                if self._paths.trash.is_dir():
                    count = making_room.make_room(Trash(self._paths.trash), missing)
            except (OSError, CkptError) as error:
                told.append(f"run {name} could not make room: {one_line(error)}")
            if count and not self._told_of_room:
                self._told_of_room = True
                told.append(f"run {name} purged {count} removed checkpoint{'s' * (count != 1)} early: the disk is full")
        return Made(count, tuple(told))

    def had_room(self) -> None:
        """A save found room without that: when it is next needed, it is told again."""
        self._told_of_room = False

    def _view(self) -> RunView:
        return read_run(self._paths.directory, cache=self._cache)

    def _tell_what_waits(self, view: RunView, going: Sequence[Decision], tell: Tell) -> None:
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
            tell(problem)
        self._told = kind

    def _purge(self, view: RunView, tell: Tell) -> None:
        """Deletes for good what has waited long enough in the trash."""
        if not self._paths.trash.is_dir():
            return
        trash = Trash(self._paths.trash)
        try:
            entries = trash.entries()
            if self._waiting is None:
                self._waiting = Waiting((c.saved_at for c in view.checkpoints), entries)
            for entry in reversed(self._waiting.due(entries)):
                with contextlib.suppress(FileNotFoundError):
                    trash.purge(entry.id)
        except (OSError, CkptError) as error:
            tell(f"the trash of run {printable(view.run.name)} could not be purged: {one_line(error)}")


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


def _point(paths: RunPaths, view: RunView, tell: Tell) -> None:
    by_id = {checkpoint.id: checkpoint for checkpoint in view.checkpoints}
    for pointer, chosen in ((paths.latest, view.run.latest), (paths.best, view.run.best)):
        try:
            if chosen is not None:
                pointers.swap(pointer, Path(by_id[chosen].path))
            elif pointer.is_symlink():
                pointers.drop(pointer)
        except OSError as error:
            tell(f"{pointer.name} could not be moved: {error}")


def _prune(paths: RunPaths, view: RunView, going: Sequence[Decision], tell: Tell) -> bool:
    """Moves what may go into the trash; whether anything went."""
    if not going:
        return False
    removed = False
    trash = Trash(paths.trash)
    plan_id = combine([view.plan]).id
    for decision in going:
        checkpoint, verdict = decision.checkpoint, decision.verdict
        try:
            now = marks.read(paths.marks)
            if now.policy != view.wishes.said:
                break  # another policy since the plan was made: the next save goes by it
            said = now.of(checkpoint.id)
            if said.pinned or said.tags or said.forks:
                continue  # marked since the plan was made
            trash.remove(
                [Path(name) for name in checkpoint.files],
                run=view.run.id,
                checkpoint=checkpoint_to_json(checkpoint),
                plan=plan_id,
                reasons=verdict.reasons,
                near_misses=verdict.near_misses,
                keep_for_s=view.plan.policy.keep_for,
            )
            removed = True
        except (OSError, CkptError) as error:
            tell(f"{printable(checkpoint.path)} could not be removed: {one_line(error)}")
    return removed


def taken_names(paths: RunPaths) -> frozenset[str]:
    """File names that lie in the trash and may come back: a new checkpoint does not take them.

    Raises OSError and CkptError when the trash cannot be read.
    """
    if not paths.trash.is_dir():
        return frozenset()
    return frozenset(Path(name).name for entry in Trash(paths.trash).entries() for name in entry.files)
