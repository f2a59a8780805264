"""The walk below a root: where runs are, and what the walk did not see.

Directories are listed once and never opened twice; no file is opened. Symbolic links are not followed. A directory
that is one checkpoint is a part of the run above it and is not walked into.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ckpt.formats.directories import known
from ckpt.formats.suffixes import may_tell
from ckpt.paths import POINTER_NAMES, RunPaths, is_inside, is_temporary
from ckpt.records import Record
from ckpt.scan.excludes import ENVIRONMENT_MARKS, Excludes, is_environment
from ckpt.scan.finding import is_own, may_be_checkpoint, run_above, topmost_checkpoint
from ckpt.scan.symlinks import Symlinks

LINK_DEPTH = 4  # directories below the target of a link that are looked at
LINK_DIRECTORIES = 100  # directories that are listed to know whether a link leads to runs
LINK_TARGETS = 64  # targets of links that are looked at in one survey


class Survey(Record, frozen=True, kw_only=True):
    """What a walk found. Paths are absolute and sorted."""

    runs: tuple[str, ...] = ()
    """Directories of runs, own and foreign."""
    links: tuple[tuple[str, str], ...] = ()
    """Symbolic links to directories with runs outside what is walked, each with its target."""
    symlinks: tuple[tuple[str, str], ...] = ()
    """Every symbolic link that was seen, each with the path that it leads to; bounded. The pointers of own runs are
    left out."""
    all_symlinks: bool = True
    """Whether none that leads into the root is missing."""
    unreadable: tuple[str, ...] = ()
    """Directories that exist and could not be listed: nothing is known of what is in them."""
    directories: int = 0
    """How many directories were listed."""


def survey(root: Path, *, exclude: Sequence[str] = (), below: Path | None = None) -> Survey:
    """Walks `root`, or only what lies at and below `below` in it.

    `exclude` adds glob patterns of directory names or of paths relative to the root. Virtual environments are left out.
    A subtree gives the same runs as they would be found from the root: the run that a subdirectory is a part of lies
    above it. A subtree that does not exist, or that is left out, holds nothing. Raises OSError when the root itself
    cannot be listed.
    """
    top = os.path.abspath(root)
    excludes = Excludes(top, exclude)
    start = top if below is None else os.path.abspath(below)
    if start != top:
        if not start.startswith(top.rstrip("/") + "/"):
            raise ValueError(f"{start} does not lie in {top}")
        if excludes.covers(start):
            return Survey()
        try:
            stop = _stop(top, start)
        except OSError:
            return Survey(unreadable=(start,))
        if stop is not None:
            return _survey_of(stop, start, top, excludes)
        start = topmost_checkpoint(start, top) or start
    walk = _Walk(top, excludes)
    walk.go(start)
    return Survey(
        runs=tuple(sorted(walk.runs)),
        links=tuple(sorted(_outside(walk.links, top, excludes))),
        symlinks=walk.symlinks.sorted(),
        all_symlinks=walk.symlinks.are_all,
        unreadable=tuple(sorted(walk.unreadable)),
        directories=walk.directories,
    )


def find_runs(root: Path, *, exclude: Sequence[str] = ()) -> list[Path]:
    """Run directories at and below `root`, sorted. Raises OSError when the root itself cannot be listed."""
    return [Path(path) for path in survey(root, exclude=exclude).runs]


class _Walk:
    """One walk with everything that it collects."""

    def __init__(self, top: str, excludes: Excludes, *, depth: int | None = None, most: int | None = None) -> None:
        self._top = top
        self._excludes = excludes
        self._depth = depth
        self._most = most
        self.runs: set[str] = set()
        self.links: list[str] = []
        self.symlinks = Symlinks(top)
        self.unreadable: list[str] = []
        self.directories = 0

    def go(self, start: str) -> None:
        """Lists `start` and all below it. Raises OSError when it is the top and cannot be listed."""
        passes_over = self._excludes.passes_over
        level = [start]
        depth = 0
        while level and (self._depth is None or depth <= self._depth):
            below: list[str] = []
            for directory in level:
                if self._most is not None and self.directories >= self._most:
                    return
                try:
                    with os.scandir(directory) as entries:
                        found = self._take(directory, entries)
                except (FileNotFoundError, NotADirectoryError):
                    # It went while the walk was on its way to it.
                    if directory == self._top:
                        raise
                    continue
                except OSError:
                    if directory == self._top:
                        raise
                    self.unreadable.append(directory)
                    continue
                self.directories += 1
                below += [path for path in found if not passes_over(path)]
            level = below
            depth += 1

    def _take(self, directory: str, entries: Iterable[os.DirEntry[str]]) -> list[str]:
        """Adds the run and the links that one directory gives; returns the directories in it that may give more.

        Entries are not kept: a directory of a data set may hold millions. Raises OSError.
        """
        below: list[str] = []
        links: list[str] = []
        files: set[str] = set()
        directories: set[str] = set()
        holds = False
        for entry in entries:
            name = entry.name
            if entry.is_dir(follow_symlinks=False):
                if name in ENVIRONMENT_MARKS and directory != self._top:
                    return []
                below.append(entry.path)
                directories.add(name)
            elif name == "run.json" and self._is_own(directory):
                for link in _links_of_own(directory):
                    self.symlinks.add(link)
                return []
            elif entry.is_symlink():
                links.append(entry.path)
                files.add(name)
            elif name in ENVIRONMENT_MARKS and directory != self._top:
                return []
            elif may_tell(name):
                files.add(name)
                holds = holds or may_be_checkpoint(name)
        for link in links:
            self.symlinks.add(link)
        if known.recognise(os.path.basename(directory), files, directories) is not None:
            above = directory if directory == self._top else os.path.dirname(directory)
            self.runs.add(run_above(above, self._top))
            return []
        if holds:
            self.runs.add(run_above(directory, self._top))
        self.links += [path for path in links if not self._excludes.passes_over(path)]
        return below

    def _is_own(self, directory: str) -> bool:
        """Whether nothing below a directory with a `run.json` is to be looked at."""
        try:
            if not is_own(Path(directory)):
                return False
            self.runs.add(directory)
        except OSError:
            self.unreadable.append(directory)
        return True


def _stop(top: str, start: str) -> str | None:
    """The first directory on the way from the root to `start` that a walk would not go below or into."""
    path = top
    for part in start[len(top.rstrip("/")) + 1 :].split("/"):
        if is_own(Path(path)) or (path != top and is_environment(path)):
            return path
        path = os.path.join(path, part)
        if os.path.islink(path):
            return path
    return None


def _survey_of(stop: str, start: str, top: str, excludes: Excludes) -> Survey:
    """What a walk from the root would see of `start`, although it goes no further than `stop` above it."""
    if os.path.islink(stop):
        return Survey(links=tuple(_outside([stop], top, excludes)))
    if not is_own(Path(stop)):
        return Survey()
    symlinks = Symlinks(top)
    for link in _links_of_own(stop):
        if is_inside(link, start):
            symlinks.add(link)
    return Survey(runs=(stop,), symlinks=symlinks.sorted(), all_symlinks=symlinks.are_all)


def _links_of_own(directory: str) -> Iterator[str]:
    """The symbolic links in an own run and its checkpoints that the SDK did not make."""
    checkpoints = str(RunPaths(Path(directory)).checkpoints)
    for place, ours in ((directory, frozenset[str]()), (checkpoints, POINTER_NAMES)):
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                if entry.is_symlink() and entry.name not in ours and not is_temporary(entry.name):
                    yield entry.path


def _outside(links: Iterable[str], top: str, excludes: Excludes) -> Iterator[tuple[str, str]]:
    """The links that lead to directories with runs which the walk does not come to."""
    known: dict[str, bool] = {}
    inside = top.rstrip("/") + "/"
    for link in sorted(links):
        if not os.path.isdir(link):
            continue
        target = os.path.realpath(link)
        walked = target == top or (target.startswith(inside) and not excludes.covers(target))
        if walked or inside.startswith(target.rstrip("/") + "/"):
            continue
        if target not in known:
            if len(known) >= LINK_TARGETS:
                continue
            known[target] = _holds_runs(target)
        if known[target]:
            yield link, target


def _holds_runs(target: str) -> bool:
    walk = _Walk(target, Excludes(target), depth=LINK_DEPTH, most=LINK_DIRECTORIES)
    try:
        walk.go(target)
    except OSError:
        return False
    return bool(walk.runs)
