"""One loader of a schedule: opened, asked for batches, begun anew; and where it stands, told and taken back.

Source              what every kind has: passes, and batches of the pass that is under way
├── ResumableSource a loader that keeps its own position: ResumableLoader, another schedule
├── StatefulSource  a loader with any other state, such as torchdata's
└── CountedSource   a loader without a state
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch

from ckpt.exceptions import StateError, UsageError
from ckpt.saving.capture.generators import capture_random, restore_random
from ckpt.saving.capture.protocol import has_state
from ckpt.telling import tell

log = logging.getLogger("ckpt.saving")

END: Final = object()
"""What is given in place of a batch when a pass through a loader is over."""


def source_of(loader: Any, name: str | int) -> Source:
    """The source that a loader is, by what it tells of itself. Raises UsageError for what cannot be iterated."""
    if hasattr(loader, "resumes_by") and has_state(loader):
        return ResumableSource(loader, name)
    if not (hasattr(loader, "__iter__") or hasattr(loader, "__getitem__")):
        raise UsageError(
            f"loader {name!r} is a {type(loader).__name__}, which cannot be iterated",
            hint="a loader is an iterable of batches, such as ckpt.ResumableLoader",
        )
    return StatefulSource(loader, name) if has_state(loader) else CountedSource(loader, name)


class Source(ABC):
    """A loader and the pass through it that is under way."""

    def __init__(self, loader: Any, name: str | int) -> None:
        self.loader = loader
        self.name = name
        self.passes = 0
        """Passes that came to their end."""
        self._iterator: Iterator[Any] | None = None
        self._given = 0
        self._may_be_over = False
        """Whether a pass that was gone on with may have nothing left."""
        self._is_at_end = False
        """Whether the state that it took may be that behind a pass: then the first iterator gives nothing."""

    @property
    def length(self) -> int | None:
        """Batches of a pass; None for a loader that does not tell."""
        try:
            return len(self.loader)
        except (TypeError, NotImplementedError):
            return None

    @property
    @abstractmethod
    def resumes_by(self) -> str:
        """How it goes on: by "position", by "state", or by "skipping"."""

    @property
    @abstractmethod
    def caveats(self) -> tuple[str, ...]:
        """Why a resume may not be exact or takes its time, as sentences."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Where the loader stands, as plain data."""

    @abstractmethod
    def give(self, state: Mapping[str, Any]) -> None:
        """Takes a state back; a pass that is under way is dropped."""

    @property
    def gave_all(self) -> bool:
        """Whether the pass that is under way gave as many batches as the length says."""
        return self.length is not None and self._given >= self.length

    @abstractmethod
    def has_ended(self) -> bool:
        """Whether the pass that is under way has no more batches, as far as that is known before it is asked."""

    @abstractmethod
    def _opened(self) -> Iterator[Any]:
        """An iterator at the place where the loader stands."""

    @abstractmethod
    def _leave_loaded(self) -> None:
        """Ends the pass that a state given back is in the midst of."""

    def take(self) -> Any:
        """The next batch, or END when the pass is over; after that, the first of the next pass.

        Raises UsageError for a loader that has no batches.
        """
        if self._iterator is None:
            self._may_be_over = False
            self._iterator = self._opened()
        batch = next(self._iterator, END)
        if batch is END and self._is_at_end:
            self._iterator = iter(self.loader)
            batch = next(self._iterator, END)
        self._is_at_end = False
        if batch is not END:
            self._given += 1
            return batch
        if not self._given and not self._may_be_over:
            raise _empty(self)
        self._iterator, self._given = None, 0
        self.passes += 1
        return END

    def leave(self) -> None:
        """Ends the pass that is under way, wherever it is: what is taken next begins another one."""
        if self._iterator is None:
            self._leave_loaded()
            return
        if self.gave_all:
            # Some loaders draw at their end what the next pass depends on.
            next(self._iterator, END)
        self._drop()

    def _drop(self) -> None:
        close = getattr(self._iterator, "close", None)
        self._iterator, self._given = None, 0
        if callable(close):
            close()


