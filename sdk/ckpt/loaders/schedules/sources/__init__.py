"""One loader of a schedule: opened, asked for batches, begun anew; and where it stands, told and taken back.

source.py     Source: what every kind has, passes and the batches of the one that is under way
resumable.py  a loader that keeps its own position: ResumableLoader, another schedule
stateful.py   a loader with any other state, such as torchdata's
counted.py    a loader without a state
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckpt.exceptions import UsageError
from ckpt.loaders.schedules.sources.counted import CountedSource
from ckpt.loaders.schedules.sources.resumable import ResumableSource
from ckpt.loaders.schedules.sources.source import Source
from ckpt.loaders.schedules.sources.stateful import StatefulSource
from ckpt.saving.capture.protocol import has_state

__all__ = ["Source", "give_all", "source_of"]


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


def give_all(sources: Sequence[Source], states: Sequence[Mapping[str, Any]]) -> None:
    """Gives each its state. Raises StateError for one that does not fit, and then all are where they were."""
    before = [source.state() for source in sources]
    for i, (source, state) in enumerate(zip(sources, states, strict=True)):
        try:
            source.give(state)
        except Exception:
            for changed, its in zip(sources[: i + 1], before, strict=False):
                changed.give(its)
            raise
