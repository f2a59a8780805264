"""Saves of one run on their way to the disk: one is written at a time, and one more may wait for its turn.

What a carrier says of a job comes in a thread of its own and changes the handle and the queue alone. What the training
has to learn of it waits until `learn` (history) or `settle` (that, warnings and callbacks) is called in its own thread.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar

from ckpt.encoding import printable
from ckpt.exceptions import SaveError
from ckpt.protocol import checkpoint_from_json
from ckpt.saving.handle import SavedCheckpoint
from ckpt.saving.turns import Turns
from ckpt.writing.carriers import Carrier, ProcessCarrier
from ckpt.writing.committing import Committed
from ckpt.writing.image import Image
from ckpt.writing.jobs import Failure, Job, Outcome
from ckpt.writing.layout import Layout
from ckpt.writing.patience import patience

log = logging.getLogger("ckpt.saving")

WhenBusy = Literal["block", "skip", "coalesce"]

SLOW_S = 30.0
"""How long a save waits for the one before until the log says so."""


class Memory(Protocol):
    """Where images lie, one at a time."""

    def remember(self, layout: Layout, crcs: Sequence[int]) -> None:
        """The image that lies here was written, and these are the CRC32 of its members."""

    def close(self) -> None:
        """Gives the memory back; may be called twice."""


@dataclass(eq=False)
class Save:
    """One save on its way."""

    handle: SavedCheckpoint
    job: Job
    image: Image
    carrier: Carrier
    learned: Callable[[Save], None]
    """Called in the training's thread when it has ended, well or not; raises nothing."""
    told: Callable[[Save], None]
    """Called after that, and never in the midst of a save: it may save itself, and raise."""
    memory: Memory | None = None
    """Where the image lies; None when that is the training's own memory."""
    sure: bool = False
    """Whether it may not give way to a newer one."""
    outcome: Outcome | None = None
    """What came of it; stays None when another took its place."""


M = TypeVar("M", bound=Memory)
T = TypeVar("T")

_IMAGES_MAX = 2