class ResumableSource(Source):
    """A loader whose state says whether a pass is under way."""

    def __init__(self, loader: Any, name: str | int) -> None:
        super().__init__(loader, name)
        self._loaded: Mapping[str, Any] | None = None

    @property
    def resumes_by(self) -> str:
        """As the loader says."""
        return str(self.loader.resumes_by)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Those of the loader."""
        return tuple(f"loader {self.name!r}: {caveat}" for caveat in self.loader.caveats)

    def state(self) -> dict[str, Any]:
        """The loader's own."""
        return dict(self.loader.state_dict())

    def give(self, state: Mapping[str, Any]) -> None:
        """Gives it to the loader."""
        self._drop()
        self.loader.load_state_dict(state)
        self._loaded = state

    def has_ended(self) -> bool:
        """As the loader says."""
        if self._iterator is None and self._loaded is None:
            return False
        state = self.loader.state_dict()
        return bool(state.get("exhausted") is True and state.get("epoch_open") is True)

    def _opened(self) -> Iterator[Any]:
        loaded, self._loaded = self._loaded, None
        self._may_be_over = loaded is not None
        if loaded is not None and loaded.get("epoch_open", True):
            self._given = _batches(loaded)
        return iter(self.loader)

    def _leave_loaded(self) -> None:
        if self._loaded is not None and self._loaded.get("epoch_open", True):
            # What had given all gives nothing, once, and goes on with its next epoch.
            self.give({**self._loaded, "epoch_open": True, "exhausted": True})
            next(iter(self.loader), END)
            self._loaded = None


class StatefulSource(Source):
    """A loader with a state of its own kind, which does not say whether a pass is under way."""

    resumes_by = "state"

    def __init__(self, loader: Any, name: str | int) -> None:
        super().__init__(loader, name)
        self._loaded: dict[str, Any] | None = None
        self._begun = False
        self._left = False

    @property
    def caveats(self) -> tuple[str, ...]:
        """Workers draw numbers that a state of this kind does not hold."""
        if not getattr(self.loader, "num_workers", 0):
            return ()
        kind = type(self.loader).__name__
        return (
            f"loader {self.name!r}: random numbers that the workers of a {kind} draw are others after a resume within "
            "a pass",
        )

    def state(self) -> dict[str, Any]:
        """The loader's own, and which part of a pass it is of. A loader that was never asked is not asked for it."""
        if self._loaded is not None:
            return dict(self._loaded)
        return {
            "batch_idx": self._given,
            "exhausted": self.has_ended(),
            "sampler_state": None,
            "dataset_state": None,
            "loader_state": self.loader.state_dict() if self._begun else None,
            "open": self._iterator is not None,
            "left": self._left,
        }

    def give(self, state: Mapping[str, Any]) -> None:
        """Gives the loader its own state, if there is one. Raises StateError where it is missing."""
        self._drop()
        given, inner = _batches(state), state.get("loader_state")
        if inner is None and given:
            raise StateError(
                f"loader {self.name!r} is a {type(self.loader).__name__}, and was saved without its state",
                hint="build it as it was when it was saved",
            )
        if inner is not None:
            self.loader.load_state_dict(inner)
        self._begun = inner is not None
        self._loaded = {**state, "open": state.get("open") is True, "left": state.get("left") is True}

    def has_ended(self) -> bool:
        """Known where the length is."""
        if self._loaded is not None:
            return self._loaded["open"] is True and self.length == _batches(self._loaded)
        return self._iterator is not None and self.length == self._given

    def _opened(self) -> Iterator[Any]:
        loaded, self._loaded = self._loaded, None
        left, self._left, self._begun = self._left, False, True
        if loaded is None or loaded["loader_state"] is None:
            return iter(self.loader)
        # The uninterrupted training drew what an iterator draws at its beginning before the state was saved.
        if loaded["open"]:
            self._given, self._may_be_over = _batches(loaded), True
            with _random_kept():
                return iter(self.loader)
        if loaded["left"] or left:
            with _random_kept():
                next(iter(self.loader), END)
        else:
            self._is_at_end = True
        return iter(self.loader)

    def _leave_loaded(self) -> None:
        if self._loaded is not None and self._loaded["open"]:
            self._loaded = {**self._loaded, "open": False, "left": True, "batch_idx": 0, "exhausted": False}

    def _drop(self) -> None:
        self._left = self._iterator is not None
        super()._drop()


