"""Checkpoints of Ray Train: a directory with whatever the user saved; its run knows the metrics."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from ckpt.formats.directories.common import beside
from ckpt.formats.directories.common.gathering import Gathering
from ckpt.formats.directories.common.told import told
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.kind import Contents, Kind
from ckpt.formats.directories.names import RAY_DATED, RAY_OWN
from ckpt.formats.source import Unfinished
from ckpt.formats.suffixes import may_be_file

_SNAPSHOT = "checkpoint_manager_snapshot.json"
_RESULTS = "result.json"
_MAX_PARTS = 64
_BOOKKEEPING = frozenset({"date", "hostname", "node_ip", "pid", "timestamp", "trial_id", "experiment_tag", "done"})
_COUNTS = re.compile(
    r"^(?:time_.*|(?:timesteps|episodes)_(?:total|this_iter)|(?:iterations|timesteps)_since_restore|training_iteration|"
    r"should_checkpoint|checkpoint_dir_name)$"
)


class Ray(Kind):
    """A directory `checkpoint_000003`, or one named by its time. Without a run beside it, it is just torch files."""

    framework: ClassVar[str] = "ray"

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._gathering = Gathering(folder)
        self._result: Mapping[Any, Any] | None = None

    def prove(self) -> None:
        """Whole when its files are sound and the run, where it keeps a list, lists it: that is written after it."""
        for name in self._files():
            self._gathering.tree(name)
        snapshot = beside.value(beside.tail(self.folder.path, _SNAPSHOT))
        if isinstance(snapshot, dict):
            self._result = _listed(snapshot, self.folder.name)
            if self._result is None:
                raise Unfinished(f"its run does not list it in {_SNAPSHOT}")
        else:
            self._result = _reported(beside.tail(self.folder.path, _RESULTS), self.folder.name)

    def read(self) -> Contents:
        """Its files as one tree, and the metrics that were reported with it."""
        gathering = self._gathering
        names = self._files()
        trees = {name.rpartition(".")[0]: gathering.tree(name) for name in names}
        top: Any = next(iter(trees.values())) if len(trees) == 1 else trees
        framework = self.framework if self._by_ray else "torch" if names else "unknown"
        found = told(top, framework)
        result = self._result or {}
        numbers = {str(key): value for key, value in result.items() if _measured(key, value)}
        reported = told({"metrics": numbers, "config": result.get("config")}, framework)
        found.metrics = {**found.metrics, **reported.metrics}
        found.config = found.config or reported.config
        if found.loss is None:
            found.loss = reported.loss
        return Contents(found, top, gathering.unknown_globals, gathering.omitted)

    @property
    def _by_ray(self) -> bool:
        named = RAY_DATED.match(self.folder.name) is not None
        return named or self._result is not None or not RAY_OWN.isdisjoint(self.folder.files)

    def _files(self) -> list[str]:
        return [name for name in self.folder.files if may_be_file(name.rpartition("/")[2])][:_MAX_PARTS]


def _listed(snapshot: Mapping[str, Any], name: str) -> Mapping[Any, Any] | None:
    """The metrics of the run's entry for a directory; None when there is no entry."""
    results = snapshot.get("checkpoint_results")
    for entry in [*(results if isinstance(results, list) else []), snapshot.get("latest_checkpoint_result")]:
        if isinstance(entry, dict) and entry.get("checkpoint_dir_name") == name:
            metrics = entry.get("metrics")
            return metrics if isinstance(metrics, dict) else {}
    return None


def _reported(raw: bytes, name: str) -> Mapping[Any, Any] | None:
    """The last line of a trial's results that was reported with a directory."""
    for line in reversed(raw.splitlines()):
        if name.encode("utf-8", "replace") in line:
            found = beside.value(line)
            if isinstance(found, dict) and found.get("checkpoint_dir_name") == name:
                return found
    return None


def _measured(key: Any, value: Any) -> bool:
    whole = type(value) in (int, float) and (type(value) is float or abs(value) < 1 << 53)
    return type(key) is str and whole and key not in _BOOKKEEPING and not _COUNTS.match(key)