class SaveQueue(Generic[M]):
    """The saves of one run. `make` makes memory for images, of which there are never more than two."""

    def __init__(self, make: Callable[[], M]) -> None:
        self._make = make
        self._memories: list[M] = []
        self.turns = Turns()
        self._changed = self.turns.changed
        self._writing: Save | None = None
        self._waiting: Save | None = None
        self._ended: deque[Save] = deque()
        self._learned: deque[Save] = deque()
        self._failed: list[SavedCheckpoint] = []
        self._trainer = threading.get_ident()
        self._pid = os.getpid()

    @property
    def is_mine(self) -> bool:
        """Whether this process made the queue: a forked child has a copy that nobody works on."""
        return self._pid == os.getpid()

    @property
    def busy(self) -> bool:
        """Whether something is being written."""
        return self._writing is not None

    @property
    def names(self) -> frozenset[str]:
        """The names of the files that are on their way."""
        with self._changed:
            return frozenset(save.handle.path.name for save in (self._writing, self._waiting) if save is not None)

    def in_turn(self, act: Callable[[], T]) -> T:
        """Acts when no other thread saves: from admission to `put`, for there is one place and its memory.

        Raises SaveError in the midst of a save of this very thread.
        """

        def own() -> T:
            self._trainer = threading.get_ident()
            return act()

        return self.turns.take(own)

    def admit(self, when_busy: WhenBusy = "block", *, sure: bool = False, two: bool = False) -> bool:
        """Waits until there is a place for one more save; False when it is to be left out, which `sure` ones never are.

        With `two`, one may be made ready while another is written; else nothing is on its way when this returns.
        """
        self._trainer = threading.get_ident()
        if when_busy == "skip" and not sure and self.busy:
            return False

        def has_place() -> bool:
            older = self._waiting
            return self._writing is None or (two and (older is None or (when_busy == "coalesce" and not older.sure)))

        if not self.turns.wait_for(has_place, SLOW_S):
            self._tell_of_waiting()
            self.turns.wait_for(has_place)
        return True

    def memory(self) -> M:
        """Memory in which nothing lies that is still to be written, for a save that was admitted.

        Where there is no other, a save that waits and may give way does so. Raises MemoryError when there is none.
        """
        with self._changed:
            used = [save.memory for save in (self._writing, self._waiting) if save is not None]
            for memory in self._memories:
                if not any(memory is other for other in used):
                    return memory
            if len(self._memories) == _IMAGES_MAX and self._waiting is not None and not self._waiting.sure:
                freed = self._waiting.memory
                self._supersede()
                for memory in self._memories:
                    if memory is freed:
                        return memory
        self._memories.append(self._make())
        return self._memories[-1]

    def put(self, save: Save) -> None:
        """Has a save written that was admitted, or lets it wait for the one before; an older one that waits gives way.

        An interrupt leaves nothing half way: what the carrier has taken by then, it performs before this raises; and
        the carrier is closed then. Raises RuntimeError when it was before.
        """
        self._trainer = threading.get_ident()
        self.turns.hand_over(partial(self._put, save))

    def _put(self, save: Save) -> None:
        try:
            with self._changed:
                if self._writing is not None:
                    self._supersede()
                    self._waiting = save
                    return
                self._writing = save
            self._submit(save)
        except BaseException as error:
            # A handler may have raised it, so whether the carrier has the job is not known, and its image must not
            # change while it has.
            patience.cut(save.job.number, 0.0, "interrupted while it waited for room")
            save.carrier.close()
            save.handle.raised = True
            self._fail(save, error)
            raise

    def wait(self) -> None:
        """Waits until nothing is being written, then settles. Raises SaveError in a handler in the midst of a write."""
        if not self.is_mine:
            return
        self.turns.wait_for(lambda: self._writing is None)
        self.settle()

    def learn(self) -> None:
        """Lets the history learn what has ended; nothing in another thread than the one that saved last."""
        if not self._ended or not self.is_mine or threading.get_ident() != self._trainer:
            return
        with self.turns.alone:
            while True:
                try:
                    save = self._ended.popleft()
                except IndexError:
                    return
                if save.handle.status == "failed":
                    self._failed.append(save.handle)
                save.learned(save)
                self._learned.append(save)

    def settle(self) -> None:
        """Lets the training learn what has ended, and tells of it; in the midst of a save that waits for its end."""
        self.learn()
        if self.turns.is_within or not self.is_mine or threading.get_ident() != self._trainer:
            return
        while True:
            try:
                save = self._learned.popleft()
            except IndexError:
                return
            save.told(save)

    def raise_untold(self, *, but: SavedCheckpoint | None = None) -> None:
        """Settles, and raises SaveError for the first failure that nobody was told of; others are logged.

        That of `but`, which its caller is about to get, is left for later.
        """
        self.settle()
        untold = [handle for handle in self._failed if not handle.raised and handle is not but]
        self._failed = [handle for handle in self._failed if handle is but]
        for handle in untold:
            handle.raised = True
        for handle in untold[1:]:
            log.error("%s", handle.error())
        if untold:
            raise untold[0].error()

    def finish(self) -> None:
        """Waits for what is on its way, and settles in this thread: it is now the training's."""
        if self.is_mine:
            self._trainer = threading.get_ident()
            try:
                self.wait()
            except SaveError:
                raise
            except BaseException:
                self.cut_waits(0.0, "interrupted while it waited for room")
                raise

    def cut_waits(self, within_s: float, why: str) -> None:
        """What is on its way waits for room on a disk no longer than so many seconds more."""
        with self._changed:
            writing, following = self._writing, self._waiting
            if following is not None:
                following.job = following.job.evolve(full_wait_s=min(within_s, following.job.full_wait_s))
        if writing is not None:
            patience.cut(writing.job.number, within_s, why)

    def free(self) -> None:
        """Gives the memory back, when nothing is on its way; a later save takes it anew."""
        while self._memories:
            self._memories.pop().close()

    def _supersede(self) -> None:
        """The save that waits, if there is one, gives way."""
        older, self._waiting = self._waiting, None
        if older is not None:
            self._ended.append(older)
            name = printable(older.handle.path.name)
            older.handle.came_to_nothing("superseded", f"{name} was not written: a newer save took its place")

    def _tell_of_waiting(self) -> None:
        save = self._writing
        if save is not None:
            writer = save.carrier.process_id if isinstance(save.carrier, ProcessCarrier) else None
            log.warning(
                "a save waits %g s for %s, which %s is still writing",
                SLOW_S,
                printable(save.handle.path.name),
                f"a thread of process {os.getpid()}" if writer is None else f"process {writer}",
            )

    def _submit(self, save: Save) -> None:
        save.carrier.submit(save.job, save.image, partial(self._done, save))

    def _fail(self, save: Save, error: BaseException) -> None:
        message = f"{printable(save.job.stem)} could not be saved: {str(error) or type(error).__name__}"
        self._done(save, Outcome(number=save.job.number, failure=Failure(kind="failed", message=message)))

    def _done(self, save: Save, outcome: Outcome) -> None:
        """The end of a save, in whatever thread."""
        patience.forget(save.job.number)
        with self._changed:
            if self._writing is not save:
                return
            try:
                save.outcome = outcome
                _tell(save.handle, outcome)
                if save.memory is not None and outcome.failure is None:
                    save.memory.remember(save.image.layout, outcome.crcs)
            except Exception as error:
                log.exception("the outcome of %s was not taken", printable(save.job.stem))
                if not save.handle.done():
                    why = f"what came of {printable(save.job.stem)} cannot be told: {error!r}"
                    save.handle.came_to_nothing("failed", why, "look at the run's checkpoints")
            finally:
                self._ended.append(save)
                following, self._waiting = self._waiting, None
                self._writing = following
                self._changed.notify_all()
        if following is not None:
            try:
                self._submit(following)
            except Exception as error:  # noqa: BLE001
                self._fail(following, error)


def _tell(handle: SavedCheckpoint, outcome: Outcome) -> None:
    failure = outcome.failure
    if failure is not None:
        status: Literal["skipped", "failed"] = "skipped" if failure.kind == "skipped" else "failed"
        handle.came_to_nothing(status, failure.message, failure.hint)
    elif outcome.staged is not None:
        handle.was_staged(Path(os.fsdecode(outcome.staged.path)))
    elif outcome.record is not None:
        handle.saved(checkpoint_from_json(outcome.record))
    else:
        assert outcome.path is not None and outcome.marker is not None
        handle.saved(Committed(Path(os.fsdecode(outcome.path)), outcome.marker).record)
