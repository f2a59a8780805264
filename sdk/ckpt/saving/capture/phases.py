"""Where in an epoch a training is saved, and the loaders' states that go on from there. Pure.

A loader tells of itself by its state: `epoch_open` (an iterator of it is under way), `exhausted` and `epoch`. States
without `epoch_open` are stored as they are, and decide nothing.

What a resumed loop does is to run its epoch from the top. So a loader that had its turn in the epoch gives nothing when
it is asked again, one that is under way goes on, and what comes after the training is done again whole, with the random
numbers that were there when the training's loader came to its end.

Whether a loader had its turn its own state does not tell, because it may be gone through many times in an epoch of the
training, or once in many: the steps of the training tell it. Where they do not, it gives its next epoch, which is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpt.saving.capture.turns import NOT_SEEN, Turn
from ckpt.saving.envelope.content import Phase
from ckpt.saving.envelope.places import is_validation

_NOT_REPEATED = "it was saved in a validation within the epoch's training, which is not repeated"
_OTHER_RANDOM = "the validation is done again, but with other random numbers: its loader does not tell those"

_NOT_SAID = (
    "whether its epoch was over was not said, and its validation is taken for one that is yet to come: "
    "save_checkpoint(at_epoch_end=…) says it"
)
_EPOCH_NOT_SAID = (
    "whether its epoch was over was not said, and its loaders do not tell it: save_checkpoint(at_epoch_end=…) says it"
)
_NO_TURN = (
    "it came to its end within the epoch, and gives its next one when it is asked again: exact only if its loop is one "
    "that the rest of the epoch comes by"
)
_HELD = (
    "it is in the midst of an epoch while the training's is over, and goes on there: exact only if its iterator is "
    "kept from epoch to epoch, and not made anew"
)
_AT_ITS_END = (
    "it gave its last batch, and was not asked behind it when the training's epoch was over: what its sampler or "
    "schedule is behind its end was not seen, and later epochs may have another order"
)
_MORE = ("loader_states", "sampler_state", "dataset_state", "readers")
"""What a state holds besides a position."""


@dataclass(frozen=True, eq=False)
class SeenLoader:
    """One loader of a training, as far as the decision goes."""

    state: Any
    name: str | None = None
    random_at_start: Any = None
    """The random states when its epoch began; None where it does not tell."""
    random_at_end: Any = None
    """Those when its last epoch ended."""
    turn: Turn = NOT_SEEN
    """What the steps of the training tell of it."""
    called: str = "a loader"
    """What a sentence calls it."""

    @property
    def tells(self) -> bool:
        """Whether its state says where it stands."""
        return isinstance(self.state, Mapping) and isinstance(self.state.get("epoch_open"), bool)

    @property
    def is_open(self) -> bool:
        """Whether an iterator of it is under way."""
        return self.tells and self.state["epoch_open"] is True

    @property
    def had_turn(self) -> bool:
        """Whether it gave batches in an epoch that is over for it."""
        return self.tells and not self.is_open and (bool(self.state.get("exhausted")) or _position(self.state) > 0)

    @property
    def epoch(self) -> int | None:
        """The epoch that it is in, or gave last."""
        return _last_epoch(self.state)


@dataclass(frozen=True)
class Moment:
    """Where a training stands, and what of its loaders and random generators is stored."""

    phase: Phase | None
    epoch_finished: bool | None
    states: tuple[Any, ...]
    """One for each loader, in their order."""
    random: Any = None
    """The random states to store; None for those of now."""
    caveats: tuple[str, ...] = ()


def moment_of(
    loaders: Sequence[SeenLoader], at_epoch_end: bool | None = None, epoch_begun: bool | None = None
) -> Moment:
    """Decides it from the loaders' states and from what the caller said.

    `at_epoch_end` is None for a caller who does not tell; `epoch_begun` says whether a step of the epoch was done.
    Loaders that are called val, test or eval, such as `val_a`, are those of the validation.
    """
    training = [loader for loader in loaders if not is_validation(loader.name)]
    under_way = [loader for loader in training if loader.is_open]
    validating = [loader for loader in loaders if is_validation(loader.name) and loader.is_open]
    if at_epoch_end:
        held = [loader for loader in under_way if _is_held(loader) is None]
        ended = [loader for loader in under_way if loader.state.get("exhausted") and _is_other_behind(loader.state)]
        caveats = _of_each(held, _HELD) + _of_each(ended, _AT_ITS_END)
        return Moment("between", True, _states(loaders, _closed_at_end), caveats=caveats)
    over = _over_beside(training, under_way) if under_way else []
    if over and at_epoch_end is False:
        return _validation(loaders, over[-1].epoch)
    if under_way:
        return _within(loaders, training, under_way, validating, _EPOCH_NOT_SAID if over else None)
    if validating:
        return _validation(loaders, validating[0].epoch)
    states = _states(loaders, lambda loader: loader.state)
    telling = [loader for loader in training if loader.tells]
    trained = [loader for loader in telling if loader.had_turn and loader.turn.trained]
    if not telling or len(telling) < len(training) or not all(loader.had_turn for loader in telling):
        if trained and at_epoch_end is False and epoch_begun is not False:
            return Moment("training", False, _states(loaders, lambda loader: _ended_if(loader, trained)))
        if at_epoch_end is None:
            # Without a loader at its end an epoch may be under way whose loaders nobody gave.
            told = (_EPOCH_NOT_SAID,) if any(loader.had_turn for loader in telling) else ()
            return Moment(None, None, states, caveats=told)
        return Moment("between" if epoch_begun is False else "training", False, states)
    if epoch_begun is False:
        return Moment("between", False, states)
    if at_epoch_end is None and not _is_due(loaders, telling[-1].epoch):
        return Moment("between", True, states)
    return _validation(loaders, telling[-1].epoch, _NOT_SAID if at_epoch_end is None else None)


def _is_due(loaders: Sequence[SeenLoader], epoch: int | None) -> bool:
    """Whether a loader of the validation had its turn in all epochs but this one, whose training is over."""
    return any(
        is_validation(loader.name) and loader.tells and not loader.is_open and loader.state.get("epoch") == epoch
        for loader in loaders
    )


def _validation(loaders: Sequence[SeenLoader], epoch: int | None, caveat: str | None = None) -> Moment:
    """The epoch's training is over; its validation is under way, is yet to come, or is over."""
    begun = [
        loader
        for loader in loaders
        if is_validation(loader.name) and (loader.is_open or (loader.had_turn and loader.epoch == epoch))
    ]
    training = [loader for loader in loaders if not is_validation(loader.name) and loader.had_turn]
    # Where the steps saw some of them, the others were no training's, whatever their names.
    had_turn = [loader for loader in training if loader.turn.trained] or training

    def stored(loader: SeenLoader) -> Any:
        return _at_beginning(loader.state) if loader in begun else _ended_if(loader, had_turn)

    last = sorted(had_turn, key=lambda loader: loader.turn.first_step or 0)[-1:]
    random = [loader.random_at_end for loader in last] + [loader.random_at_start for loader in begun[:1]]
    found = next((states for states in random if states is not None), None)
    told = (_OTHER_RANDOM if begun and found is None else None, caveat)
    unclear = [loader for loader in training if loader not in had_turn and loader.turn.trained is None]
    caveats = (*filter(None, told), *_of_each(unclear, _NO_TURN))
    return Moment("validation", False, _states(loaders, stored), found, caveats)


