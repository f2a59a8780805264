"""Pages about policies: what is in force and where it comes from, what another would have done, setting one."""

from __future__ import annotations

import time
from typing import Any

from ckpt import retention
from ckpt.encoding import path_fields, printable
from ckpt.exceptions import UsageError
from ckpt.retention import Layer
from ckpt.scan import RunView
from ckpt.scan.trying import policy_to_json, policy_view_to_json, try_policy
from ckptd.catalog.catalog import Catalog
from ckptd.events import Events
from ckptd.keeping.marking import Marking
from ckptd.layering import layers_for, unheard
from ckptd.looking.scanner import Scanner
from ckptd.policies import Policies
from ckptd.roots.roots import Roots
from ckptd.roots.watched import Watched
from ckptd.serving.addresses import Addresses
from ckptd.serving.asked import Body, Change, Params, Read, needed, path, text


class PolicyPages:
    """What is in force, for runs, for watched directories, and for all that say nothing themselves."""

    def __init__(
        self,
        catalog: Catalog,
        addresses: Addresses,
        roots: Roots,
        policies: Policies,
        scanner: Scanner,
        marking: Marking,
        events: Events,
    ) -> None:
        self._catalog = catalog
        self._addresses = addresses
        self._roots = roots
        self._policies = policies
        self._scanner = scanner
        self._marking = marking
        self._events = events
        self.reads: dict[str, Read] = {"/v1/policy": self._show, "/v1/policy/test": self._try}
        self.changes: dict[str, Change] = {"/v1/policy": self._set}

    def _show(self, params: Params) -> dict[str, Any]:
        if params.get("run"):
            view = self._addresses.run(params["run"])
            notes = unheard(view, self._roots.holder(view.run.path), self._policies.config)
            return {**policy_view_to_json(view, self._layers(view)), "unheard": notes}
        return self._root_json(self._roots.known(params["path"])) if params.get("path") else self._everywhere()

    def _try(self, params: Params) -> dict[str, Any]:
        view = self._addresses.run(needed(params, "run"))
        return try_policy(view, params.get("policy"), time.time(), self._marking.directory)

    def _set(self, body: Body) -> dict[str, Any]:
        raw = body.get("policy")
        if not isinstance(raw, dict):
            raise UsageError("'policy' has to be an object", hint='such as {"keep_last": 5}; {} asks nothing')
        given, preview = retention.given(raw), body.get("preview") is True
        if "run" in body:
            return self._set_of_run(self._addresses.run(text(body, "run")), given, preview=preview)
        watched = self._roots.known(path(body))
        if preview:
            return self._root_json(watched, given)
        watched = self._roots.set_policy(watched.root.path, given)
        self._events.emit("root.policy", path=printable(watched.root.path), policy=given)
        self._scanner.govern(watched.root.path)
        return self._root_json(watched)

    def _set_of_run(self, view: RunView, given: dict[str, Any], *, preview: bool) -> dict[str, Any]:
        if preview:
            view = view.evolve(wishes=view.wishes.evolve(said=given))
            # What cannot go together is refused here, where somebody reads why.
            retention.merge(self._layers(view))
            view = self._policies.govern(view)
        else:
            retention.merge(self._layers(view.evolve(wishes=view.wishes.evolve(said=given))))
            self._marking.set_policy(view, given)
            view = self._catalog.at(view.run.path) or view
        return {**policy_view_to_json(view, self._layers(view)), "plan": retention.run_plan_to_json(view.plan)}

    def _layers(self, view: RunView) -> list[Layer]:
        return layers_for(view, self._roots.holder(view.run.path), self._policies.config)

    def _root_json(self, watched: Watched, given: dict[str, Any] | None = None) -> dict[str, Any]:
        """What holds below a root for runs that say nothing themselves, and what that would remove."""
        root = watched.root if given is None else watched.root.evolve(policy=given)
        origin = "config.toml [[root]]" if root.origin == "config.toml" else "root"
        layers: list[Layer] = [("config.toml [policy]", self._policies.config.policy), (origin, root.policy)]
        views = [view for view in self._catalog.all() if view.run.root == root.path]
        if given is not None:
            views = [self._policies.preview(view, root) for view in views]
        going = [decision.checkpoint for view in views for decision in view.plan.remove]
        return {
            **path_fields(root.path),
            "mode": root.mode,
            **policy_to_json(retention.merge(layers), layers),
            "runs": len(views),
            "checkpoints": sum(len(view.checkpoints) for view in views),
            "remove": len(going),
            "remove_bytes": sum(checkpoint.bytes for checkpoint in going),
        }

    def _everywhere(self) -> dict[str, Any]:
        """What holds where nothing else is said, and which runs and roots say something."""
        layers: list[Layer] = [("config.toml [policy]", self._policies.config.policy)]
        rows = [
            {
                "run": view.run.id,
                "name": printable(view.run.name),
                "rules": list(view.plan.policy.rules),
                "origins": sorted({view.origins[name] for name in view.plan.policy.rules if name in view.origins}),
            }
            for view in self._catalog.all()
        ]
        roots = [{**path_fields(w.root.path), "policy": dict(w.root.policy)} for w in self._roots.all()]
        return {**policy_to_json(retention.merge(layers), layers), "roots": roots, "runs": rows}
