"""The batches that loaders give, torch's own DataLoader too: one without a position is recorded all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, wraps
from importlib import import_module
from typing import Any

from torch.utils.data import DataLoader

Tell = Callable[[Any], None]


class _Heard:
    """An iterator of a loader that tells of each batch."""

    def __init__(self, inner: Iterator[Any], tell: Tell) -> None:
        self._inner = inner
        self._tell = tell

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        batch = next(self._inner)
        self._tell(batch)
        return batch

    def __len__(self) -> int:
        return len(self._inner)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@cache
def listen(tell: Tell) -> None:
    """From now on has every loader of this process tell of its batches; only ever called in a self-test."""
    # By its public name: the room of the loaders lies above this one.
    kinds: tuple[Any, ...] = (DataLoader, import_module("ckpt").ResumableLoader)
    for kind in kinds:
        kind.__iter__ = heard(kind.__iter__, tell)


def heard(begin: Callable[..., Iterator[Any]], tell: Tell) -> Callable[..., Iterator[Any]]:
    """An `__iter__` that tells of each batch, but for the DataLoader inside of a ResumableLoader, which has its own."""

    @wraps(begin)
    def iterate(self: Any) -> Iterator[Any]:
        batches = begin(self)
        return batches if getattr(self, "is_inner", False) else _Heard(batches, tell)

    return iterate
