"""The watched directories: which, who named them, and whether each is still what it was."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ckpt.encoding import printable
from ckpt.exceptions import AddressError, CkptError, OperationError, UsageError
from ckpt.paths import is_inside
from ckpt.trash.placing import Place
from ckptd.config.values import Origin, Root, check_given
from ckptd.roots import enforcing
from ckptd.roots.accepting import check_directory, is_same, moved_into
from ckptd.roots.disks import Disks
from ckptd.roots.identity import Identity
from ckptd.roots.store import RootStore, Stored
from ckptd.roots.watched import Watched


class Roots:
    """All watched roots by path. Those of commands are kept in a file; `store` None keeps nothing."""

    def __init__(self, store: Path | None) -> None:
        self._store = RootStore(store)
        self._lock = threading.RLock()
        self._watched: dict[str, Watched] = {}
        self._everywhere: tuple[str, ...] = ()
        self.disks = Disks()
        self._places: frozenset[Place] = frozenset()
        """Where trashes of roots were made."""
        self._aside: dict[str, Root] = {}
        """Roots of commands that config.toml names too, or names one above: theirs again when it does not any more."""

    def load(
        self, configured: Iterable[Root], session: Iterable[str] = (), *, everywhere: Sequence[str] = ()
    ) -> list[str]:
        """Takes the roots of config.toml, of commands and of the command line; returns what had to be left out.

        `everywhere` are patterns that are left out below every root.
        """
        problems: list[str] = []
        wanted: list[Root] = list(configured)
        stored = self._stored(problems)
        wanted += stored.roots
        wanted += [Root(path=os.path.realpath(path), origin="session") for path in session]
        with self._lock:
            before = self._watched
            self._everywhere = tuple(everywhere)
            self.disks.known = {**stored.disks, **self.disks.known}
            self._places |= stored.places
            wanted += [w.root for w in before.values() if w.root.origin == "session"]
            confirmed = {path for path in stored.confirmed if path not in before}
            confirmed |= {path for path, w in before.items() if w.confirmed}
            self._watched, self._aside = {}, {}
            for root in sorted(wanted, key=lambda r: len(r.path)):
                holder = self.holder(root.path)
                if holder is not None:
                    if root.origin == "command":
                        self._aside[root.path] = root
                    if holder.root.path != root.path:
                        lost = ", and is not enforced any more" if root.mode == "enforce" else ""
                        problems.append(f"{printable(root.path)} lies inside {printable(holder.root.path)}{lost}")
                    continue
                kept = before.get(root.path) or Watched(root, identity=stored.seen.get(root.path))
                kept.root = root
                kept.everywhere = self._everywhere
                kept.confirmed = root.mode == "enforce" and root.path in confirmed
                kept.by_hand = enforcing.by_hand(root.path)
                self._watched[root.path] = kept
        return problems

    def resulting(self, configured: Iterable[Root], *, everywhere: Sequence[str] = ()) -> list[Watched]:
        """All roots, by path, as `load` would make them with other ones from config.toml; nothing changes."""
        after = Roots(self._store.path)
        session = [watched.root.path for watched in self.all() if watched.root.origin == "session"]
        after.load(configured, session, everywhere=everywhere)
        return after.all()

    def all(self) -> list[Watched]:
        """All roots, by path."""
        with self._lock:
            return [self._watched[path] for path in sorted(self._watched)]

    def holder(self, path: str) -> Watched | None:
        """The root at or above a path."""
        with self._lock:
            for watched in self._watched.values():
                if is_inside(path, watched.root.path):
                    return watched
        return None

    def add(
        self, path: str, mode: Literal["observe"] | None, exclude: Sequence[str], *, keep: bool = True
    ) -> tuple[Watched, list[Watched]]:
        """Watches a directory; returns it and the roots inside it that it takes over.

        Roots that were moved into it are taken over too. Naming a root again sets its excludes and accepts the
        directory that stands there now; without a `mode` it keeps its own, but another directory needs its first plan
        confirmed anew. A directory that was a root under another name replaces that root (`moved_from`). Raises
        UsageError for one that does not exist, is no directory, is not readable, lies inside another, or contains one
        that is enforced.
        """
        real = check_directory(path)
        origin: Origin = "command" if keep else "session"
        with self._lock:
            holder = self.holder(real)
            if holder is not None and holder.root.path != real:
                raise UsageError(
                    f"{printable(real)} is already watched by {printable(holder.root.path)}",
                    hint="every run below a root is watched; nothing needs to be added",
                )
            if holder is not None and holder.root.origin == "config.toml":
                if keep:
                    known = self._aside.get(real, Root(path=real))
                    self._aside[real] = known.evolve(exclude=tuple(exclude), origin="command")
                origin = "config.toml"
                exclude = holder.root.exclude
            inner = [w for w in self._watched.values() if is_inside(w.root.path, real) and w.root.path != real]
            named = [w for w in inner if w.root.origin == "config.toml"]
            if named:
                raise UsageError(
                    f"{printable(real)} contains {printable(named[0].root.path)}, which config.toml names",
                    hint="roots may not lie in each other: change config.toml, or add a narrower directory",
                )
            # Of a root that is known already, a passing session must not unmake the kept one.
            if holder is not None and holder.root.origin == "command":
                origin = "command"
            before, places = dict(self._watched), self._places
            inner += [w for w in self._watched.values() if moved_into(w, real)]
            enforcing.check_inner(real, inner)
            for watched in inner:
                del self._watched[watched.root.path]
                self._aside.pop(watched.root.path, None)
                if not is_inside(watched.root.path, real):
                    self._follow(watched.root.path, os.path.join(real, os.path.basename(watched.root.path)))
            moved = None if holder is not None else self._known_as(real)
            if moved is not None:
                exclude = exclude or moved.root.exclude
                # What config.toml names stays until it is changed there.
                if moved.root.origin != "config.toml":
                    self._watched.pop(moved.root.path, None)
                self._follow(moved.root.path, real)
            former = holder or moved
            root = Root(path=real) if former is None else former.root
            if mode is not None and origin == "config.toml":
                self._said_there(former or Watched(root), mode)
            added = Watched(
                root.evolve(path=real, exclude=tuple(exclude), origin=origin, mode=mode or root.mode),
                everywhere=self._everywhere,
                moved_from=None if moved is None else moved.root.path,
                by_hand=enforcing.by_hand(real),
            )
            with contextlib.suppress(OSError):
                added.trust()
            added.confirmed = (
                added.root.mode == "enforce" and former is not None and former.confirmed and is_same(former, added)
            )
            self.disks.forget(real)
            self._watched[real] = added
            try:
                self._save()
            except OSError as error:
                self._watched, self._places = before, places
                raise OperationError(f"the list of roots could not be written: {error}") from error
            return added, inner

    def remove(self, path: str) -> Watched:
        """Stops watching a root; its files stay. Raises AddressError and UsageError."""
        with self._lock:
            watched = self.known(path)
            if watched.root.origin == "config.toml":
                raise UsageError(
                    f"{printable(watched.root.path)} is named in config.toml", hint="remove it there, then reload"
                )
            del self._watched[watched.root.path]
            try:
                self._save()
            except OSError as error:
                self._watched[watched.root.path] = watched
                raise OperationError(f"the list of roots could not be written: {error}") from error
            return watched

    def enforce(self, path: str, policy: Mapping[str, Any] | None = None) -> Watched:
        """Lets policies act on what other tools write below a root, whose first plan a person has confirmed.

        `policy` are the given fields of its policy that the plan was made with; None stands for what was proposed
        last. Either is settled by it. Raises AddressError for what is no root, UsageError where that must not
        be, or config.toml says otherwise, and OperationError.
        """
        with self._lock:
            watched = self.known(path)
            enforcing.check_root(watched.root.path)
            root = watched.root
            if root.origin == "config.toml":
                self._said_there(watched, "enforce")
                if policy is not None:
                    self._policy_is_there(watched, policy)
            else:
                held = watched.as_enforced.policy if policy is None else check_given(policy, named=False)
                root = root.evolve(mode="enforce", policy=held, origin="command")
            self._change(watched, root, confirmed=True)
            watched.proposed = None
            return watched

    def propose(self, path: str, given: Mapping[str, Any] | None) -> Watched:
        """Takes the policy that a root would have, for its first plan to be made; nothing else changes.

        `given` None stands for the policy that it has. Raises as `enforce` does, and StateError.
        """
        with self._lock:
            watched = self.known(path)
            enforcing.check_root(watched.root.path)
            if watched.root.origin == "config.toml":
                self._said_there(watched, "enforce")
                if given is not None:
                    self._policy_is_there(watched, given)
            watched.proposed = None if given is None else check_given(given, named=False)
            return watched

    def observe(self, path: str) -> Watched:
        """Only looks at a root from now on. Raises as `enforce` does."""
        with self._lock:
            watched = self.known(path)
            if watched.root.origin == "config.toml":
                self._said_there(watched, "observe")
            self._change(watched, watched.root.evolve(mode="observe"), confirmed=False)
            return watched

    def take_back(self, path: str, root: Root, *, confirmed: bool) -> None:
        """Unmakes an `enforce` whose first plan could not be carried out; `root` and `confirmed` are what was before.

        That holds at once. A disk that takes no line for it gets one at the next `remember`. Raises AddressError.
        """
        with self._lock:
            watched = self.known(path)
            watched.root, watched.confirmed = root, confirmed
            with contextlib.suppress(OSError):
                self._save()

    def set_policy(self, path: str, given: Mapping[str, Any]) -> Watched:
        """Sets the given fields of the policy of what lies below a root. Raises as `enforce` does, and StateError."""
        with self._lock:
            watched = self.known(path)
            if watched.root.origin == "config.toml":
                self._policy_is_there(watched, given)
            root = watched.root.evolve(policy=check_given(given, named=False))
            self._change(watched, root, confirmed=watched.confirmed)
            return watched

    def known(self, path: str) -> Watched:
        """The root at a path. Raises AddressError when there is none."""
        real = os.path.realpath(os.path.expanduser(path))
        watched = self._watched.get(real) or self._watched.get(path)
        if watched is None:
            known = [printable(p) for p in sorted(self._watched)]
            raise AddressError(
                f"{printable(path)} is not watched",
                hint="watched: " + ", ".join(known) if known else "nothing is watched; add with `ckpt watch add`",
                candidates=known,
            )
        return watched

    def places(self) -> list[Place]:
        """Where the trashes of the directories that are roots now, or lie in one, were made."""
        with self._lock:
            known = sorted(self._places, key=lambda place: (place.root, place.directory))
            return [place for place in known if self.holder(place.root) is not None]

    def keep_place(self, place: Place) -> None:
        """Remembers where the trash of a root is made, whatever becomes of the root. Raises OperationError."""
        with self._lock:
            before = self._places
            if place in before:
                return
            self._places = before | {place}
            try:
                self._save()
            except OSError as error:
                self._places = before
                raise OperationError(f"the list of roots could not be written: {error}") from error

    def remember(self) -> None:
        """Keeps which directories the roots are now, and on which disks runs lie. Raises OSError."""
        with self._lock:
            self._save()

    def _known_as(self, real: str) -> Watched | None:
        """The root whose directory now stands at another path; None when it is none."""
        try:
            found = Identity.of(real)
        except OSError:
            return None
        for watched in self._watched.values():
            known = watched.identity
            if watched.root.path == real or known is None or known.is_(found) is not True:
                continue
            try:
                if known.is_(Identity.of(watched.root.path)) is True:
                    continue
            except OSError:
                pass
            return watched
        return None

    def _save(self) -> None:
        confirmed = frozenset(path for path, w in self._watched.items() if w.confirmed)
        kept = [w.root for w in self._watched.values() if w.root.origin == "command"] + list(self._aside.values())
        seen = {path: w.identity for path, w in self._watched.items() if w.identity is not None}
        self._store.write(
            Stored(roots=tuple(kept), seen=seen, disks=self.disks.known, confirmed=confirmed, places=self._places)
        )

    def _follow(self, old: str, new: str) -> None:
        """Remembers the trashes of a directory, and of those in it, under its new name."""
        self._places = frozenset(place.moved(old, new) for place in self._places)

    def _change(self, watched: Watched, root: Root, *, confirmed: bool) -> None:
        before = watched.root, watched.confirmed
        watched.root, watched.confirmed = root, confirmed
        try:
            self._save()
        except OSError as error:
            watched.root, watched.confirmed = before
            raise OperationError(f"the list of roots could not be written: {error}") from error

    def _said_there(self, watched: Watched, mode: str) -> bool:
        """True where config.toml gives a root this mode. Raises UsageError where it gives another."""
        if watched.root.mode != mode:
            raise UsageError(
                f"{printable(watched.root.path)} is named in config.toml with mode {watched.root.mode}",
                hint=f'write mode = "{mode}" in its [[root]], then `ckptd reload`',
            )
        return True

    def _policy_is_there(self, watched: Watched, given: Mapping[str, Any]) -> None:
        """Raises UsageError for another policy than config.toml gives a root."""
        if check_given(given, named=False) != watched.root.policy:
            raise UsageError(
                f"{printable(watched.root.path)} is named in config.toml, and its policy is what stands there",
                hint="change `policy` in its [[root]], then `ckptd reload`",
            )

    def _stored(self, problems: list[str]) -> Stored:
        try:
            return self._store.read()
        except (OSError, CkptError, ValueError, KeyError, TypeError, AttributeError) as error:
            problems.append(f"{self._store.path} cannot be used ({error}); add its roots again with `ckpt watch add`")
            return Stored()
