"""A loader of a schedule that keeps its own position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ckpt.loaders.iteration import END
from ckpt.loaders.schedules.sources.source import Source, batches_in


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
        return tuple(f"loader {self.name!r}: {caveat}" for caveat in getattr(self.loader, "caveats", ()))

    @property
    def slow(self) -> tuple[str, ...]:
        """As the loader says."""
        return tuple(f"loader {self.name!r}: {reason}" for reason in getattr(self.loader, "slow", ()))

    def state(self) -> dict[str, Any]:
        """The loader's own."""
        return dict(self.loader.state_dict())

    def give(self, state: Mapping[str, Any]) -> None:
        """Gives it to the loader."""
        self.loader.load_state_dict(state)
        self._drop()
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
            self._given = batches_in(loaded)
        return iter(self.loader)

    def _leave_loaded(self) -> None:
        if self._loaded is not None and self._loaded.get("epoch_open", True):
            # What had given all gives nothing, once, and goes on with its next epoch.
            self.give({**self._loaded, "epoch_open": True, "exhausted": True})
            next(iter(self.loader), END)
            self._loaded = None