class CountedSource(Source):
    """A loader whose position is a count: a resume reads what came before again, and drops it.

    The random states that a pass begins with are kept, so that one that is read again has the same batches.
    """

    resumes_by = "skipping"

    def __init__(self, loader: Any, name: str | int) -> None:
        super().__init__(loader, name)
        self._loaded: dict[str, Any] | None = None
        self._random: Any = None
        self._own: list[torch.Tensor] = []

    @property
    def caveats(self) -> tuple[str, ...]:
        """Skipping takes its time."""
        return (
            f"loader {self.name!r}: a {type(self.loader).__name__} tells no state; a resume within a pass reads what "
            "came before again",
        )

    def state(self) -> dict[str, Any]:
        """The count, and the random states that the pass began with."""
        if self._loaded is not None:
            return dict(self._loaded)
        is_open = self._iterator is not None
        return {
            "batch_idx": self._given,
            "exhausted": self.has_ended(),
            "sampler_state": None,
            "dataset_state": None,
            "open": is_open,
            "random_at_start": self._random if is_open else None,
            "own_generators": self._own if is_open else [own.get_state() for own in _generators(self.loader)],
        }

    def give(self, state: Mapping[str, Any]) -> None:
        """Notes it; what came before is read again when the next batch is asked for."""
        self._drop()
        given = _batches(state)
        self._loaded = {**state, "batch_idx": given, "open": state.get("open", given > 0) is True}

    def has_ended(self) -> bool:
        """Known where the length is."""
        if self._loaded is not None:
            return self._loaded["open"] is True and self.length == self._loaded["batch_idx"]
        return self._iterator is not None and self.length == self._given

    def _opened(self) -> Iterator[Any]:
        loaded, self._loaded = self._loaded or {}, None
        own = _generators(self.loader)
        for generator, state in zip(own, loaded.get("own_generators") or (), strict=False):
            generator.set_state(state)
        if own and loaded.get("left_at"):
            with _random_kept():
                left = self._read_again(loaded["left_at"], loaded.get("random_at_start"))
                if loaded["left_at"] == self.length:
                    next(left, END)
        self._own = [generator.get_state() for generator in own]
        if not loaded.get("open"):
            self._random = capture_random()
            return iter(self.loader)
        self._given, self._may_be_over = loaded["batch_idx"], True
        self._random = loaded.get("random_at_start")
        tell(
            f"loader {self.name!r} is a {type(self.loader).__name__}, which tells no state: its first {self._given} "
            "batches are read again and dropped; a ckpt.ResumableLoader goes on without that",
            log,
        )
        with _random_kept():
            return self._read_again(self._given, self._random)

    def _read_again(self, count: int, random: Any) -> Iterator[Any]:
        """An iterator behind the first batches of a pass that began with certain random states."""
        if random is not None:
            restore_random(random)
        iterator: Iterator[Any] = iter(self.loader)
        for done in range(count):
            if next(iterator, END) is END:
                raise StateError(
                    f"loader {self.name!r} had given {count} batches when it was saved, and has only {done}",
                    hint="to go on it has to be built as it was: the same data, batch_size and drop_last",
                )
        return iterator

    def _leave_loaded(self) -> None:
        if self._loaded is not None and self._loaded["open"]:
            left = self._loaded["batch_idx"]
            self._loaded = {**self._loaded, "open": False, "left_at": left, "batch_idx": 0, "exhausted": False}


def _empty(source: Source) -> UsageError:
    if iter(source.loader) is source.loader:
        hint = "an iterator can be gone through only once; a loader is an object whose iter() begins anew"
    else:
        hint = "look at its data set, its batch_size and drop_last"
    return UsageError(f"loader {source.name!r} gave no batch", hint=hint)


def _batches(state: Mapping[str, Any]) -> int:
    count = state.get("batch_idx")
    if type(count) is not int or count < 0:
        raise StateError(f"batch_idx of a loader is {count!r:.80}, not a number of batches")
    return count


def _generators(loader: Any) -> list[torch.Generator]:
    """The generators that a loader draws its order from, where they are its own."""
    sampler = getattr(loader, "sampler", None)
    found = [getattr(item, "generator", None) for item in (loader, sampler)]
    return list(dict.fromkeys(item for item in found if isinstance(item, torch.Generator)))


@contextmanager
def _random_kept() -> Iterator[None]:
    """The random generators of the process are afterwards as they were."""
    kept = capture_random()
    try:
        yield
    finally:
        restore_random(kept)