def _within(
    loaders: Sequence[SeenLoader],
    training: Sequence[SeenLoader],
    under_way: Sequence[SeenLoader],
    validating: Sequence[SeenLoader],
    caveat: str | None = None,
) -> Moment:
    """The training goes on; if it is in a validation, behind that one, which a resumed loop does not come by again."""
    turns = [(loader, _had_turn_before(loader, under_way)) for loader in training if loader.had_turn]
    had_turn = [loader for loader, had in turns if had]
    caveats = _of_each([loader for loader, had in turns if had is None], _NO_TURN)
    caveats += () if caveat is None else (caveat,)

    def stored(loader: SeenLoader) -> Any:
        return _closed(loader.state) if loader in validating else _ended_if(loader, had_turn)

    states = _states(loaders, stored)
    if not validating:
        return Moment("training", False, states, caveats=caveats)
    random = validating[0].random_at_start
    caveats += (_NOT_REPEATED,) if random is not None else (_NOT_REPEATED, _OTHER_RANDOM)
    return Moment("validation", False, states, random, caveats)


def _states(loaders: Sequence[SeenLoader], stored: Callable[[SeenLoader], Any]) -> tuple[Any, ...]:
    return tuple(stored(loader) if loader.tells else loader.state for loader in loaders)


def _had_turn_before(loader: SeenLoader, under_way: Sequence[SeenLoader]) -> bool | None:
    """Whether a loader at its end is one that the training came by before those that are under way; None for not known.

    One that began when they were under way already is gone through within them, and one that no step of the epoch was
    done with is no training's: both give their next epoch.
    """
    first = loader.turn.first_step
    if loader.turn.trained is False:
        return False
    if loader.turn.trained is None or first is None:
        return None
    loops = [open_ for open_ in under_way if not _is_beside(open_, first)]
    within = [open_.turn.first_step is not None and open_.turn.first_step < first for open_ in loops]
    return None if any(within) and not all(within) else not any(within)


