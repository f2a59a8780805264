"""One watched directory: what it is to be, what it is, and how it fares."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ckpt.encoding import printable, quoted
from ckpt.scan import Excludes, Links
from ckpt.scan.linked import NO_LINKS
from ckptd.config.values import Root
from ckptd.roots.identity import Identity, renamed_to

State = Literal["ok", "degraded", "polling"]


@dataclass
class Watched:
    """A root and how it fares."""

    root: Root
    everywhere: tuple[str, ...] = ()
    """Patterns that are left out below every root."""
    identity: Identity | None = None
    """The directory that was accepted under the path."""
    doubted: bool = False
    """Whether its numbers cannot tell that it is still that directory, so that what is in it has to."""
    state: State = "ok"
    problem: str | None = None
    polled: str | None = None
    """Why it is looked at again and again instead of being watched."""
    moved_from: str | None = None
    """The root whose directory this is under its new name."""
    directories: int | None = None
    """How many directories a full look comes through; None before the first."""
    links: tuple[tuple[str, str], ...] = ()
    """Symbolic links to directories with runs outside the root, each with its target."""
    symlinks: Links = NO_LINKS
    """Every symbolic link below it that was seen, with the path that it leads to."""
    all_symlinks: bool = True
    """Whether none that leads into it is missing."""
    unreadable: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """Mount points below the root whose file systems are gone."""
    remounted: bool = False
    """Whether one of them has come back, so that events have to be asked for anew."""
    confirmed: bool = False
    """Whether a person has confirmed the first plan of this directory; until then nothing of others is removed."""

    proposed: Mapping[str, Any] | None = None
    """Given fields of the policy that it is to have from the confirmation of its first plan on; None for its own."""
    by_hand: str | None = None
    """Why nothing of others is removed here unasked: only plans that a person confirms are carried out."""

    @property
    def enforced(self) -> bool:
        """Whether policies act here on what other tools write."""
        return self.root.mode == "enforce" and self.confirmed

    @property
    def as_enforced(self) -> Root:
        """The root as it would be once its first plan is confirmed."""
        policy = self.root.policy if self.proposed is None else dict(self.proposed)
        enforced: Root = self.root.evolve(mode="enforce", policy=policy)
        return enforced

    @property
    def waits(self) -> bool:
        """Whether it is to be enforced as soon as somebody has seen its first plan."""
        return self.root.mode == "enforce" and not self.confirmed

    @property
    def patterns(self) -> tuple[str, ...]:
        """Everything that is left out below it."""
        return (*self.root.exclude, *self.everywhere)

    @property
    def excludes(self) -> Excludes:
        """What is left out below it, ready to be asked."""
        return Excludes(self.root.path, self.patterns)

    def check(self) -> str | None:
        """Why the root must not be believed now; None when it is the directory that was accepted and readable."""
        path = printable(self.root.path)
        try:
            found = Identity.of(self.root.path)
        except (FileNotFoundError, NotADirectoryError):
            return f"it cannot be reached: there is no such directory{self._moved() or '; is its disk mounted?'}"
        except OSError as error:
            return f"it cannot be reached: {error.strerror}"
        if self.identity is None:
            self.identity = found
        same = self.identity.is_(found)
        if same is False:
            accept = f"`ckpt watch add {path}` accepts what is there now"
            if self.identity.device != found.device:
                return f"another file system stands in its place, or its own is not mounted; mount it, or {accept}"
            return f"another directory stands in its place{self._moved() or ''}; {accept}"
        self.doubted = same is None
        if same:
            # Device numbers may change when a file system is mounted anew.
            self.identity = found
        try:
            with os.scandir(self.root.path) as entries:
                next(entries, None)
        except OSError as error:
            return f"it cannot be read: {error.strerror}"
        return None

    def trust(self) -> None:
        """Takes the directory that stands there now for the one that was accepted. Raises OSError."""
        self.identity = Identity.of(self.root.path)
        self.doubted = False

    def _moved(self) -> str | None:
        """What to say when the directory has another name beside the old one."""
        name = None if self.identity is None else renamed_to(self.root.path, self.identity)
        return name and f"; it was renamed to {printable(name)}: `ckpt watch add {quoted(name)}` follows it"
