"""From the disk to the catalog: full looks, looks at what events marked dirty, and the tail of running trainings.

A look never believes a root that is not what it was: then nothing is marked gone. One look runs at a time, and one run
is read at a time: who wants a single run waits for one run and not for a whole look.

    health.py   whether a root is believed    announced.py  runs outside all roots    states.py  the live numbers
    reader.py   one run at a time             adopting.py   marks that follow runs    places.py  where runs were
    metrics.py  the live numbers of others    symlinks.py   the links below a root
"""

from __future__ import annotations

import bisect
import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckpt import files, scan
from ckpt.paths import RunPaths, StatePaths, is_inside
from ckpt.scan import RunView, Survey
from ckpt.scan.finding import is_part
from ckptd.catalog.catalog import Catalog
from ckptd.events import Events
from ckptd.journal import Journal
from ckptd.looking import symlinks
from ckptd.looking.adopting import Adopting
from ckptd.looking.announced import Announced
from ckptd.looking.health import Health
from ckptd.looking.metrics import MetricTail
from ckptd.looking.reader import Reader, is_gone
from ckptd.looking.states import StateTail
from ckptd.policies import Policies
from ckptd.roots.roots import Roots
from ckptd.roots.watched import Watched

log = logging.getLogger("ckptd.scanner")


@dataclass
class Counts:
    """What the scanner did so far; part of the status."""

    full: int = 0
    partial: int = 0
    errors: int = 0
    last_full_s: float = 0.0
    last_error: str | None = None


