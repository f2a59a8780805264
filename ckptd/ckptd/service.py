"""The answers of the API, without a server: what `ckptd run` serves on its socket and `ckptd once` prints.

One table for reads, one for changes. Functions take plain parameters, return plain data, raise errors of ckpt, and
may be called from any thread.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ckpt import refs, retention, scan
from ckpt.encoding import path_from_fields, printable
from ckpt.exceptions import AddressError, UsageError
from ckpt.protocol import checkpoint_to_json, run_to_json
from ckpt.records import Checkpoint
from ckpt.scan import RunView
from ckpt.trash import entry_to_json
from ckptd.catalog import Catalog
from ckptd.events import Events
from ckptd.keeper import Keeper
from ckptd.marking import Marking
from ckptd.roots import Roots, Watched, root_json
from ckptd.scanner import Scanner
from ckptd.undo import Undo

Params = Mapping[str, str]
Body = Mapping[str, Any]
_ANSWERS = 1000  # answers to changes that are remembered by their keys


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
        daemon: Callable[[], dict[str, Any]],
        watch: Callable[[str | None], None] = lambda renewed: None,
        stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._catalog = catalog
        self._roots = roots
        self._scanner = scanner
        self._keeper = keeper
        self._marking = marking
        self._undo = undo
        self._events = events
        self._daemon = daemon
        self._watch = watch
        self._stop = stop
        self._changing = threading.RLock()
        self._answers: dict[str, Any] = {}
        self.reads: dict[str, Callable[[Params], dict[str, Any]]] = {
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
            "/v1/stop": self._end,
        }

    def get(self, target: str) -> dict[str, Any]:
        """The answer to a read; `target` is a path with its query."""
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, encoding="utf-8", errors="surrogateescape"))
        answer: dict[str, Any] = self._page(self.reads, parts.path)(query)
        return answer

    def post(self, path: str, body: Body) -> dict[str, Any]:
        """The answer to a change; one that was made before under the same key is only answered again."""
        act = self._page(self.changes, path)
        key = body.get("key")
        with self._changing:
            if isinstance(key, str) and key in self._answers:
                answer: dict[str, Any] = self._answers[key]
                return answer
            answer = act(body)
            if isinstance(key, str):
                self._answers[key] = answer
                while len(self._answers) > _ANSWERS:
                    del self._answers[next(iter(self._answers))]
            return answer

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
        return {"runs": [run_to_json(view.run) for view in self._catalog.all()]}

    def _run(self, params: Params) -> dict[str, Any]:
        return scan.run_view_to_json(self._find_run(_needed(params, "run")))

    def _resolve(self, params: Params) -> dict[str, Any]:
        view, checkpoint = self._find(_needed(params, "ref"))
        return _one(view, checkpoint)

    def _curves(self, params: Params) -> dict[str, Any]:
        view = self._find_run(_needed(params, "run"))
        points = _whole(params, "points", 500)
        metrics = scan.curves(Path(view.run.path), points=max(2, min(points or 500, 1_000_000)))
        shown = {
            printable(name): [[step, value if math.isfinite(value) else None] for step, value in series]
            for name, series in metrics.items()
        }
        return {"run": view.run.id, "metrics": shown}

    def _plan(self, params: Params) -> dict[str, Any]:
        name = params.get("run")
        return retention.plan_to_json(self._keeper.plan(self._find_run(name).run.id if name else None))

    def _trash(self, params: Params) -> dict[str, Any]:
        name = params.get("run")
        entries = self._keeper.entries(self._find_run(name).run.id if name else None)
        return {"entries": [entry_to_json(entry) for _, entry in entries]}

    def _next_undo(self, params: Params) -> dict[str, Any]:
        return {"undo": self._undo.latest()}

    def _list_roots(self, params: Params) -> dict[str, Any]:
        return {"roots": self._roots_json()}

    def _past_events(self, params: Params) -> dict[str, Any]:
        return {"events": self._events.since(_whole(params, "since", None))}

    # Changes

    def _mark(self, body: Body) -> dict[str, Any]:
        view, checkpoint = self._find(_text(body, "ref"))
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
            self._events.emit("root.removed", path=printable(inner.root.path))
        self._events.emit("root.added", path=printable(watched.root.path))
        self._keeper.sweep(self._scanner.look(watched))
        return {"root": self._root_json(watched), "absorbed": [printable(inner.root.path) for inner in absorbed]}

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
        if "path" not in body and "path_b64" not in body:
            if body.get("rebuild") is True:
                read = self._scanner.anew()
                self._catalog.clear_files()
            else:
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
        views = self._catalog.all()
        return {"runs": len(views), "checkpoints": sum(len(view.checkpoints) for view in views)}

    def _end(self, body: Body) -> dict[str, Any]:
        self._stop()
        return {}

    # Addresses

    def _find_run(self, name: str) -> RunView:
        """The run that an address, a path or an id names. Raises AddressError."""
        views = self._catalog.all()
        place = self._place(name)
        if place is not None:
            return place[0]
        run = refs.find_run(name, [view.run for view in views])
        view = self._catalog.get(run.id)
        if view is None:
            raise AddressError(f"run '{printable(name)}' has just gone")
        return view

    def _find(self, ref: str) -> tuple[RunView, Checkpoint]:
        place = self._place(ref)
        if place is not None:
            view, file = place
            if file is None:
                return view, refs.select(None, view.checkpoints, view.run)
            for checkpoint in view.checkpoints:
                if str(file) == checkpoint.path or str(file) in checkpoint.files:
                    return view, checkpoint
            raise AddressError(f"{printable(ref)} is no checkpoint of run '{printable(view.run.name)}'")
        by_id = self._by_id(ref)
        if by_id is not None:
            return by_id
        address = refs.parse(ref)
        view = self._find_run(address.run)
        return view, refs.select(address.selector, view.checkpoints, view.run)

    def _by_id(self, ref: str) -> tuple[RunView, Checkpoint] | None:
        if not 6 <= len(ref) <= 12 or not all(char in "0123456789abcdef" for char in ref):
            return None
        found = [(v, c) for v in self._catalog.all() for c in v.checkpoints if c.id.startswith(ref)]
        if len(found) > 1:
            names = [f"{v.run.path}@{c.id}" for v, c in found]
            raise AddressError(
                f"{ref!r} names {len(found)} checkpoints",
                hint="say which: " + ", ".join(printable(name) for name in names[:8]),
                candidates=names,
            )
        return found[0] if found else None

    def _place(self, ref: str) -> tuple[RunView, Path | None] | None:
        """What an existing absolute path stands for; None when `ref` is none."""
        if not os.path.isabs(ref) or not os.path.lexists(ref):
            return None
        directory, file = scan.run_of(Path(ref))
        for path in (str(directory), os.path.realpath(directory)):
            view = self._catalog.at(path)
            if view is not None:
                return view, None if file is None else Path(path) / os.path.relpath(file, directory)
        raise AddressError(f"{printable(ref)} is not watched", hint=f"watch it: ckpt watch add {printable(ref)}")

    def _roots_json(self) -> list[dict[str, Any]]:
        return [self._root_json(watched) for watched in self._roots.all()]

    def _root_json(self, watched: Watched) -> dict[str, Any]:
        runs = [view.run for view in self._catalog.all() if view.run.root == watched.root.path]
        return root_json(watched, len(runs), sum(run.checkpoints for run in runs), sum(run.bytes for run in runs))


def _one(view: RunView, checkpoint: Checkpoint) -> dict[str, Any]:
    shown = checkpoint_to_json(checkpoint, view.verdict(checkpoint.id))
    return {"run": run_to_json(view.run), "checkpoint": shown}


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
