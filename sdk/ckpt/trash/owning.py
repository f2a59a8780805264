"""Which machine may remove below a root: one at a time, for roots on disks that several machines share.

owner.json  {"version": 1, "machine": …, "host": …, "claimed_at": …}

Its modification time is the last sign of life, so that giving one never writes over another machine's claim.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
from pathlib import Path
from typing import Any

from ckpt import files
from ckpt.encoding import number_from_disk, printable
from ckpt.exceptions import OperationError
from ckpt.records import Record

VERSION = 1
FRESH_S = 300.0
"""Seconds since its last sign of life within which an owner is taken to be at work."""
_LIMIT = 65536  # bytes of an owner file that are read


class Owned(Record, frozen=True, kw_only=True):
    """What the owner file says. Times are Unix seconds."""

    machine: str
    """16 hexadecimal digits, as `paths.machine_id` gives them."""
    host: str
    claimed_at: float
    seen_at: float
    """When that machine last said that it is at work."""

    def is_fresh(self, now: float) -> bool:
        """Whether it said so a few minutes ago at most. A time in the future is fresh: the clocks differ."""
        return now - self.seen_at < FRESH_S


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
                hint="another machine enforces this directory with a newer ckptd: update this one",
            )
        try:
            return _owned(raw, seen_at)
        except (KeyError, TypeError, ValueError):
            raise self._torn() from None

    def claim(self, machine_id: str, now: float, *, take_over: bool = False) -> Owned:
        """Makes this machine the owner, or says once more that it is; `now` is in Unix seconds.

        Raises OperationError when another machine owns it, at work or not, or the file cannot be understood, unless
        `take_over` says that this one shall take its place; and when it cannot be written.
        """
        known = self._known(take_over=take_over)
        if known is not None and known.machine != machine_id and not take_over:
            raise self._refused(known, now)
        mine = known is not None and known.machine == machine_id
        owned = Owned(
            machine=machine_id,
            host=platform.node(),
            claimed_at=known.claimed_at if mine and known is not None else now,
            seen_at=now,
        )
        try:
            self._write(owned, overwrite=mine or take_over)
        except FileExistsError:
            found = self.read()
            if found is None or found.machine != machine_id:
                raise self._refused(found, now) from None
            return found
        found = self.read()
        if found is None or found.machine != machine_id:
            raise self._refused(found, now)
        return found

    def renew(self, machine_id: str, now: float) -> Owned:
        """Says that this machine is at work still.

        Raises OperationError when it does not own the place any more; then it may not act there.
        """
        known = self.read()
        if known is None or known.machine != machine_id:
            raise self._refused(known, now)
        self._sign(max(now, known.seen_at))
        found = self.read()
        if found is None or found.machine != machine_id:
            raise self._refused(found, now)
        return found

    def release(self, machine_id: str) -> bool:
        """Gives the place up; False when it is not this machine's. Raises OperationError."""
        known = self.read()
        if known is None or known.machine != machine_id:
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
            "machine": owned.machine,
            "host": owned.host,
            "claimed_at": owned.claimed_at,
        }
        try:
            files.write_json(self.path, raw, overwrite=overwrite, mode=0o600)
        except FileExistsError:
            raise
        except OSError as error:
            raise OperationError(f"{self._shown} cannot be written: {error.strerror}") from error
        self._sign(owned.seen_at)

    def _sign(self, now: float) -> None:
        """Sets the time of the last sign of life. A file that is gone is told by the reading that follows."""
        try:
            with contextlib.suppress(FileNotFoundError):
                os.utime(self.path, (now, now))
        except OSError as error:
            raise OperationError(f"{self._shown} cannot be written: {error.strerror}") from error

    def _torn(self) -> OperationError:
        return _TornError(
            f"{self._shown} cannot be understood, so who may remove here is not known",
            hint="if no other machine enforces this directory, say so with --take-over",
        )

    def _refused(self, known: Owned | None, now: float) -> OperationError:
        if known is None:
            return OperationError(f"{self._shown} is gone: this machine does not own the directory any more")
        state = "is at work there" if known.is_fresh(now) else f"was last at work there {_ago(now - known.seen_at)} ago"
        return OperationError(
            f"another machine owns this directory: {printable(known.host)} ({printable(known.machine)}) {state}",
            hint="one machine alone removes in it; make it this one with --take-over",
        )


class _TornError(OperationError):
    """An owner file that is no owner file, which a person may replace."""


def _owned(raw: Any, seen_at: float) -> Owned:
    if raw["version"] != VERSION or not all(isinstance(raw[name], str) for name in ("machine", "host")):
        raise ValueError("not an owner")
    claimed_at = float(number_from_disk(raw["claimed_at"]))
    if not raw["machine"] or not math.isfinite(claimed_at):
        raise ValueError("not an owner")
    return Owned(machine=raw["machine"], host=raw["host"], claimed_at=claimed_at, seen_at=seen_at)


def _ago(seconds: float) -> str:
    for size, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
