"""Runs as the API shows them, encoded once for as long as they do not change."""

from __future__ import annotations

import threading
from collections.abc import Hashable

import msgspec

from ckpt import protocol, scan
from ckpt.records import Run
from ckpt.scan import RunView

BYTES_MAX = 16 << 20  # of everything that is kept


class Shown:
    """JSON of records that are replaced when something changes, so that the same object means the same bytes.

    May be used from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[Hashable, tuple[object, bytes]] = {}
        self._bytes = 0

    def run(self, run: Run) -> msgspec.Raw:
        """`run_to_json` of a run."""
        return self._known(("run", run.id), run) or self._keep(("run", run.id), run, protocol.run_to_json(run))

    def view(self, view: RunView) -> msgspec.Raw:
        """`run_view_to_json` of a run with its checkpoints."""
        key = ("view", view.run.id)
        return self._known(key, view) or self._keep(key, view, scan.run_view_to_json(view))

    def _known(self, key: Hashable, record: object) -> msgspec.Raw | None:
        with self._lock:
            known = self._kept.get(key)
            return msgspec.Raw(known[1]) if known is not None and known[0] is record else None

    def _keep(self, key: Hashable, record: object, value: object) -> msgspec.Raw:
        data = protocol.encode(value)
        with self._lock:
            before = self._kept.pop(key, None)
            self._bytes += len(data) - (0 if before is None else len(before[1]))
            self._kept[key] = (record, data)
            while self._bytes > BYTES_MAX:
                oldest = next(iter(self._kept))
                self._bytes -= len(self._kept.pop(oldest)[1])
        return msgspec.Raw(data)
