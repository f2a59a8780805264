"""What the steps of a training tell of its loaders: who had its turn in the epoch, and whose iterator outlives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Turn:
    """One loader of a training, as its steps saw it."""

    trained: bool | None = None
    """Whether a step of the training's epoch was done while it was under way; None where not all steps were seen."""
    first_step: int | None = None
    """Which of the steps seen was the first of its newest pass; None for a pass that no step saw."""
    kept: bool | None = None
    """Whether its iterator went on over the end of an epoch of the training, True, or was made anew, False."""
    from_before: bool = False
    """Whether its newest pass began in an earlier epoch of the training, and gives batches from step to step."""
    newest_batch: int | None = None
    """Which of the steps seen was the last that it gave a batch for; None as `first_step` is."""
    at_newest: bool = False
    """Whether it was under way at the newest step that was seen."""


NOT_SEEN = Turn()


def not_seen(loader: Any) -> Turn:
    """What is known of a loader whose training nobody looked at."""
    return NOT_SEEN


@dataclass
class _Seen:
    """What was seen of one loader at the last step that it was under way at."""

    loader: Any
    epoch: int
    batch: int
    of_training: int
    """The training's epoch then."""
    first_step: int
    last_step: int
    newest_batch: int
    """The last step that it gave a batch for."""
    since: int
    """The training's epoch at the first of its steps."""
    per_step: int = 0
    """Batches that it gave between two steps of the training."""
    kept: bool | None = None

    def moves(self, epoch: int, batch: int, of_training: int, step: int) -> None:
        """It is there at this step."""
        if of_training != self.of_training:
            self.kept = self._kept(epoch, batch)
        if epoch != self.epoch or batch > self.batch:
            self.newest_batch = step
        if epoch != self.epoch:
            self.first_step, self.since = step, of_training
        elif of_training == self.of_training and batch > self.batch:
            self.per_step = batch - self.batch
        self.epoch, self.batch, self.of_training, self.last_step = epoch, batch, of_training, step

    def _kept(self, epoch: int, batch: int) -> bool | None:
        if epoch == self.epoch:
            return True
        length = _length(self.loader)
        # What was at its end begins anew in either case, and what came to it between two steps too.
        is_early = length is not None and self.batch + self.per_step <= length
        return False if is_early and batch == self.per_step > 0 else self.kept


@dataclass
class Turns:
    """Looks at the loaders of the training at its steps, by their attributes `epoch` and `batch_idx`."""

    _seen: list[_Seen] = field(default_factory=list)
    _step: int = 0
    _sees_all: bool = False

    def note(self, loaders: Sequence[Any], epoch: float, *, every_step: bool) -> None:
        """A step of an epoch of the training, or a save; `every_step`: it is a step, and none is left out.

        Where all steps are seen, a save tells nothing more: it may stand in a pass that is no training's.
        """
        if self._sees_all and not every_step:
            return
        self._step += 1
        self._sees_all = every_step or self._sees_all
        # A loader that is made anew takes the place of one that nobody else may hold.
        self._seen = [seen for seen in self._seen if any(seen.loader is loader for loader in loaders)]
        for loader in loaders:
            count, batch = getattr(loader, "epoch", None), getattr(loader, "batch_idx", None)
            if not isinstance(count, int) or not isinstance(batch, int) or batch <= 0:
                continue
            seen = self._of(loader)
            if seen is None:
                self._seen.append(
                    _Seen(loader, count, batch, _whole(epoch), self._step, self._step, self._step, since=_whole(epoch))
                )
            else:
                seen.moves(count, batch, _whole(epoch), self._step)

    def go_on(self, loaders: Sequence[Any], epoch: int, *, begun: bool = True) -> None:
        """The training goes on in an epoch, from a checkpoint that these loaders took their states of.

        Steps were done with those under way, of which some may have nothing left: of that epoch if it is `begun`.
        """
        self._seen, self._step, self._sees_all = [], 0, False
        for loader in loaders:
            state = loader.state_dict() if callable(getattr(loader, "state_dict", None)) else None
            if not isinstance(state, Mapping) or state.get("epoch_open") is not True:
                continue
            count, batch = state.get("epoch"), state.get("batch_idx")
            if isinstance(count, int) and isinstance(batch, int):
                self._seen.append(_Seen(loader, count, batch, epoch, 0, 0, 0, since=epoch if begun else epoch - 1))

    def of(self, loader: Any, epoch: float) -> Turn:
        """What is known of a loader in this epoch of the training."""
        seen = self._of(loader)
        if seen is None:
            return Turn(trained=False if self._sees_all else None)
        # Which step was the first is that of its newest pass, or of one before it.
        is_newest = getattr(loader, "epoch", None) == seen.epoch or not getattr(loader, "batch_idx", 0)
        trained = seen.of_training == _whole(epoch) or (False if self._sees_all else None)
        if not is_newest:
            return Turn(trained, kept=seen.kept)
        from_before = seen.per_step > 0 and seen.since != _whole(epoch)
        return Turn(
            trained, seen.first_step, seen.kept, from_before, seen.newest_batch, at_newest=seen.last_step == self._step
        )

    def _of(self, loader: Any) -> _Seen | None:
        return next((seen for seen in self._seen if seen.loader is loader), None)


def _whole(epoch: float) -> int:
    """The epoch that a fraction of one is in; what is no number is refused where the state is stored."""
    try:
        return int(epoch)
    except (TypeError, ValueError, OverflowError):
        return -1


def _length(loader: Any) -> int | None:
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None
