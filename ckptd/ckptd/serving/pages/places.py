"""Pages about where the daemon looks, and about the daemon itself: roots, announced runs, rescans, its end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from ckpt import scan
from ckpt.encoding import printable
from ckpt.exceptions import AddressError, UsageError
from ckpt.protocol import run_to_json
from ckptd.catalog.catalog import Catalog
from ckptd.catalog.renewal import Renewed
from ckptd.events import Events
from ckptd.keeping.confirming import Confirming
from ckptd.keeping.keeper import Keeper
from ckptd.looking.scanner import Scanner
from ckptd.policies import Policies
from ckptd.roots.enforcing import check_root
from ckptd.roots.roots import Roots
from ckptd.serving.asked import Body, Change, Params, Read, path, text
from ckptd.serving.pages.shapes import RootsShown, known


class Places:
    """Changes of what is watched; `watch`, `stop`, `reload`, `foretell` and `rebuild` are a running daemon's."""

    def __init__(
        self,
        catalog: Catalog,
        roots: Roots,
        policies: Policies,
        scanner: Scanner,
        keeper: Keeper,
        events: Events,
        shown: RootsShown,
        *,
        watch: Callable[[str | None], None],
        stop: Callable[[], None],
        reload: Callable[[], dict[str, Any]] | None,
        foretell: Callable[[], dict[str, Any]] | None,
        rebuild: Callable[[], Renewed] | None,
    ) -> None:
        self._catalog = catalog
        self._roots = roots
        self._scanner = scanner
        self._keeper = keeper
        self._confirming = Confirming(catalog, roots, policies, scanner, keeper)
        self._events = events
        self._shown = shown
        self._watch = watch
        self._stop = stop
        self._reload = reload
        self._foretell = foretell
        self._rebuild = rebuild
        self.reads: dict[str, Read] = {"/v1/roots": self._list_roots, "/v1/reload": self._foretell_config}
        self.changes: dict[str, Change] = {
            "/v1/roots": self._change_root,
            "/v1/roots/remove": self._remove_root,
            "/v1/announce": self._announce,
            "/v1/rescan": self._rescan,
            "/v1/reload": self._take_config,
            "/v1/stop": self._end,
        }

    def _list_roots(self, params: Params) -> dict[str, Any]:
        return {"roots": self._shown.all()}

    def _change_root(self, body: Body) -> dict[str, Any]:
        """Watches a directory, or looks only at it from now on; mode enforce proposes, and with a plan confirms it."""
        mode = body.get("mode")
        if mode not in (None, "observe", "enforce"):
            raise UsageError(f"mode is observe or enforce, not '{printable(str(mode)[:60])}'")
        if mode == "enforce":
            return self._enforce(body)
        if body.get("plan") is not None or body.get("policy") is not None:
            raise UsageError("a plan and a policy belong to mode enforce", hint="`ckpt policy set DIR` sets a policy")
        return self._add_root(body, "observe" if mode == "observe" else None)

    def _enforce(self, body: Body) -> dict[str, Any]:
        directory, take_over, given = path(body), body.get("take_over") is True, body.get("policy")
        if given is not None and not isinstance(given, dict):
            raise UsageError("'policy' has to be an object", hint='such as {"keep_last": 5}')
        if body.get("plan") is None:
            added = self._add_to_enforce(body)
            try:
                watched = self._confirming.propose(directory, given, take_over=take_over)
            except BaseException:
                if added and not (added["absorbed"] or added["moved_from"]):
                    # Nobody asked to look at it alone. What took the place of other roots stays, for them.
                    self._unwatch(directory)
                raise
            return {**added, "root": self._shown.one(watched), "proposed": dict(watched.as_enforced.policy)}
        applied = self._confirming.confirm(directory, text(body, "plan"), given, take_over=take_over)
        watched = self._roots.known(directory)
        self._events.emit("root.enforced", path=printable(watched.root.path), plan=applied["plan"])
        return {"root": self._shown.one(watched), "applied": applied}

    def _add_to_enforce(self, body: Body) -> dict[str, Any]:
        """Watches a directory that may be enforced, unless it is watched; says what was added."""
        real = os.path.realpath(os.path.expanduser(path(body)))
        if self._roots.holder(real) is not None:
            return {}
        # Before the look: a whole file system or home takes hours to survey.
        check_root(real)
        return self._add_root(body, None)

    def _add_root(self, body: Body, mode: Literal["observe"] | None) -> dict[str, Any]:
        exclude = body.get("exclude") or []
        if not isinstance(exclude, list) or not all(isinstance(e, str) for e in exclude):
            raise UsageError("exclude is a list of patterns")
        watched, absorbed = self._roots.add(path(body), mode, exclude, keep=body.get("keep") is not False)
        if mode == "observe":
            self._confirming.give_up(watched.root.path)
        self._scanner.accept(watched)
        self._watch(watched.root.path)
        for inner in absorbed:
            if not inner.root.path.startswith(watched.root.path.rstrip("/") + "/"):
                # It was moved into the new one: under its old path there is nothing any more.
                self._scanner.forget(inner)
        former = [inner.root.path for inner in absorbed] + ([watched.moved_from] if watched.moved_from else [])
        for gone in former:
            self._events.emit("root.removed", path=printable(gone))
        self._events.emit("root.added", path=printable(watched.root.path))
        self._keeper.sweep(self._scanner.look(watched))
        return {
            "root": self._shown.one(watched),
            "absorbed": [printable(inner.root.path) for inner in absorbed],
            "moved_from": printable(watched.moved_from) if watched.moved_from else None,
        }

    def _remove_root(self, body: Body) -> dict[str, Any]:
        watched = self._roots.known(path(body))
        left = self._keeper.trash_of_root(watched.root.path)
        return {"root": self._unwatch(path(body)), "trash": left}

    def _unwatch(self, directory: str) -> dict[str, Any]:
        """Watches a directory no more; says what it was."""
        watched = self._roots.remove(directory)
        self._confirming.give_up(watched.root.path)
        answer = self._shown.one(watched)
        self._scanner.forget(watched)
        self._watch(None)
        self._events.emit("root.removed", path=printable(watched.root.path))
        return answer

    def _announce(self, body: Body) -> dict[str, Any]:
        directory = os.path.realpath(path(body))
        if not scan.is_own(Path(directory)):
            raise UsageError(f"{printable(directory)} is no run of ours", hint="a run directory has a run.json")
        view = self._scanner.announce(Path(directory))
        if view is None:
            raise UsageError(f"{printable(directory)} cannot be read", hint="see `ckptd status`")
        self._watch(None)
        return {"run": run_to_json(view.run)}

    def _rescan(self, body: Body) -> dict[str, Any]:
        if body.get("rebuild") is True:
            return self._make_anew()
        if "path" not in body and "path_b64" not in body:
            read = self._scanner.full()
        else:
            real = os.path.realpath(path(body))
            watched = self._roots.holder(real)
            if watched is None:
                raise AddressError(
                    f"{printable(real)} lies under no watched directory", hint="watch it: ckpt watch add DIR"
                )
            read = self._scanner.look(watched)
        self._watch(None)
        self._keeper.sweep(read)
        runs, checkpoints = known(self._catalog)
        return {"runs": runs, "checkpoints": checkpoints}

    def _make_anew(self) -> dict[str, Any]:
        if self._rebuild is None:
            raise UsageError("this needs a running daemon", hint="without one, `ckptd rebuild` works by itself")
        renewed = self._rebuild()
        self._watch(None)
        self._keeper.sweep(renewed.read)
        return renewed.to_json()

    def _foretell_config(self, params: Params) -> dict[str, Any]:
        if self._foretell is None:
            raise UsageError("this needs a running daemon", hint="start it with `ckptd start`")
        return self._foretell()

    def _take_config(self, body: Body) -> dict[str, Any]:
        if self._reload is None:
            raise UsageError("this needs a running daemon", hint="start it with `ckptd start`")
        return self._reload()

    def _end(self, body: Body) -> dict[str, Any]:
        self._stop()
        return {}
