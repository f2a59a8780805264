"""What the runs and checkpoints of events are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt.exceptions import AddressError
from ckpt.protocol import checkpoint_from_json
from ckpt_tui.lookup import Lookup
from ckpt_tui.wording import file_name


class EventNames:
    """Names by id, learnt from the events themselves; what they do not say is asked for once a run."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._asked: set[str] = set()
        self.runs: dict[str, str] = {}
        self.checkpoints: dict[str, str] = {}
        """Names of files."""

    def learn(self, event: Mapping[str, Any]) -> None:
        """Takes the names that an event brings, and finds those that it needs. Raises DaemonError."""
        run = event.get("run")
        if run is None:
            return
        if run not in self.runs:
            # A run that is gone has no name any more but the one that it had.
            self.runs = {run: str(event.get("name") or run[:12]), **self.runs, **self._lookup.run_names()}
        if event.get("checkpoint") and event.get("path"):
            self.checkpoints[event["checkpoint"]] = file_name(event["path"])
        named = {event.get("checkpoint"), event.get("was") if event["kind"] == "tag.moved" else None} - {None}
        if run not in self._asked and not named <= self.checkpoints.keys():
            self._asked.add(run)
            self._ask(run)

    def _ask(self, run: str) -> None:
        try:
            known = self._lookup.view(run)["checkpoints"]
        except AddressError:
            return
        for checkpoint in map(checkpoint_from_json, known):
            self.checkpoints.setdefault(checkpoint.id, file_name(checkpoint.path))
