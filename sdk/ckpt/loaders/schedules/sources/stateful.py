"""A loader of a schedule with a state of its own kind, such as torchdata's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ckpt.exceptions import StateError
from ckpt.loaders.iteration import END
from ckpt.loaders.schedules.sources.source import Source, batches_in, random_kept
from ckpt.saving.capture.generators import capture_random


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
        """What is drawn by workers, or from a generator of the loader's own, a state of this kind does not hold."""
        where, kind, found = f"loader {self.name!r}", type(self.loader).__name__, []
        if getattr(self.loader, "num_workers", 0):
            found.append(f"{where}: random numbers that the workers of a {kind} draw are others after a resume")
        if isinstance(getattr(self.loader, "generator", None), torch.Generator):
            found.append(f"{where}: the next passes of a {kind} with a generator of its own are others after a resume")
        return tuple(found)

    @property
    def slow(self) -> tuple[str, ...]:
        """Nothing is known of that."""
        return ()

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
        given, inner = batches_in(state), state.get("loader_state")
        if inner is None and given:
            raise StateError(
                f"loader {self.name!r} is a {type(self.loader).__name__}, and was saved without its state",
                hint="build it as it was when it was saved",
            )
        self._drop()
        if inner is not None:
            self.loader.load_state_dict(inner)
        self._begun = inner is not None
        self._loaded = {**state, "open": state.get("open") is True, "left": state.get("left") is True}

    def has_ended(self) -> bool:
        """Known where the length is."""
        if self._loaded is not None:
            return self._loaded["open"] is True and self.length == batches_in(self._loaded)
        return self._iterator is not None and self.length == self._given

    def _opened(self) -> Iterator[Any]:
        loaded, self._loaded = self._loaded, None
        left, self._left, self._begun = self._left, False, True
        if loaded is None or loaded["loader_state"] is None:
            return iter(self.loader)
        # The uninterrupted training drew what an iterator draws at its beginning before the state was saved.
        if loaded["open"]:
            self._given, self._may_be_over = batches_in(loaded), True
            with random_kept():
                return iter(self.loader)
        with random_kept():
            if loaded["left"] or left:
                next(iter(self.loader), END)
            else:
                # torchdata's makes an iterator from the state before it finds that a new one is due.
                self.loader.state_dict()
        if not (loaded["left"] or left):
            self._random_at_end = capture_random()
        return iter(self.loader)

    def _leave_loaded(self) -> None:
        if self._loaded is not None and self._loaded["open"]:
            self._loaded = {**self._loaded, "open": False, "left": True, "batch_idx": 0, "exhausted": False}

    def _drop(self, *, is_at_end: bool = False) -> None:
        self._left = self._iterator is not None and not is_at_end
        super()._drop(is_at_end=is_at_end)