class Scanner:
    """Keeps the catalog equal to the disk. Methods block and may be called from any thread."""

    def __init__(
        self,
        roots: Roots,
        policies: Policies,
        catalog: Catalog,
        events: Events,
        state: StatePaths | None,
        *,
        journal: Journal | None = None,
        prune: bool = True,
    ) -> None:
        """`prune` says whether anything may be written in the state directory; marks follow only with a journal."""
        self.counts = Counts()
        self._roots = roots
        self._policies = policies
        self._catalog = catalog
        self._writes = prune
        self._stopping = False
        self._relinked = False
        self._looking = threading.RLock()
        self._reading = threading.RLock()
        self._states = StateTail(catalog, events)
        self._metrics = MetricTail(catalog, events)
        self._health = Health(catalog, events, self.govern)
        self._announced = Announced(None if state is None else state.announced, writes=prune)
        adopting = None
        if state is not None and journal is not None and prune:
            adopting = Adopting(state.marks, events, journal, self._is_lost)
        self._reader = Reader(policies, catalog, events, self._states, state, adopting, self.failed)

    def stop(self) -> None:
        """Ends the look that runs, as soon as its present run is read; what was not looked at stays as it was."""
        self._stopping = True

    def full(self) -> set[str]:
        """Looks at all roots and announced runs; returns the ids of the runs that were read."""
        started = time.monotonic()
        read: set[str] = set()
        with self._looking:
            self.counts.full += 1
            self._reader.turn = self.counts.full
            for watched in self._roots.all():
                read |= self._look(watched)
            read |= self._look_at_announced()
            self._forget_strays()
            self._remember()
            self._relinked = False
            read |= self.govern()
        self.counts.last_full_s = time.monotonic() - started
        return read

    def anew(self) -> set[str]:
        """A full look that trusts nothing remembered."""
        with self._looking:
            self._reader.forget_all()
            for watched in self._roots.all():
                self._look(watched, quick=False)
            return self.full() | {view.run.id for view in self._catalog.all()}

    def look(self, watched: Watched) -> set[str]:
        """Looks at one root; returns the ids of the runs that were read."""
        with self._looking:
            read = self._look(watched)
            self._remember()
            return read | self._govern_relinked() | self.govern(watched.root.path)

    def dirty(self, directories: Mapping[str, bool]) -> set[str]:
        """Looks at what lies in and below changed directories; True means that runs may have come or gone there.

        Returns the ids of the runs that were read.
        """
        read: set[str] = set()
        with self._looking:
            self.counts.partial += 1
            runs, subtrees = self._affected(directories)
            known = sorted(view.run.path for view in self._catalog.all()) if subtrees else []
            for subtree in subtrees:
                watched = self._roots.holder(subtree)
                if watched is not None:
                    read |= self._look_below(watched, subtree, _below(known, subtree), runs)
            for path in sorted(runs):
                if self._catalog.at(path) is None:
                    # It was a checkpoint that could not be told from a run before more of it was there.
                    continue
                view = self.read(Path(path))
                if view is not None:
                    read.add(view.run.id)
            return read | self._govern_relinked()

    def read(self, directory: Path) -> RunView | None:
        """Looks at one run; None when it is gone or cannot be read, or its root is not to be believed."""
        with self._reading:
            path = str(directory)
            watched = self._roots.holder(path)
            if watched is not None and self._health.distrust(watched):
                return None
            return self._read(path, watched)

    @property
    def trashing(self) -> set[str]:
        """Ids of foreign checkpoints that whoever acts is about to move to a trash, until the run is read again."""
        return self._reader.trashing

    def govern(self, below: str | None = None) -> set[str]:
        """Plans every run anew, or those of a root, whose policy or situation is another now; returns their ids.

        Also those that are due. Nothing is read.
        """
        views = self._catalog.all()
        return self._reader.govern(views if below is None else (view for view in views if view.run.root == below))

    def govern_due(self) -> set[str]:
        """Plans those runs anew whose plan the passing of time alone has changed; returns their ids."""
        return self._reader.govern(self._policies.due(self._catalog.all()))

    def announce(self, directory: Path) -> RunView | None:
        """Takes a run that made itself known, wherever it lies; None when it cannot be read."""
        return self.read(directory)

    def forget(self, watched: Watched) -> None:
        """Drops the runs of a root that is not watched any more; those that made themselves known stay."""
        with self._looking:
            self._health.forget(watched)
            announced = self._announced.runs()
            for view in self._catalog.all():
                if view.run.root != watched.root.path:
                    continue
                if view.run.path in announced:
                    self._read(view.run.path, None)
                else:
                    self._gone(view)

    def accept(self, watched: Watched) -> None:
        """Believes a root at its next look, even when it is empty where runs were known."""
        self._health.accept(watched)

    def poll_training(self) -> set[str]:
        """Tells of new states of running trainings, and reads runs whose training ended or is writing."""
        read: set[str] = set()
        self._metrics.follow()
        for view in self._catalog.all():
            run = view.run
            if not run.own or run.status not in ("training", "stalled"):
                continue
            paths = RunPaths(Path(run.path))
            with contextlib.suppress(OSError):
                self._states.follow(run.id, paths)
            if files.FileLock(paths.lock).is_free():
                fresh = self.read(paths.directory)
                if fresh is not None:
                    read.add(fresh.run.id)
        return read

    def unsettled(self) -> list[Path]:
        """Run directories in which something is being written, to be looked at again now."""
        with self._reading:
            return self._reader.unsettled()

    def training_outside(self) -> list[Path]:
        """Directories of running trainings outside all roots."""
        return [
            Path(view.run.path)
            for view in self._catalog.all()
            if view.run.status == "training" and self._roots.holder(view.run.path) is None
        ]

    def failed(self, what: str, error: BaseException) -> None:
        """Counts and logs an error that must not end the daemon."""
        self.counts.errors += 1
        self.counts.last_error = f"{what}: {error}"
        log.error("%s: %s", what, error, exc_info=error)

    # Roots

    def _look(self, watched: Watched, *, quick: bool = True) -> set[str]:
        """Finds the runs of a root, reads those that changed, and drops those that are really gone."""
        root = watched.root.path
        known = {view.run.path for view in self._catalog.all() if is_inside(view.run.path, root)}
        if self._health.distrust(watched, known):
            return set()
        try:
            survey = scan.survey(Path(root), exclude=watched.patterns)
            expected = [path for path in known if not self._is_unknown(path, survey.unreadable)]
            if not self._health.believe(watched, expected, survey.runs):
                return set()
        except OSError as error:
            self._health.degrade(watched, f"it cannot be read: {error.strerror}")
            return set()
        watched.directories = survey.directories
        watched.links, watched.unreadable = survey.links, survey.unreadable
        self._see_symlinks(watched, root, survey)
        watched.all_symlinks = survey.all_symlinks
        read = self._read_all(watched, survey, quick=quick)
        self._drop(known, survey)
        if not self._stopping:
            self._settle_move(watched, survey)
            self._roots.disks.saw((*survey.runs, *watched.symlinks.directories))
        missing = {self._roots.disks.missing(path) for path in known.difference(survey.runs)} - {None}
        watched.remounted |= not missing.issuperset(watched.missing)
        watched.missing = tuple(sorted(point for point in missing if point is not None))
        return read

    def _look_below(self, watched: Watched, subtree: str, known: Iterable[str], runs: set[str]) -> set[str]:
        """The same for a subtree of a root; those in `runs` are left to the caller."""
        if self._health.distrust(watched):
            return set()
        try:
            survey = scan.survey(Path(watched.root.path), exclude=watched.patterns, below=Path(subtree))
        except OSError as error:
            self._health.degrade(watched, f"it cannot be read: {error.strerror}")
            return set()
        self._health.recover(watched)
        links = [link for link in watched.links if not is_inside(link[0], subtree)]
        watched.links = tuple(sorted((*links, *survey.links)))
        self._see_symlinks(watched, subtree, survey)
        watched.all_symlinks &= survey.all_symlinks
        unreadable = [path for path in watched.unreadable if not is_inside(path, subtree)]
        watched.unreadable = tuple(sorted((*unreadable, *survey.unreadable)))
        read = self._read_all(watched, survey, without=runs)
        self._drop(set(known), survey)
        return read

    def _govern_relinked(self) -> set[str]:
        """Plans those runs anew that other links lead to than before, in whatever root they lie; returns their ids."""
        relinked, self._relinked = self._relinked, False
        return self.govern() if relinked else set()

    def _see_symlinks(self, watched: Watched, below: str, survey: Survey) -> None:
        """Takes what a look at a directory saw of the links in it."""
        links = symlinks.seen(watched.symlinks, below, survey, lambda place: self._is_unknown(place, survey.unreadable))
        self._relinked = self._relinked or links is not watched.symlinks
        watched.symlinks = links

    def _read_all(
        self, watched: Watched, survey: Survey, *, quick: bool = True, without: Iterable[str] = ()
    ) -> set[str]:
        read: set[str] = set()
        for path in survey.runs:
            if self._stopping:
                break
            if path not in without:
                view = self._read(path, watched, quick=quick)
                if view is not None:
                    read.add(view.run.id)
        return read

    def _read(self, path: str, watched: Watched | None, *, quick: bool = False) -> RunView | None:
        def lost(place: str) -> bool:
            # Between the root's check and the look its disk may have gone.
            return self._is_lost(place) or (watched is not None and self._health.distrust(watched))

        def unreadable(place: str) -> None:
            if watched is not None and place not in watched.unreadable:
                watched.unreadable = tuple(sorted((*watched.unreadable, place)))

        root = None if watched is None else watched.root.path
        with self._reading:
            return self._reader.read(path, root, quick=quick, is_lost=lost, unreadable=unreadable)

    def _drop(self, known: set[str], survey: Survey) -> None:
        """Forgets known runs that a survey did not find, unless they may only be out of sight."""
        if self._stopping:
            return
        for path in sorted(known.difference(survey.runs)):
            # A run that was moved is known under its new path by now.
            gone = self._catalog.at(path)
            if gone is not None and not self._is_unknown(path, survey.unreadable):
                self._gone(gone)

    def _gone(self, view: RunView) -> None:
        with self._reading:
            self._reader.gone(view)

    def _is_unknown(self, path: str, unreadable: Iterable[str]) -> bool:
        """Whether a run that was not found may be there all the same."""
        hidden = any(is_inside(path, place) for place in unreadable)
        return hidden or self._is_lost(path) or not (is_gone(path) or os.access(path, os.R_OK | os.X_OK))

    def _is_lost(self, path: str) -> bool:
        return self._roots.disks.missing(path) is not None

    def _settle_move(self, watched: Watched, survey: Survey) -> None:
        """Drops what is still known of a root under its former name."""
        former = watched.moved_from
        if former is None:
            return
        found = set(survey.runs)
        for view in self._catalog.all():
            now = watched.root.path + view.run.path.removeprefix(former)
            if view.run.root == former and (now in found or self._roots.holder(view.run.path) is None):
                self._gone(view)

    def _affected(self, directories: Mapping[str, bool]) -> tuple[set[str], list[str]]:
        """The known runs that changed directories belong to, and the subtrees in which runs may have come or gone."""
        runs: set[str] = set()
        subtrees: set[str] = set()
        for directory, structural in directories.items():
            structural = structural or self._lost_links(directory)
            above = next((view for path in _parents(directory) if (view := self._catalog.at(path))), None)
            if above is not None:
                runs.add(above.run.path)
                runs |= self._whose_part(above.run.path)
                if above.run.own:
                    structural = _tells_of_own(RunPaths(Path(above.run.path)), directory, structural)
            if structural:
                watched = self._roots.holder(directory)
                if watched is not None and not watched.excludes.covers(directory):
                    subtrees.add(directory)
        return runs, [
            path for path in sorted(subtrees) if not any(p in subtrees for p in _parents(os.path.dirname(path)))
        ]

    def _lost_links(self, directory: str) -> bool:
        """Whether a symbolic link that lay in a directory has gone."""
        watched = self._roots.holder(directory)
        return watched is not None and symlinks.any_gone(watched.symlinks, directory)

    def _whose_part(self, path: str) -> set[str]:
        """The known runs of which a run's directory is a part as well (`exp/checkpoints` beside `exp`)."""
        above = set()
        while is_part(path):
            path = os.path.dirname(path)
            if self._catalog.at(path) is not None:
                above.add(path)
        return above

    def _remember(self) -> None:
        if self._writes:
            try:
                self._roots.remember()
            except OSError as error:
                self.failed("the list of roots cannot be written", error)

    # Runs outside all roots

    def _look_at_announced(self) -> set[str]:
        read: set[str] = set()
        for path, notes in self._announced.runs().items():
            if self._stopping:
                break
            if self._roots.holder(path) is not None:
                continue
            if is_gone(path):
                # A missing parent may be a disk that is not mounted.
                if self._is_lost(path) or not os.path.isdir(os.path.dirname(path)):
                    continue
                known = self._catalog.at(path)
                moved = self._announced.follow(path, notes, None if known is None else known.run.id)
                if moved is None:
                    self._announced.drop(notes)
                    continue
                path = moved
            view = self._read(path, None, quick=True)
            if view is not None:
                read.add(view.run.id)
            self._roots.disks.saw([path])
        return read

    def _forget_strays(self) -> None:
        """Drops runs that neither a root nor an announcement speaks for any more."""
        announced = self._announced.runs()
        for view in self._catalog.all():
            if view.run.path not in announced and self._roots.holder(view.run.path) is None:
                self._gone(view)


def _parents(path: str) -> Iterable[str]:
    """The path itself and all directories above it, nearest first."""
    while True:
        yield path
        above = os.path.dirname(path)
        if above == path:
            return
        path = above


def _tells_of_own(own: RunPaths, directory: str, structural: bool) -> bool:
    """Whether runs or links may have come or gone in a changed directory that is an own run or lies in one."""
    if directory == str(own.directory) and not os.path.isfile(own.manifest):
        return True
    return structural and directory in (str(own.directory), str(own.checkpoints))


def _below(known: list[str], directory: str) -> list[str]:
    """Those of some sorted paths that are a directory or lie in it."""
    prefix = directory.rstrip("/") + "/"
    inside = known[bisect.bisect_left(known, prefix) : bisect.bisect_left(known, prefix[:-1] + "0")]
    at = bisect.bisect_left(known, directory)
    return [*known[at : at + 1], *inside] if at < len(known) and known[at] == directory else inside
