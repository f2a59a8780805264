"""What every loader of a schedule has: passes, and batches of the pass that is under way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ckpt.exceptions import StateError, UsageError
from ckpt.loaders.iteration import END
from ckpt.saving.capture.generators import capture_random, restore_random


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
        self._random_at_end: dict[str, Any] | None = None
        """The random states with which an iterator was made that may be behind a pass: then it gives nothing, and
        another is made with them."""

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
        """Why a resume may not be exact, as sentences."""

    @property
    @abstractmethod
    def slow(self) -> tuple[str, ...]:
        """Why a resume takes the longer the further the pass is, as sentences."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Where the loader stands, as plain data."""

    @abstractmethod
    def give(self, state: Mapping[str, Any]) -> None:
        """Takes a state back; a pass that is under way is dropped. Raises StateError for one that does not fit."""

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
        if batch is END and self._random_at_end is not None:
            restore_random(self._random_at_end)
            self._iterator = iter(self.loader)
            batch = next(self._iterator, END)
        self._random_at_end = None
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
        # Some loaders draw at their end what the next pass depends on.
        self._drop(is_at_end=self.gave_all and next(self._iterator, END) is END)

    def _drop(self, *, is_at_end: bool = False) -> None:
        """Closes the iterator, which may be behind its last batch."""
        close = getattr(self._iterator, "close", None)
        self._iterator, self._given = None, 0
        if callable(close):
            close()


def batches_in(state: Mapping[str, Any]) -> int:
    """Batches of the pass that a state is in. Raises StateError for what is no number of them."""
    count = state.get("batch_idx")
    if type(count) is not int or count < 0:
        raise StateError(f"batch_idx of a loader is {count!r:.80}, not a number of batches")
    return count


@contextmanager
def random_kept() -> Iterator[None]:
    """The random generators of the process are afterwards as they were."""
    kept = capture_random()
    try:
        yield
    finally:
        restore_random(kept)


def _empty(source: Source) -> UsageError:
    if iter(source.loader) is source.loader:
        hint = "an iterator can be gone through only once; a loader is an object whose iter() begins anew"
    else:
        hint = "look at its data set, its batch_size and drop_last"
    return UsageError(f"loader {source.name!r} gave no batch", hint=hint)
