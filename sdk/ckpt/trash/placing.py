"""Where the trash of somebody else's directory lies: never inside a checkpoint, and never beside one.

An extra entry beside its checkpoints makes a trainer crash, or delete another one. So the trash of a root lies in
`<root>/.ckptd/`; where the root itself holds checkpoints side by side, in `<parent>/.ckptd-<name>/`. Either is made at
the first removal and not before.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from ckpt import mounts
from ckpt.encoding import printable
from ckpt.exceptions import OperationError
from ckpt.files import pid_alive, sweep_temporaries
from ckpt.paths import is_inside
from ckpt.records import Record
from ckpt.trash.acts import Trash
from ckpt.trash.folder import opened
from ckpt.trash.journal import FULL, is_full
from ckpt.trash.owning import Owned, Owner

HIDDEN = ".ckptd"
_NAME_MAX = 255  # bytes
_PROBE = re.compile(r"\.probe-(\d+)-[0-9a-f]{8}")


class Place(Record, frozen=True, kw_only=True):
    """Where what is ours of one root lies. `root` and `directory` are absolute paths."""

    root: str
    directory: str
    """`<root>/.ckptd` or `<parent>/.ckptd-<name>`."""

    @property
    def trash(self) -> Path:
        """The directory of the trash."""
        return Path(self.directory) / "trash"

    @property
    def owner(self) -> Path:
        """Who may remove below the root."""
        return Path(self.directory) / "owner.json"

    def taken(self, owner_id: str) -> Owned | None:
        """Another owner that may remove below the root, whichever of its places that has; None when there is none.

        Raises OperationError when that cannot be told.
        """
        for path in dict.fromkeys((self.owner, *(place.owner for place in possible(self.root)))):
            owned = Owner(path).read()
            if owned is not None and owned.id != owner_id:
                return owned
        return None

    @property
    def is_made(self) -> bool:
        """Whether its trash is there."""
        return os.path.isdir(self.trash) and not os.path.islink(self.directory)

    def moved(self, old: str, new: str) -> Place:
        """The same where the directory `old`, and what lay in it, is called `new` now. Pure."""
        root, directory = (
            new + path[len(old.rstrip("/")) :] if is_inside(path, old) else path for path in (self.root, self.directory)
        )
        return Place(root=root, directory=directory)

    def open(self) -> Trash:
        """The trash here; its names are relative to the root, so a root that is moved with its trash keeps it."""
        return Trash(self.trash, base=Path(self.root))


def possible(root: str | Path) -> tuple[Place, ...]:
    """The places that a root's trash can have: in it, and beside it unless it is the top directory. Pure."""
    whole = os.path.abspath(root)
    parent, name = os.path.split(whole)
    inside = Place(root=whole, directory=os.path.join(whole, HIDDEN))
    if not name:
        return (inside,)
    return inside, Place(root=whole, directory=os.path.join(parent, _beside(name)))


def existing(root: str | Path) -> list[Place]:
    """The places of a root that were made: what was removed earlier may lie in another one than `where` says now."""
    return [place for place in possible(root) if place.is_made]


def where(root: str | Path, entries: Iterable[str]) -> Place:
    """Where the trash of a root belongs. Pure.

    `entries` are the absolute paths of the files and directories of all known checkpoints, those outside of the root
    among them. Raises OperationError where each place would lie in or beside a checkpoint.
    """
    places = possible(root)
    whole = places[0].root
    shown = printable(whole)
    holding: set[str] = set()
    for entry in entries:
        if whole == entry or whole.startswith(entry.rstrip("/") + "/"):
            raise OperationError(
                f"{shown} is a checkpoint itself or lies in one, so nothing may be written there",
                hint="watch the directory that holds the checkpoints of a run",
            )
        holding.add(os.path.dirname(entry))
    if whole not in holding:
        return places[0]
    if len(places) == 1 or os.path.dirname(whole) in holding:
        raise OperationError(
            f"{shown} and the directory above it both hold checkpoints side by side: a trash in either could make"
            " their trainer fail",
            hint="watch a directory further up",
        )
    return places[1]


def obstacle(place: Place, path: str | Path, table: str | None = None) -> str | None:
    """Why what is at a path below the root cannot be moved into the trash; None when nothing speaks against it.

    Only looks. `table` is the text of /proc/self/mountinfo, read unless given. The rename itself has the last word.
    """
    table = mounts.mount_table() if table is None else table
    anchor = os.path.realpath(os.path.dirname(place.directory))
    source = os.path.realpath(path)
    points = mounts.mount_points(table) or frozenset()
    holder = _holding_mount(source, points)
    if holder != _holding_mount(os.path.join(anchor, os.path.basename(place.directory)), points):
        return (
            f"{printable(holder)} is mounted there by itself, and a rename into {printable(place.directory)} would"
            " cross file systems"
        )
    if inner := mounts.mounted_below(table, [source]):
        return f"{printable(min(point for _, point in inner))} is mounted in it"
    for directory in (os.path.dirname(source), place.directory if os.path.isdir(place.directory) else anchor):
        try:
            if os.statvfs(directory).f_flag & os.ST_RDONLY:
                return f"{printable(directory)} lies on a file system that is mounted read-only"
        except OSError as error:
            return f"{printable(directory)} cannot be looked at: {error.strerror}"
        if not os.access(directory, os.W_OK | os.X_OK):
            return f"this user may not change the directory {printable(directory)}"
    return None


def make(place: Place) -> None:
    """Makes the place private to this user, and tries a rename in it.

    Raises OperationError when it cannot be used; then what was made for it is gone again.
    """
    parts = (os.path.basename(place.directory), place.trash.name)
    made: list[tuple[str, ...]] = []
    anchor = Path(place.directory).parent
    try:
        for depth, name in enumerate(parts):
            with opened(anchor, parts[:depth]) as folder, contextlib.suppress(FileExistsError):
                folder.make(name, mode=0o700)
                made.append(parts[: depth + 1])
        _probe(anchor, parts)
        sweep_temporaries(Path(place.directory))
    except OSError as error:
        for taken in reversed(made):
            with contextlib.suppress(OSError), opened(anchor, taken[:-1]) as folder:
                folder.remove_empty(taken[-1])
        hint = "it has to be a directory of its own on the disk of the checkpoints, which this user may write"
        raise OperationError(
            f"{printable(place.directory)} cannot hold the trash of {printable(place.root)}: {error.strerror}",
            hint=FULL if is_full(error) else hint,
        ) from error


def _probe(anchor: Path, parts: tuple[str, ...]) -> None:
    """Moves an empty directory from the place into its trash, as a checkpoint is moved. Raises OSError."""
    name = f".probe-{os.getpid()}-{secrets.token_hex(4)}"
    with opened(anchor, parts[:1]) as place, opened(anchor, parts) as trash:
        for folder in (place, trash):
            for left in map(_PROBE.fullmatch, folder.names()):
                if left is not None and not pid_alive(int(left[1])):
                    folder.remove_empty(left[0])
        place.make(name)
        try:
            place.move(name, trash)
        finally:
            place.remove_empty(name)
            trash.remove_empty(name)


def _holding_mount(path: str, points: frozenset[str]) -> str:
    """The mount that a path without symbolic links lies in; the path itself may be one."""
    while path not in points and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


def _beside(name: str) -> str:
    """The name beside a root of that name; a hash of one that would get too long."""
    raw = os.fsencode(name)
    if len(HIDDEN) + 1 + len(raw) <= _NAME_MAX:
        return f"{HIDDEN}-{name}"
    return f"{HIDDEN}-{hashlib.sha256(raw).hexdigest()[:32]}"
