"""Who may remove below a root: one daemon at a time, for roots that several machines, or several users of one, share.

owner.json  {"version": 1, "id": …, "machine": …, "host": …, "user": …, "claimed_at": …}

Its modification time is the last sign of life, so that giving one never writes over another's claim and
needs no space.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import platform
from pathlib import Path
from typing import Any

from ckpt import files
from ckpt.encoding import number_from_disk, printable
from ckpt.exceptions import OperationError
from ckpt.paths import machine_id, state_home
from ckpt.records import Record
from ckpt.trash.journal import FULL, is_full

VERSION = 1
TAKE_OVER = "one daemon alone removes in it; make it this one with --take-over"
FRESH_S = 300.0
"""Seconds since its last sign of life within which an owner is taken to be at work."""
_LIMIT = 65536  # bytes of an owner file that are read


class Owned(Record, frozen=True, kw_only=True):
    """What the owner file says. Times are Unix seconds."""

    id: str
    """16 hexadecimal digits, as `owner_id` gives them."""
    machine: str
    """The same of the machine alone, as `paths.machine_id` gives them."""
    host: str
    user: str
    """The name of the user, "" when it is not known."""
    claimed_at: float
    seen_at: float
    """When that owner last said that it is at work."""

    @property
    def shown(self) -> str:
        """Who that is, for a message."""
        user = printable(self.user)
        if self.machine != machine_id():
            of = f"user {user} on " if user else ""
            return f"{of}another machine, {printable(self.host)} ({printable(self.machine)})"
        if user == _user():
            return f"another daemon of user {user} on this machine, with another state directory"
        return f"user {user} on this machine" if user else "somebody else on this machine"

    def is_fresh(self, now: float) -> bool:
        """Whether it said so a few minutes ago at most. A time in the future is fresh: the clocks differ."""
        return now - self.seen_at < FRESH_S


def owner_id() -> str:
    """16 hexadecimal digits that tell the daemon of this machine, user and state directory from every other."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    return hashlib.sha256(os.fsencode(f"{machine_id()}\0{user}\0{os.path.realpath(state_home())}")).hexdigest()[:16]


class Owner:
    """The owner file of one place, whose directory must exist when it is claimed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Owned | None:
        """Who owns it; None when nobody does. Raises OperationError when the file cannot be understood."""
        try:
            raw = files.read_json(self.path, limit=_LIMIT)
            seen_at = self.path.stat().st_mtime
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OperationError(f"{self._shown} cannot be read: {error.strerror}") from error
        except ValueError:
            raise self._torn() from None
        if isinstance(raw, dict) and raw.get("version") not in (None, VERSION):
            raise OperationError(
                f"{self._shown} is of version {printable(str(raw['version']))}, which this program does not know",
                hint="somebody else enforces this directory with a newer ckptd: update this one",
            )
        try:
            return _owned(raw, seen_at)
        except (KeyError, TypeError, ValueError):
            raise self._torn() from None

    def claim(self, owner_id: str, now: float, *, take_over: bool = False) -> Owned:
        """Makes `owner_id` the owner, or says once more that it is; `now` is in Unix seconds.

        Raises OperationError when another one owns it, at work or not, or the file cannot be understood, unless
        `take_over` says that this one shall take its place; and when it cannot be written.
        """
        known = self._known(take_over=take_over)
        if known is not None and known.id == owner_id:
            return self.renew(owner_id, now)
        if known is not None and not take_over:
            raise self._refused(known, now)
        owned = Owned(
            id=owner_id, machine=machine_id(), host=platform.node(), user=_user(), claimed_at=now, seen_at=now
        )
        with contextlib.suppress(FileExistsError):
            self._write(owned, overwrite=take_over)
        found = self.read()
        if found is None or found.id != owner_id:
            raise self._refused(found, now)
        return found

    def renew(self, owner_id: str, now: float) -> Owned:
        """Says that the owner is at work still; where that cannot be written, nothing is said.

        Raises OperationError when it does not own the place any more; then it may not act there.
        """
        known = self.read()
        if known is None or known.id != owner_id:
            raise self._refused(known, now)
        self._sign(max(now, known.seen_at))
        found = self.read()
        if found is None or found.id != owner_id:
            raise self._refused(found, now)
        return found

    def release(self, owner_id: str) -> bool:
        """Gives the place up; False when it is not this owner's. Raises OperationError."""
        known = self.read()
        if known is None or known.id != owner_id:
            return False
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise OperationError(f"{self._shown} cannot be removed: {error.strerror}") from error
        return True

    @property
    def _shown(self) -> str:
        return printable(str(self.path))

    def _known(self, *, take_over: bool) -> Owned | None:
        try:
            return self.read()
        except OperationError as error:
            if take_over and isinstance(error, _TornError):
                return None
            raise

    def _write(self, owned: Owned, *, overwrite: bool) -> None:
        raw: dict[str, Any] = {
            "version": VERSION,
            "id": owned.id,
            "machine": owned.machine,
            "host": owned.host,
            "user": owned.user,
            "claimed_at": owned.claimed_at,
        }
        try:
            files.write_json(self.path, raw, overwrite=overwrite, mode=0o600)
        except FileExistsError:
            raise
        except OSError as error:
            hint = FULL if is_full(error) else None
            raise OperationError(f"{self._shown} cannot be written: {error.strerror}", hint=hint) from error
        self._sign(owned.seen_at)

    def _sign(self, now: float) -> None:
        """Sets the time of the last sign of life. Whoever cannot give one is the owner all the same."""
        with contextlib.suppress(OSError):
            os.utime(self.path, (now, now))

    def _torn(self) -> OperationError:
        return _TornError(
            f"{self._shown} cannot be understood, so who may remove here is not known",
            hint="if nobody else enforces this directory, say so with --take-over",
        )

    def _refused(self, known: Owned | None, now: float) -> OperationError:
        if known is None:
            return OperationError(f"{self._shown} is gone: this daemon does not own the directory any more")
        state = "is at work there" if known.is_fresh(now) else f"was last at work there {_ago(now - known.seen_at)} ago"
        return OperationError(f"this directory is owned by {known.shown}, who {state}", hint=TAKE_OVER)


class _TornError(OperationError):
    """An owner file that is no owner file, which a person may replace."""


def _owned(raw: Any, seen_at: float) -> Owned:
    named = {name: raw[name] for name in ("id", "machine", "host", "user")}
    if raw["version"] != VERSION or not all(isinstance(value, str) for value in named.values()):
        raise ValueError("not an owner")
    claimed_at = float(number_from_disk(raw["claimed_at"]))
    if not raw["id"] or not math.isfinite(claimed_at):
        raise ValueError("not an owner")
    return Owned(**named, claimed_at=claimed_at, seen_at=seen_at)


def _user() -> str:
    """The name of this user; its number where it has none."""
    if not hasattr(os, "getuid"):
        return os.environ.get("USERNAME", "")
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _ago(seconds: float) -> str:
    for size, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
