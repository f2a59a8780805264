"""Remove, restore and purge, each journaled before it begins."""

from __future__ import annotations

import contextlib
import difflib
import errno
import math
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckpt import files as file_acts
from ckpt.encoding import printable
from ckpt.exceptions import AddressError, OperationError, UsageError
from ckpt.records import Reason
from ckpt.trash import recovery
from ckpt.trash.choosing import choose
from ckpt.trash.entries import ENTRY_ID, TrashEntry, entry_from_disk, entry_to_disk, make_entry
from ckpt.trash.journal import FULL, Journal, is_full
from ckpt.trash.moves import ENTRY_FILE, Moves
from ckpt.trash.stamps import Stamp

LOCK_WAIT_S = 10.0
_NOT_ALLOWED = "it belongs to another user, or is protected against changes (`ls -ld`, `lsattr -d`)"
_HINTS = {
    errno.EXDEV: "the trash has to be on the file system of the checkpoints; nothing is ever copied and deleted",
    errno.EPERM: _NOT_ALLOWED,
    errno.EACCES: _NOT_ALLOWED,
    errno.EROFS: "the file system is mounted read-only",
    errno.EBUSY: "something is mounted there",
    errno.ESTALE: "plan again",
}


class Trash:
    """The trash in one directory, for files below `base` (the directory that holds it, unless given).

    It lies in the base directory or in one beside that. Acts of several processes wait for each other; LockedError
    after 10 s. Before its first act an object finishes what a crash left half way.
    """

    def __init__(self, directory: Path, *, base: Path | None = None) -> None:
        self.directory = Path(os.path.abspath(directory))
        self.base = self.directory.parent if base is None else Path(os.path.abspath(base))
        self._journal = Journal(self.directory)
        self._moves = Moves(self.base, self.directory)
        self._is_recovered = False

    def remove(
        self,
        files: Sequence[Path],
        *,
        run: str,
        checkpoint: Mapping[str, Any],
        plan: str,
        reasons: Iterable[Mapping[str, Any] | Reason],
        near_misses: Iterable[Mapping[str, Any] | Reason] = (),
        keep_for_s: float,
        now: float | None = None,
        expected: Mapping[str, Stamp | None] | None = None,
    ) -> TrashEntry:
        """Moves the files of one checkpoint into the trash together, commit markers first.

        Files may be directories. `keep_for_s` seconds from `now` (Unix seconds, the clock's unless given) on it may
        be purged; whoever purges has to know that they have passed. `expected` says, by path, what each of the files
        was when its removal was decided; they are compared again right at the renames. Raises UsageError for files
        outside the base directory, and OperationError, with everything where it was, when one is missing, a symbolic
        link or reached through one, has changed since, or cannot be renamed.
        """
        if not math.isfinite(keep_for_s) or keep_for_s < 0:
            raise UsageError(f"keep_for_s is {keep_for_s}, and has to be 0 seconds or more")
        at = time.time() if now is None else now
        items, stamps = choose(files, self.base, self.directory, expected)
        entry = make_entry(
            items,
            self.base,
            id=self._new_id(at),
            run=run,
            bytes=sum(stamp.bytes for stamp in stamps.values()),
            trashed_at=at,
            keep_for_s=keep_for_s,
            plan=plan,
            reasons=reasons,
            near_misses=near_misses,
            checkpoint=checkpoint,
        )
        self._make_directory()
        with self._locked():
            try:
                self._journal.begin("remove", entry.id, entry=entry_to_disk(entry))
            except OSError as error:
                raise self._failed("removed", entry, error) from error
            try:
                self._journal.with_room(lambda: self._moves.make(entry))
                # Without room for it the journal alone describes the entry.
                with contextlib.suppress(OSError):
                    self._journal.with_room(lambda: self._moves.describe(entry))
                self._moves.send(entry, entry.items, stamps)
            except BaseException as error:
                self._take_back(entry)
                if isinstance(error, OSError):
                    raise self._failed("removed", entry, error) from error
                raise
            self._journal.end("removed", entry.id)
        return entry

    def entries(self) -> list[TrashEntry]:
        """What lies in the trash, newest first. Entries that this version cannot read are not among them."""
        found = [entry for name in self._entry_names() if (entry := self._read(name)) is not None]
        return sorted(found, key=lambda entry: (entry.trashed_at, entry.id), reverse=True)

    def restore(self, entry_id: str) -> list[Path]:
        """Moves the files of an entry back to where they were, commit markers last; returns their paths.

        Raises AddressError for an unknown entry, and OperationError, with everything in the trash as before, when a
        name is taken or a file is missing.
        """
        with self._locked():
            entry = self._find(entry_id)
            order = tuple(reversed(entry.items))
            try:
                self._check_return(entry)
                self._journal.begin("restore", entry.id)
            except OSError as error:
                raise self._failed("restored", entry, error) from error
            try:
                self._moves.bring(entry, order)
            except BaseException as error:
                self._put_back(entry)
                if isinstance(error, OSError):
                    raise self._failed("restored", entry, error) from error
                raise
            # What cannot be tidied now stays begun, and the next recovery tidies it.
            with contextlib.suppress(OSError):
                self._moves.clear(entry)
                self._journal.end("restored", entry.id)
        return [self.base / item.name for item in order]

    def purge(self, entry_id: str) -> int:
        """Deletes an entry for good; returns the bytes that are free then.

        Raises AddressError for an unknown entry, and OperationError when not all of it could be deleted; the rest
        goes at the next recovery.
        """
        with self._locked():
            entry = self._find(entry_id)
            try:
                try:
                    self._journal.begin("purge", entry.id, bytes=entry.bytes)
                except OSError as error:
                    # A purge makes room; its rename says as much as the line would have.
                    if not is_full(error):
                        raise
                self._moves.mark_purging(entry.id)
                freed = self._moves.delete_purging(entry.id)
            except OSError as error:
                raise self._failed("purged", entry, error) from error
            self._journal.end("purged", entry.id)
            self._journal.hold_reserve()
        return freed

    def recover(self) -> list[str]:
        """Finishes, or takes back, what a crash left half way; returns a sentence for each. Safe to repeat."""
        if not self._is_there():
            return []
        self._is_recovered = True
        with self._locked():
            return recovery.recover(self._journal, self._moves, self._read_journaled)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._is_there():
            yield
            return
        lock = file_acts.FileLock(self._journal.path)
        try:
            lock.acquire(wait_s=LOCK_WAIT_S)
        except OSError as error:
            shown = printable(str(self.directory))
            raise OperationError(f"the trash {shown} cannot be written: {error.strerror}") from error
        try:
            if not self._is_recovered:
                self._is_recovered = True
                recovery.recover(self._journal, self._moves, self._read_journaled)
            yield
        except OSError as error:
            shown = printable(str(self.directory))
            raise OperationError(f"the trash {shown} cannot be used: {error.strerror or error}") from error
        finally:
            lock.release()

    def _is_there(self) -> bool:
        """Whether the trash is a directory of its own; a link is none, and nothing is made where it leads."""
        try:
            with self._moves.open_trash():
                return True
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True

    def _make_directory(self) -> None:
        try:
            with self._moves.open_trash(create=True):
                pass
        except OSError as error:
            raise OperationError(
                f"the trash {printable(str(self.directory))} cannot be used: {error.strerror}",
                hint=FULL
                if is_full(error)
                else "it has to be a directory of its own on the disk of the checkpoints, not a link",
            ) from error
        self._journal.hold_reserve()

    def _new_id(self, at: float) -> str:
        """Milliseconds in 11 hexadecimal digits, which last until the year 2527, and 4 of chance.

        Of several within the same millisecond each is greater than those before it.
        """
        moment = f"{max(0, int(at * 1000)):011x}"
        try:
            same = [name for name in self._entry_names() if name.startswith(moment)]
        except OSError as error:
            raise OperationError(
                f"{printable(str(self.directory))} cannot be read: {error.strerror}", hint="nothing was removed"
            ) from error
        name = f"{int(max(same), 16) + 1:015x}" if same else moment + secrets.token_hex(2)
        while os.path.lexists(self.directory / name):
            name = f"{int(name, 16) + 1:015x}"
        return name

    def _entry_names(self) -> list[str]:
        if not self._is_there():
            return []
        try:
            with os.scandir(self.directory) as found:
                return [e.name for e in found if ENTRY_ID.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _read(self, name: str) -> TrashEntry | None:
        entry = None
        with contextlib.suppress(OSError, ValueError):
            entry = entry_from_disk(file_acts.read_json(self.directory / name / ENTRY_FILE), self.base)
        if entry is None or entry.id != name:
            entry = self._read_journaled(name)
        if entry is None or not any(os.path.lexists(self.directory / name / item.name) for item in entry.items):
            return None
        return entry

    def _read_journaled(self, name: str) -> TrashEntry | None:
        try:
            entry = entry_from_disk(self._journal.entries().get(name), self.base)
        except (OSError, ValueError):
            return None
        return entry if entry.id == name else None

    def _find(self, entry_id: str) -> TrashEntry:
        names = self._entry_names()
        entry = self._read(entry_id) if entry_id in names else None
        if entry is None:
            near = difflib.get_close_matches(entry_id, names, n=1, cutoff=0.6)
            raise AddressError(
                f"nothing in the trash has the id '{printable(entry_id)}'",
                hint=f"did you mean {near[0]}?" if near else f"{len(names)} entries are in it",
                candidates=sorted(names, reverse=True)[:50],
            )
        return entry

    def _check_return(self, entry: TrashEntry) -> None:
        for item in entry.items:
            if not self._moves.in_trash(entry, item):
                raise OperationError(f"{printable(item.name)} of trash entry {entry.id} is missing from the trash")
            if self._moves.at_home(item) is not None:
                raise OperationError(
                    f"{printable(str(self.base / item.name))} is taken by a newer file",
                    hint="move that file away first, or copy the checkpoint out of the trash",
                )

    def _take_back(self, entry: TrashEntry) -> None:
        """After a failed removal; what fails here too is left to recovery."""
        with contextlib.suppress(OSError):
            moved = [item for item in reversed(entry.items) if self._moves.in_trash(entry, item)]
            self._moves.bring(entry, moved)
            self._moves.clear(entry)
            self._journal.end("undone", entry.id)

    def _put_back(self, entry: TrashEntry) -> None:
        """After a failed restore; what fails here too is left to recovery."""
        with contextlib.suppress(OSError):
            self._moves.send(entry, [item for item in entry.items if not self._moves.in_trash(entry, item)])
            self._journal.end("kept", entry.id)

    def _failed(self, done: str, entry: TrashEntry, error: OSError) -> OperationError:
        hint = _HINTS.get(error.errno or 0)
        if is_full(error):
            hint = FULL
        why = error.strerror or str(error)
        with contextlib.suppress(OSError):
            inside = [self._moves.in_trash(entry, item) for item in entry.items]
            if done != "purged" and any(inside) and not all(inside):
                why += "; a part of it lies in the trash until the next act there settles it"
        return OperationError(f"{printable(entry.path)} was not {done}: {why}", hint=hint)
