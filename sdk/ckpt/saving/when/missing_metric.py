"""Whether the metric that is to say what is best is ever reported; a wrong name would be silent otherwise."""

from __future__ import annotations

from collections.abc import Iterable

from ckpt.encoding import printable
from ckpt.retention.spelling import nearest


class MissingMetric:
    """One training's look-out for its metric. Without one, and for the loss, there is nothing to look out for."""

    def __init__(self, metric: str | None) -> None:
        self._metric = None if metric == "loss" else metric
        self._others: dict[str, None] = {}
        self._told = False

    def look(self, names: Iterable[str]) -> None:
        """Takes the names of the metrics that one state has."""
        names = tuple(names)
        if self._metric in names:
            self._metric = None
        self._others.update(dict.fromkeys(names))

    def after_epoch(self) -> str | None:
        """What to tell at the end of an epoch: the first time that the metric is still missing."""
        if self._metric is None or self._told:
            return None
        self._told = True
        return f"no {self._name} was reported so far, and save_on_best_metric names it; {self._hint()}"

    def at_close(self) -> str | None:
        """What to tell at the end of a training that reported anything."""
        if self._metric is None or not (self._told or self._others):
            return None
        return f"no {self._name} was ever reported, so no checkpoint was saved as the best; {self._hint()}"

    @property
    def _name(self) -> str:
        return f"metric '{printable(self._metric or '')}'"

    def _hint(self) -> str:
        known = ", ".join(printable(name) for name in list(self._others)[:8])
        return nearest(self._metric or "", self._others, f"reported: {known}" if known else "no metric was reported")
