"""The answers of the API, without a server: what `ckptd run` serves on its socket and `ckptd once` prints.

One table for reads, one for changes. Functions take plain parameters, return plain data, raise errors of ckpt, and
may be called from any thread. No read waits for a change, and no mark for a look at the disk that somebody asked for.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from ckpt import filters, protocol, retention, scan
from ckpt.encoding import path_from_fields, printable
from ckpt.exceptions import AddressError, UsageError
from ckpt.protocol import PARAMETERS, checkpoint_to_json, run_to_json
from ckpt.records import Checkpoint
from ckpt.scan import RunView
from ckpt.trash import entry_to_json
from ckptd.catalog.catalog import Catalog
from ckptd.catalog.renewal import Renewed
from ckptd.events import Events
from ckptd.keeping.keeper import Keeper
from ckptd.keeping.marking import Marking
from ckptd.keeping.undo import Undo
from ckptd.looking.scanner import Scanner
from ckptd.roots.roots import Roots, Watched, root_json
from ckptd.serving.addresses import Addresses
from ckptd.serving.repeats import Repeats
from ckptd.serving.shown import Shown

Params = Mapping[str, str]
Body = Mapping[str, Any]


class NoSuchPage(UsageError):
    """A path that the API does not have."""


class Service:
    """All reads and changes over one catalog."""

    def __init__(
        self,
        catalog: Catalog,
        roots: Roots,
        scanner: Scanner,
        keeper: Keeper,
        marking: Marking,
        undo: Undo,
        events: Events,
        *,
        repeats: Repeats,
        daemon: Callable[[], dict[str, Any]],
        watch: Callable[[str | None], None] = lambda renewed: None,
        stop: Callable[[], None] = lambda: None,
        reload: Callable[[], dict[str, Any]] | None = None,
        rebuild: Callable[[], Renewed] | None = None,
    ) -> None:
        self._catalog = catalog
        self._addresses = Addresses(catalog)
        self._shown = Shown()
        self._roots = roots
        self._scanner = scanner
        self._keeper = keeper
        self._marking = marking
        self._undo = undo
        self._events = events
        self._daemon = daemon
        self._watch = watch
        self._stop = stop
        self._reload = reload
        self._rebuild = rebuild
        self._repeats = repeats
        # Undo has to see the marks and removals that it chooses from stand still.
        marks, removals, places = threading.RLock(), threading.RLock(), threading.RLock()
        self._alone: dict[str, tuple[threading.RLock, ...]] = {
            "/v1/marks": (marks,),
            "/v1/undo": (removals, marks),
            "/v1/apply": (removals,),
            "/v1/trash/restore": (removals,),
            "/v1/trash/purge": (removals,),
            "/v1/roots": (places,),
            "/v1/roots/remove": (places,),
            "/v1/reload": (places,),
        }
        self.reads: dict[str, Callable[[Params], dict[str, Any] | msgspec.Raw]] = {
            "/v1/status": self._status,
            "/v1/runs": self._runs,
            "/v1/run": self._run,
            "/v1/resolve": self._resolve,
            "/v1/curves": self._curves,
            "/v1/plan": self._plan,
            "/v1/trash": self._trash,
            "/v1/undo": self._next_undo,
            "/v1/roots": self._list_roots,
            "/v1/events": self._past_events,
        }
        self.changes: dict[str, Callable[[Body], dict[str, Any]]] = {
            "/v1/marks": self._mark,
            "/v1/apply": self._apply,
            "/v1/trash/restore": self._restore,
            "/v1/trash/purge": self._purge,
            "/v1/undo": self._take_back,
            "/v1/roots": self._add_root,
            "/v1/roots/remove": self._remove_root,
            "/v1/announce": self._announce,
            "/v1/rescan": self._rescan,
            "/v1/reload": self._take_config,
            "/v1/stop": self._end,
        }

    def get(self, target: str) -> dict[str, Any]:
        """The answer to a read, as plain data; `target` is a path with its query."""
        answer: dict[str, Any] = msgspec.json.decode(self.get_json(target))
        return answer

    def get_json(self, target: str) -> bytes:
        """The same as it crosses the socket."""
        parts = urlsplit(target)
        page = self._page(self.reads, parts.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, encoding="utf-8", errors="surrogateescape"))
        known = PARAMETERS.get(parts.path, ())
        for name in query:
            if name not in known:
                raise UsageError(
                    f"{parts.path} has no parameter '{printable(name[:100])}'",
                    hint=f"it has: {', '.join(known)}" if known else "it has none",
                )
        return protocol.encode(page(query))

    def post(self, path: str, body: Body) -> dict[str, Any]:
        """The answer to a change; one that was made before under the same key is only answered again."""
        act = self._page(self.changes, path)

        def alone() -> dict[str, Any]:
            with contextlib.ExitStack() as held:
                for lock in self._alone.get(path, ()):
                    held.enter_context(lock)
                answer: dict[str, Any] = act(body)
                return answer

        return self._repeats.once(path, body, alone)

    def known(self) -> tuple[int, int]:
        """How many runs and checkpoints are known so far."""
        views = self._catalog.all()
        return len(views), sum(len(view.checkpoints) for view in views)

    def _page(self, table: Mapping[str, Any], path: str) -> Any:
        if path in table:
            return table[path]
        method = "GET" if path in self.reads else "POST" if path in self.changes else None
        hint = f"it answers to {method}" if method else "pages: " + ", ".join(sorted(table))
        raise NoSuchPage(f"there is no page {printable(path)}", hint=hint)

    # Reads

    def _status(self, params: Params) -> dict[str, Any]:
        return {"daemon": self._daemon(), "roots": self._roots_json()}

    def _runs(self, params: Params) -> dict[str, Any]:
        chosen = _choice(params).of(self._catalog.all(), lambda view: filters.run_fields(view.run))
        return {"runs": [self._shown.run(view.run) for view in chosen.rows], **_unknown(chosen)}

    def _run(self, params: Params) -> dict[str, Any] | msgspec.Raw:
        view, choice = self._addresses.run(_needed(params, "run")), _choice(params)
        if choice.everything:
            return self._shown.view(view)
        answer, plan = scan.run_view_to_json(view), view.plan
        verdicts = {d.checkpoint.id: d.verdict for d in (*plan.keep, *plan.remove, *plan.skip)}
        rows = list(zip(view.checkpoints, answer["checkpoints"], strict=True))
        chosen = choice.of(rows, lambda row: filters.checkpoint_fields(row[0], verdicts.get(row[0].id)))
        return {**answer, "checkpoints": [shown for _, shown in chosen.rows], **_unknown(chosen)}

    def _resolve(self, params: Params) -> dict[str, Any]:
        view, checkpoint = self._addresses.checkpoint(_needed(params, "ref"))
        return _one(view, checkpoint)

    def _curves(self, params: Params) -> dict[str, Any]:
        view = self._addresses.run(_needed(params, "run"))
        points = _whole(params, "points", 500)
        metrics = scan.curves(Path(view.run.path), points=max(2, min(points or 500, 1_000_000)))
        shown = {
            printable(name): [[step, value if math.isfinite(value) else None] for step, value in series]
            for name, series in metrics.items()
        }
        return {"run": view.run.id, "metrics": shown}

    def _plan(self, params: Params) -> dict[str, Any]:
        name = params.get("run")
        return retention.plan_to_json(self._keeper.plan(self._addresses.run(name).run.id if name else None))

    def _trash(self, params: Params) -> dict[str, Any]:
        name = params.get("run")
        entries = self._keeper.entries(self._addresses.run(name).run.id if name else None)
        return {"entries": [entry_to_json(entry) for _, entry in entries]}

    def _next_undo(self, params: Params) -> dict[str, Any]:
        return {"undo": self._undo.latest()}

    def _list_roots(self, params: Params) -> dict[str, Any]:
        return {"roots": self._roots_json()}

    def _past_events(self, params: Params) -> dict[str, Any]:
        return {"events": self._events.since(_whole(params, "since", None))}

    # Changes

    def _mark(self, body: Body) -> dict[str, Any]:
        view, checkpoint = self._addresses.checkpoint(_text(body, "ref"))
        name, text = body.get("name"), body.get("text")
        self._marking.mark(
            view,
            checkpoint,
            _text(body, "kind"),
            name if isinstance(name, str) else None,
            text if isinstance(text, str) else None,
        )
        fresh = self._catalog.at(view.run.path) or view
        marked = next((c for c in fresh.checkpoints if c.id == checkpoint.id), checkpoint)
        return _one(fresh, marked)

    def _apply(self, body: Body) -> dict[str, Any]:
        return self._keeper.apply(_text(body, "plan"))

    def _restore(self, body: Body) -> dict[str, Any]:
        return {"restored": self._keeper.restore(_texts(body, "ids"))}

    def _purge(self, body: Body) -> dict[str, Any]:
        purged, freed = self._keeper.purge(_texts(body, "ids"))
        return {"purged": purged, "freed": freed}

    def _take_back(self, body: Body) -> dict[str, Any]:
        return {"undone": self._undo.take_back()}

    def _add_root(self, body: Body) -> dict[str, Any]:
        exclude = body.get("exclude") or []
        if not isinstance(exclude, list) or not all(isinstance(e, str) for e in exclude):
            raise UsageError("exclude is a list of patterns")
        watched, absorbed = self._roots.add(
            _path(body), str(body.get("mode") or "observe"), exclude, keep=body.get("keep") is not False
        )
        self._scanner.accept(watched)
        self._watch(watched.root.path)
        for inner in absorbed:
            if not inner.root.path.startswith(watched.root.path.rstrip("/") + "/"):
                # It was moved into the new one: under its old path there is nothing any more.
                self._scanner.forget(inner)
        former = [inner.root.path for inner in absorbed] + ([watched.moved_from] if watched.moved_from else [])
        for path in former:
            self._events.emit("root.removed", path=printable(path))
        self._events.emit("root.added", path=printable(watched.root.path))
        self._keeper.sweep(self._scanner.look(watched))
        return {
            "root": self._root_json(watched),
            "absorbed": [printable(inner.root.path) for inner in absorbed],
            "moved_from": printable(watched.moved_from) if watched.moved_from else None,
        }

    def _remove_root(self, body: Body) -> dict[str, Any]:
        watched = self._roots.remove(_path(body))
        answer = self._root_json(watched)
        self._scanner.forget(watched)
        self._watch(None)
        self._events.emit("root.removed", path=printable(watched.root.path))
        return {"root": answer}

    def _announce(self, body: Body) -> dict[str, Any]:
        path = os.path.realpath(_path(body))
        if not scan.is_own(Path(path)):
            raise UsageError(f"{printable(path)} is no run of ours", hint="a run directory has a run.json")
        view = self._scanner.announce(Path(path))
        if view is None:
            raise UsageError(f"{printable(path)} cannot be read", hint="see `ckptd status`")
        self._watch(None)
        return {"run": run_to_json(view.run)}

    def _rescan(self, body: Body) -> dict[str, Any]:
        if body.get("rebuild") is True:
            return self._make_anew()
        if "path" not in body and "path_b64" not in body:
            read = self._scanner.full()
        else:
            real = os.path.realpath(_path(body))
            watched = self._roots.holder(real)
            if watched is None:
                raise AddressError(
                    f"{printable(real)} lies under no watched directory", hint="watch it: ckpt watch add DIR"
                )
            read = self._scanner.look(watched)
        self._watch(None)
        self._keeper.sweep(read)
        runs, checkpoints = self.known()
        return {"runs": runs, "checkpoints": checkpoints}

    def _make_anew(self) -> dict[str, Any]:
        if self._rebuild is None:
            raise UsageError("this needs a running daemon", hint="without one, `ckptd rebuild` works by itself")
        renewed = self._rebuild()
        self._watch(None)
        self._keeper.sweep(renewed.read)
        return renewed.to_json()

    def _take_config(self, body: Body) -> dict[str, Any]:
        if self._reload is None:
            raise UsageError("this needs a running daemon", hint="start it with `ckptd start`")
        return self._reload()

    def _end(self, body: Body) -> dict[str, Any]:
        self._stop()
        return {}

    # Shapes

    def _roots_json(self) -> list[dict[str, Any]]:
        return [self._root_json(watched) for watched in self._roots.all()]

    def _root_json(self, watched: Watched) -> dict[str, Any]:
        runs = [view.run for view in self._catalog.all() if view.run.root == watched.root.path]
        return root_json(watched, len(runs), sum(run.checkpoints for run in runs), sum(run.bytes for run in runs))


def _one(view: RunView, checkpoint: Checkpoint) -> dict[str, Any]:
    shown = checkpoint_to_json(checkpoint, view.verdict(checkpoint.id))
    return {"run": run_to_json(view.run), "checkpoint": shown}


def _choice(params: Params) -> filters.Choice:
    return filters.Choice(params.get("filter"), params.get("sort"), _whole(params, "limit", None))


def _unknown(chosen: filters.Chosen[Any]) -> dict[str, Any]:
    """Names that were asked for and that nothing has, with the nearest that exist."""
    return {"unknown": {printable(name): list(near) for name, near in chosen.unknown.items()}} if chosen.unknown else {}


def _needed(params: Params, name: str) -> str:
    if not params.get(name):
        raise UsageError(f"the parameter {name!r} is missing")
    return params[name]


def _whole(params: Params, name: str, default: int | None) -> int | None:
    if name not in params:
        return default
    try:
        value = int(params[name])
    except ValueError:
        raise UsageError(f"{name} is a whole number, not '{printable(params[name])}'") from None
    if not 0 <= value < 1 << 62:
        raise UsageError(f"{name} is out of range")
    return value


def _text(body: Body, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise UsageError(f"{name!r} has to be a text")
    return value


def _path(body: Body) -> str:
    """The path of a body, byte for byte when it is not UTF-8."""
    try:
        path = path_from_fields(body)
    except (KeyError, ValueError, TypeError):
        path = ""
    if not path or "\0" in path:
        raise UsageError("'path' has to be a text")
    return path


def _texts(body: Body, name: str) -> list[str]:
    value = body.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise UsageError(f"{name!r} has to be a list of texts that is not empty")
    return value
