"""A stricter policy in config.toml removes nothing at once: for a while a person can still change it back.

What it removes beyond the policy before waits; a plan that a person applies goes at once.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ckpt import files
from ckpt.retention.quantities import size_text
from ckpt.scan import RunView

Change = tuple[RunView, RunView]
"""A run under the policies before and after a change."""


class _Delay(NamedTuple):
    until: float
    before: frozenset[str]
    """Ids of what the policy before removes, which does not wait."""
    more: frozenset[str]
    text: str
    seconds: float


class Delays:
    """The runs that wait. A daemon that starts anew lets them wait anew. May be used from several threads."""

    def __init__(self, kept: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`kept` is the file that remembers them, None to remember nothing; `clock` does not jump."""
        self._kept = kept
        self._clock = clock
        self._lock = threading.Lock()
        self._delays: dict[str, _Delay] = {} if kept is None else _read(kept, clock())

    def begin(self, changes: Iterable[Change], seconds: float) -> None:
        """Lets each run wait whose new plan removes more; ends the wait of those for which it was changed back."""
        now = self._clock()
        with self._lock:
            for before, after in changes:
                known = self._delays.pop(before.run.id, None)
                if known is not None and known.until <= now:
                    known = None
                allowed = _removed(before) if known is None else known.before
                more = _removed(after) - allowed
                if not more:
                    continue
                if known is not None and more <= known.more:
                    self._delays[before.run.id] = known
                    continue
                text = _text(after, more, seconds)
                self._delays[before.run.id] = _Delay(now + seconds, allowed, more, text, seconds)
            self._keep()

    def question(self, view: RunView) -> str | None:
        """Why the plan of a run is not carried out unasked yet; None when it does not wait."""
        with self._lock:
            known = self._delays.get(view.run.id)
            if known is None:
                return None
            if known.until <= self._clock():
                del self._delays[view.run.id]
                self._keep()
                return None
            return known.text if _removed(view) - known.before else None

    def end(self, run: str) -> None:
        """A person has applied the plan of a run, by its id."""
        with self._lock:
            if self._delays.pop(run, None) is not None:
                self._keep()

    def _keep(self) -> None:
        """On a full disk the wait ends with the daemon: other limits hold."""
        if self._kept is not None:
            lines = {run: _written(delay) for run, delay in self._delays.items()}
            with contextlib.suppress(OSError):
                files.write_json(self._kept, lines, mode=0o600)


def _written(delay: _Delay) -> dict[str, Any]:
    return {
        "before": sorted(delay.before),
        "more": sorted(delay.more),
        "text": delay.text,
        "seconds": delay.seconds,
    }


def _read(kept: Path, now: float) -> dict[str, _Delay]:
    """What was waiting when the file was written; nothing where it cannot be understood."""
    try:
        raw: Any = files.read_json(kept)
        return {
            str(run): _Delay(
                now + float(line["seconds"]),
                frozenset(map(str, line["before"])),
                frozenset(map(str, line["more"])),
                str(line["text"]),
                float(line["seconds"]),
            )
            for run, line in raw.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _removed(view: RunView) -> frozenset[str]:
    return frozenset(decision.checkpoint.id for decision in view.plan.remove)


def _text(view: RunView, more: frozenset[str], seconds: float) -> str:
    size = sum(decision.checkpoint.bytes for decision in view.plan.remove if decision.checkpoint.id in more)
    # A time of the day and not how long: the same words hold until then.
    at = time.strftime("%H:%M", time.localtime(time.time() + seconds))
    count = f"{len(more):,} more checkpoint{'s' * (len(more) != 1)}, {size_text(size)}"
    return f"config.toml was changed, and removes {count}: by itself from {at} on, unless it is changed back"
