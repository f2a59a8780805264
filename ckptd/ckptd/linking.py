"""Which checkpoints are needed elsewhere, because symbolic links below the roots lead to them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from ckpt.paths import is_inside
from ckpt.records import Checkpoint
from ckpt.scan import Links, RunView
from ckptd.roots.roots import Roots

MOST_NAMED = 3  # links to one checkpoint that are told


class Linking:
    """What the links of all roots say of runs, remembered while neither they nor a run's checkpoints change."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._known: dict[str, _Known] = {}

    def of(self, view: RunView) -> dict[str, tuple[str, ...]]:
        """Checkpoint id to where it is linked from: paths relative to the run's root, absolute outside of it.

        Only for those that a link leads to, with the first few links. Reads nothing.
        """
        run = view.run
        links = [watched.symlinks for watched in self._roots.all()]
        touching = [found for found in links if found.lead_to(run.path)]
        if not touching:
            self.forget(run.path)
            return {}
        known = self._known.get(run.path)
        if known is None or not known.is_of(view.checkpoints, touching):
            known = self._known[run.path] = _Known(view.checkpoints, touching, _linked(view, touching))
        return known.linked

    def forget(self, path: str) -> None:
        """There is no run in a directory any more."""
        self._known.pop(path, None)


class _Known(NamedTuple):
    checkpoints: Sequence[Checkpoint]
    links: Sequence[Links]
    linked: dict[str, tuple[str, ...]]

    def is_of(self, checkpoints: Sequence[Checkpoint], links: Sequence[Links]) -> bool:
        return (
            self.checkpoints is checkpoints
            and len(self.links) == len(links)
            and all(one is other for one, other in zip(self.links, links, strict=True))
        )


def _linked(view: RunView, links: Sequence[Links]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for some in links:
        for checkpoint, names in some.to(view.run.path, view.checkpoints).items():
            found.setdefault(checkpoint, []).extend(names)
    return {
        checkpoint: tuple(_shown(name, view.run.root) for name in sorted(names)[:MOST_NAMED])
        for checkpoint, names in found.items()
    }


def _shown(link: str, root: str) -> str:
    return os.path.relpath(link, root) if is_inside(link, root) else link
