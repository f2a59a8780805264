"""Which checkpoints symbolic links lead to. Pure."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence

from ckpt.paths import is_inside, is_step
from ckpt.records import Checkpoint


class Links:
    """Symbolic links, each with the path that it leads to. Equal when they are the same links."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.pairs = tuple(sorted(set(pairs)))
        """Absolute paths: link and target."""
        self._leading: dict[str, list[str]] = {}
        self._lying: dict[str, list[str]] = {}
        for link, target in self.pairs:
            self._leading.setdefault(target, []).append(link)
            self._lying.setdefault(os.path.dirname(link), []).append(link)
        self._targets = sorted(self._leading)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Links) and self.pairs == other.pairs

    def __hash__(self) -> int:
        return hash(self.pairs)

    @property
    def directories(self) -> Collection[str]:
        """Where they lie."""
        return self._lying.keys()

    def below(self, directory: str) -> tuple[tuple[str, str], ...]:
        """Those that lie in a directory or below it, or are what is at its path."""
        prefix = directory.rstrip("/") + "/"
        first, end = bisect_left(self.pairs, (prefix,)), bisect_left(self.pairs, (prefix[:-1] + "0",))
        at = bisect_left(self.pairs, (directory,))
        is_link = at < len(self.pairs) and self.pairs[at][0] == directory
        return (*self.pairs[at : at + is_link], *self.pairs[first:end])

    def directly_in(self, directory: str) -> Sequence[str]:
        """The links in a directory."""
        return self._lying.get(directory, ())

    def lead_to(self, run: str) -> bool:
        """Whether any link leads into a directory."""
        first, end = self._inside(run)
        return first < end

    def to(self, run: str, checkpoints: Sequence[Checkpoint]) -> dict[str, list[str]]:
        """Checkpoint id to the links that lead to it, to something in it, or to the directory of its step.

        `checkpoints` are those of the run in the directory `run`. Links in a checkpoint to itself, and those that are
        other names of it, are left out. A link to a whole run (`latest -> exp3`) means none of them.
        """
        first, end = self._inside(run)
        at_or_in: dict[str, list[str]] = {}
        for target in self._targets[first:end]:
            for path in _upwards(target, run):
                at_or_in.setdefault(path, []).append(target)
        around: dict[str, list[str]] = {}
        found: dict[str, list[str]] = {}
        for checkpoint in checkpoints:
            for file in checkpoint.files:
                directory = file[: file.rfind("/")]
                if directory not in around:
                    means_one = directory != run and directory in self._leading and is_step(directory)
                    around[directory] = [directory] if means_one else []
                if around[directory] or file in at_or_in:
                    links = self._leading_to(checkpoint, (*around[directory], *at_or_in.get(file, ())))
                    if links:
                        found.setdefault(checkpoint.id, []).extend(links)
        return {checkpoint: sorted(set(links)) for checkpoint, links in found.items()}

    def _inside(self, run: str) -> tuple[int, int]:
        """Which of the sorted targets lie in a directory."""
        prefix = run.rstrip("/") + "/"
        return bisect_left(self._targets, prefix), bisect_left(self._targets, prefix[:-1] + "0")

    def _leading_to(self, checkpoint: Checkpoint, targets: Iterable[str]) -> list[str]:
        """The links to some paths that do not lie in a checkpoint themselves."""
        return [
            link
            for target in targets
            for link in self._leading[target]
            if not any(is_inside(link, file) for file in checkpoint.files)
        ]


NO_LINKS = Links()


def _upwards(path: str, top: str) -> Iterator[str]:
    """A path at or below `top` and every directory above it, up to `top`."""
    while is_inside(path, top):
        yield path
        if path == top or path == os.path.dirname(path):
            return
        path = os.path.dirname(path)
