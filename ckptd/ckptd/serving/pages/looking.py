"""Pages that say what is there: runs, their checkpoints and curves, what happened, how the daemon is."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ckpt import filters, refs, scan
from ckpt.encoding import printable
from ckptd.catalog.catalog import Catalog
from ckptd.events import Events
from ckptd.serving.addresses import Addresses
from ckptd.serving.asked import Change, Params, Read, needed, whole
from ckptd.serving.pages.shapes import RootsShown, named
from ckptd.serving.shown import Shown


class Looking:
    """Reads over the catalog."""

    def __init__(
        self,
        catalog: Catalog,
        addresses: Addresses,
        roots: RootsShown,
        events: Events,
        daemon: Callable[[], dict[str, Any]],
        asks: Callable[[], list[dict[str, Any]]],
    ) -> None:
        self._catalog = catalog
        self._addresses = addresses
        self._roots = roots
        self._events = events
        self._daemon = daemon
        self._asks = asks
        self._shown = Shown()
        self.reads: dict[str, Read] = {
            "/v1/status": self._status,
            "/v1/runs": self._runs,
            "/v1/run": self._run,
            "/v1/resolve": self._resolve,
            "/v1/curves": self._curves,
            "/v1/events": self._past_events,
        }
        self.changes: dict[str, Change] = {}

    def _status(self, params: Params) -> dict[str, Any]:
        return {"daemon": self._daemon(), "roots": self._roots.all(), "asks": self._named_asks()}

    def _named_asks(self) -> list[dict[str, Any]]:
        """What waits for a person, with the names by which the runs can be told from each other."""
        asks = self._asks()
        names = refs.short_names([view.run for view in self._catalog.all()]) if asks else {}
        return [{**ask, "name": printable(names[ask["run"]]) if ask["run"] in names else None} for ask in asks]

    def _runs(self, params: Params) -> dict[str, Any]:
        chosen = _choice(params).of(self._catalog.all(), lambda view: filters.run_fields(view.run))
        return {"runs": [self._shown.run(view.run) for view in chosen.rows], **_unknown(chosen)}

    def _run(self, params: Params) -> dict[str, Any] | msgspec.Raw:
        view, choice = self._addresses.run(needed(params, "run")), _choice(params)
        if choice.everything:
            return self._shown.view(view)
        answer, plan = scan.run_view_to_json(view), view.plan
        verdicts = {d.checkpoint.id: d.verdict for d in (*plan.keep, *plan.remove, *plan.skip)}
        rows = list(zip(view.checkpoints, answer["checkpoints"], strict=True))
        chosen = choice.of(rows, lambda row: filters.checkpoint_fields(row[0], verdicts.get(row[0].id)))
        return {**answer, "checkpoints": [shown for _, shown in chosen.rows], **_unknown(chosen)}

    def _resolve(self, params: Params) -> dict[str, Any]:
        view, checkpoint = self._addresses.checkpoint(needed(params, "ref"))
        return named(view, checkpoint)

    def _curves(self, params: Params) -> dict[str, Any]:
        view = self._addresses.run(needed(params, "run"))
        points = whole(params, "points", 500)
        metrics = scan.curves(Path(view.run.path), points=max(2, min(points or 500, 1_000_000)))
        shown = {
            printable(name): [[step, value if math.isfinite(value) else None] for step, value in series]
            for name, series in metrics.items()
        }
        return {"run": view.run.id, "metrics": shown}

    def _past_events(self, params: Params) -> dict[str, Any]:
        return {"events": self._events.since(whole(params, "since", None))}


def _choice(params: Params) -> filters.Choice:
    return filters.Choice(params.get("filter"), params.get("sort"), whole(params, "limit", None))


def _unknown(chosen: filters.Chosen[Any]) -> dict[str, Any]:
    """Names that were asked for and that nothing has, with the nearest that exist."""
    return {"unknown": {printable(name): list(near) for name, near in chosen.unknown.items()}} if chosen.unknown else {}
