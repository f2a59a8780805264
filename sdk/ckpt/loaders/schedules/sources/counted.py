"""A loader of a schedule that tells no state."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ckpt.exceptions import StateError
from ckpt.loaders.iteration import END
from ckpt.loaders.schedules.sources.source import Source, batches_in, random_kept
from ckpt.saving.capture.generators import capture_random, restore_random
from ckpt.telling import tell

log = logging.getLogger("ckpt.saving")


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
        """A pass that is read again has the same batches."""
        return ()

    @property
    def slow(self) -> tuple[str, ...]:
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
        given = batches_in(state)
        self._drop()
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
            with random_kept():
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
        with random_kept():
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


def _generators(loader: Any) -> list[torch.Generator]:
    """The generators that a loader draws its order from, where they are its own."""
    sampler = getattr(loader, "sampler", None)
    found = [getattr(item, "generator", None) for item in (loader, sampler)]
    return list(dict.fromkeys(item for item in found if isinstance(item, torch.Generator)))