def _is_beside(open_: SeenLoader, first: int) -> bool:
    """Whether a loader that is under way has no loop around a pass that began at the step `first`.

    One that has gave no batch during that pass, and did not begin before the epoch.
    """
    newest = open_.turn.newest_batch
    return open_.turn.from_before or (newest is not None and newest > first)


def _over_beside(training: Sequence[SeenLoader], under_way: Sequence[SeenLoader]) -> list[SeenLoader]:
    """The loaders whose loops made the epoch's training, which is over; [] as long as it may go on.

    It is over where a loop came to its end behind the newest step, and all that is under way are held iterators.
    """
    over = [loader for loader in training if loader.had_turn and loader.turn.trained]
    ended = any(loader.turn.at_newest for loader in over)
    return over if ended and all(open_.turn.from_before for open_ in under_way) else []


def _is_held(loader: SeenLoader) -> bool | None:
    """Whether the iterator of a loader that is under way at the end of an epoch is kept; None for not known."""
    if loader.state.get("exhausted"):
        return False
    if loader.state.get("epoch_length") == "infinite":
        # It is one endless order, whoever begins it anew.
        return True
    # What has more to tell than a position is another one where its epoch is left than where its epoch is over.
    if loader.turn.kept is False and any(loader.state.get(key) for key in _MORE):
        return None
    return loader.turn.kept


def _is_other_behind(state: Mapping[str, Any]) -> bool:
    """Whether what has given its last batch has more to tell behind its end than that it is over."""
    if state.get("loader_states"):
        # Where an epoch is a piece of one endless order, nothing is between two.
        return not (isinstance(state.get("epoch_length"), int) or state.get("epoch_length") == "infinite")
    order = state.get("sampler_state")
    if isinstance(order, Mapping) and "state" not in order:
        # Asked again for what it gave: it is another one by what it holds.
        start = order.get("at_start")
        return isinstance(start, Mapping) and bool(start.get("held") or start.get("carried"))
    return bool(order or state.get("dataset_state") or state.get("readers"))


def _closed_at_end(loader: SeenLoader) -> Any:
    """At the end of an epoch: an iterator that is held on to, and that has more to give, goes on."""
    is_over = loader.state.get("exhausted") or (loader.is_open and _is_held(loader) is False)
    return _closed(loader.state) if is_over else loader.state


def _of_each(loaders: Sequence[SeenLoader], sentence: str) -> tuple[str, ...]:
    return tuple(f"{loader.called}: {sentence}" for loader in loaders)


def _closed(state: Mapping[str, Any]) -> dict[str, Any]:
    """What begins with the next epoch."""
    last = _last_epoch(state)
    return {**state, "epoch": None if last is None else last + 1, "epoch_open": False, "exhausted": True}


def _ended_if(loader: SeenLoader, had_turn: Sequence[SeenLoader]) -> Any:
    """What gives nothing at first, and then goes on with the next epoch, if it had its turn."""
    if loader not in had_turn:
        return loader.state
    return {**loader.state, "epoch": loader.epoch, "exhausted": True, "epoch_open": True}


def _at_beginning(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """What begins the epoch again that it is in, or gave last, as the loader itself tells it."""
    start = state.get("at_start")
    return start if isinstance(start, Mapping) else state


def _last_epoch(state: Mapping[str, Any]) -> int | None:
    """The epoch that a loader is in, or gave last; one that is not under way tells its next."""
    epoch = state.get("epoch")
    if not isinstance(epoch, int):
        return None
    return epoch if state.get("epoch_open") else max(0, epoch - 1)


def _position(state: Mapping[str, Any]) -> int:
    place = state.get("batch_idx")
    return place if isinstance(place, int) else 0
