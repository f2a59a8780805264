"""Pages about what stays and what goes: plans, their application, the trash, and what can be taken back."""

from __future__ import annotations

import os
from typing import Any

from ckpt import retention
from ckpt.exceptions import UsageError
from ckpt.trash import entry_to_json
from ckptd.keeping.keeper import Keeper
from ckptd.keeping.trashes import Shelved
from ckptd.keeping.undo import Undo
from ckptd.serving.addresses import Addresses
from ckptd.serving.asked import Body, Change, Params, Read, text, texts


class Keeping:
    """What the keeper would do, does, and has done."""

    def __init__(self, addresses: Addresses, keeper: Keeper, undo: Undo) -> None:
        self._addresses = addresses
        self._keeper = keeper
        self._undo = undo
        self.reads: dict[str, Read] = {
            "/v1/plan": self._plan,
            "/v1/trash": self._trash,
            "/v1/undo": self._next_undo,
        }
        self.changes: dict[str, Change] = {
            "/v1/apply": self._apply,
            "/v1/trash/restore": self._restore,
            "/v1/trash/purge": self._purge,
            "/v1/undo": self._take_back,
        }

    def _plan(self, params: Params) -> dict[str, Any]:
        name, directory, plan_id = params.get("run"), params.get("root"), params.get("id")
        enforced = params.get("enforced", "0") == "1"
        if sum(map(bool, (name, directory, plan_id))) > 1:
            raise UsageError("a plan is of a run, of a directory, or told by its id: name one of them")
        if plan_id:
            return retention.plan_to_json(self._keeper.find(plan_id))
        if directory:
            root = os.path.realpath(directory)
            return retention.plan_to_json(self._keeper.plan(root=root, what_if_enforced=enforced))
        run = self._addresses.run(name).run.id if name else None
        return retention.plan_to_json(self._keeper.plan(run, what_if_enforced=enforced))

    def _trash(self, params: Params) -> dict[str, Any]:
        name = params.get("run")
        entries = self._keeper.entries(self._addresses.run(name).run.id if name else None)
        return {"entries": [_entry_to_json(item) for item in entries]}

    def _next_undo(self, params: Params) -> dict[str, Any]:
        name = params.get("run")
        run = self._addresses.run(name).run.id if name else None
        return {"undo": self._undo.latest(run), "acts": self._undo.all(run)}

    def _apply(self, body: Body) -> dict[str, Any]:
        return self._keeper.apply(text(body, "plan"))

    def _restore(self, body: Body) -> dict[str, Any]:
        return self._keeper.restore(texts(body, "ids"))

    def _purge(self, body: Body) -> dict[str, Any]:
        purged, freed = self._keeper.purge(texts(body, "ids"))
        return {"purged": purged, "freed": freed}

    def _take_back(self, body: Body) -> dict[str, Any]:
        plan, seq = body.get("plan"), body.get("seq")
        if not isinstance(plan, str | None):
            raise UsageError("'plan' has to be a text", hint="the one of the removal that GET /v1/undo tells")
        if seq is not None and type(seq) is not int:
            raise UsageError("'seq' has to be a whole number", hint="the one of the mark that GET /v1/undo tells")
        return {"undone": self._undo.take_back(plan=plan, seq=seq)}


def _entry_to_json(item: Shelved) -> dict[str, Any]:
    """An entry; without a time where nothing is purged unasked, below a root that is only observed."""
    told = entry_to_json(item.entry)
    return told | {"purge_at": None} if item.shelf.stays else told
