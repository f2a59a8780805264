"""Acts taken back: the one that somebody was shown, and no other."""

from __future__ import annotations

import time
from typing import Any

from ckpt.encoding import printable
from ckpt.exceptions import UsageError
from ckptd.catalog.catalog import Catalog
from ckptd.journal import Journal
from ckptd.keeping.acts import Act, acts
from ckptd.keeping.keeper import Keeper
from ckptd.keeping.marking import Marking

RECENT_S = 86_400.0
"""For so long what a person did is taken back before what happened by itself since then."""
_LISTED = "`ckpt undo --list` shows what can be taken back"


class Undo:
    """Finds what can be taken back, and takes it back."""

    def __init__(self, catalog: Catalog, journal: Journal, keeper: Keeper, marking: Marking) -> None:
        self._catalog = catalog
        self._journal = journal
        self._keeper = keeper
        self._marking = marking

    def all(self, run: str | None = None) -> list[dict[str, Any]]:
        """Every act that can be taken back, or every one of a run, newest first."""
        return [act.told for act in self._acts() if run is None or act.told["run"] == run]

    def latest(self, run: str | None = None) -> dict[str, Any] | None:
        """The act of all, or of one run, that is meant where nobody says which; None when there is none."""
        found = self._latest() if run is None else _chosen([act for act in self._acts() if act.told["run"] == run])
        return None if found is None else found.told

    def take_back(self, *, plan: str | None = None, seq: int | None = None) -> dict[str, Any]:
        """Takes an act back and says what it was, of a removal also what was `restored` and what is `left`.

        `plan` of a removal or `seq` of a mark is the act that somebody was shown; without either it is the one that
        `latest` tells. Raises UsageError when there is nothing, or that act cannot be taken back any more.
        """
        with self._keeper.alone:
            if plan is None and seq is None:
                act = self._latest()
                if act is None:
                    raise UsageError("there is nothing to undo", hint="what was purged from the trash cannot come back")
            else:
                act = next((act for act in self._acts() if _is(act, plan, seq)), None)
                if act is None:
                    raise UsageError(
                        "that act cannot be taken back any more: it was taken back, purged, or followed by another",
                        hint=f"nothing was done; {_LISTED}",
                    )
            return self._take_back(act)

    def _take_back(self, act: Act) -> dict[str, Any]:
        told = dict(act.told)
        if act.inverse is None:
            told |= self._keeper.restore_entries(act.batch)
            if not told["restored"]:
                return told
        else:
            view = self._catalog.get(str(told["run"]))
            if view is None:
                raise UsageError(
                    f"run {printable(str(told['run']))} is not known any more",
                    hint="if it was moved, watch the directory that it lies in now: ckpt watch add DIR",
                )
            self._marking.take_back(view, dict(act.inverse))
        self._journal.record("undo", of=told.get("seq"), plan=told.get("plan"), run=told.get("run"))
        return told

    def _latest(self) -> Act | None:
        return _chosen(self._acts())

    def _acts(self) -> list[Act]:
        return acts(self._catalog, self._journal, self._keeper.entries())


def _chosen(known: list[Act]) -> Act | None:
    """The latest act of a person where that is recent, else the latest of all."""
    since = time.time() - RECENT_S
    own = [act for act in known if act.told["by"] == "you" and float(act.told["at"]) >= since]
    return next(iter(own or known), None)


def _is(act: Act, plan: str | None, seq: int | None) -> bool:
    """Whether it is the one that a plan or the number of a mark stands for; both must fit where both are given."""
    told = act.told
    return (plan is None or told.get("plan") == plan) and (seq is None or told.get("seq") == seq)
