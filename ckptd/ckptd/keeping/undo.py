"""The latest act that can be taken back: a mark, or the removals of one plan, whoever made them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckpt.encoding import printable
from ckpt.exceptions import UsageError
from ckptd.catalog.catalog import Catalog
from ckptd.journal import Journal
from ckptd.keeping.keeper import Keeper
from ckptd.keeping.marking import Marking
from ckptd.keeping.trashes import Shelved


@dataclass(frozen=True)
class Latest:
    """The act that an undo takes back."""

    act: dict[str, Any]
    """As answers tell it."""
    line: dict[str, Any] = field(default_factory=dict)
    """What the journal says of a mark."""
    batch: Sequence[Shelved] = ()
    """What a removal left in the trash."""


class Undo:
    """Finds and takes back. Trainings remove too, so the trashes are asked as well as the daemon's own journal."""

    def __init__(self, catalog: Catalog, journal: Journal, keeper: Keeper, marking: Marking) -> None:
        self._catalog = catalog
        self._journal = journal
        self._keeper = keeper
        self._marking = marking

    def latest(self) -> dict[str, Any] | None:
        """What `take_back` would take back; None when there is nothing."""
        found = self._latest()
        return None if found is None else found.act

    def take_back(self, *, plan: str | None = None, seq: int | None = None) -> dict[str, Any]:
        """Takes the latest act back and says what it was, of a removal also what was `restored` and what is `left`.

        `plan` of a removal or `seq` of a mark is the act that somebody was shown; without either it is whatever is the
        latest now. Raises UsageError when there is nothing, or another act is the latest by now.
        """
        with self._keeper.alone:
            found = self._latest()
            if found is None:
                raise UsageError("there is nothing to undo", hint="what was purged from the trash cannot come back")
            act = found.act
            if (plan is not None and act.get("plan") != plan) or (seq is not None and act.get("seq") != seq):
                raise UsageError(
                    f"something else was done meanwhile: {act['text']}",
                    hint="nothing was taken back; `ckpt undo` asks about that one",
                )
            return self._take_back(found)

    def _take_back(self, found: Latest) -> dict[str, Any]:
        act = found.act
        if found.batch:
            # These and no others: a training may remove more meanwhile.
            act |= self._keeper.restore_entries(found.batch)
            if not act["restored"]:
                return act
        else:
            view = self._catalog.get(act["run"])
            if view is None:
                raise UsageError(
                    f"run {printable(act['run'])} is not known any more",
                    hint="if it was moved, watch the directory that it lies in now: ckpt watch add DIR",
                )
            self._marking.take_back(view, found.line["inverse"])
        self._journal.record("undo", of=act.get("seq"), plan=act.get("plan"), run=act.get("run"))
        return act

    def _latest(self) -> Latest | None:
        acts = [found for found in (self._last_mark(), self._last_removal()) if found is not None]
        return max(acts, key=lambda found: float(found.act["at"])) if acts else None

    def _last_mark(self) -> Latest | None:
        undone: set[Any] = set()
        moves: list[dict[str, Any]] = []
        for line in reversed(self._journal.acts()):
            kind = line.get("kind")
            if kind == "undo":
                undone.add(line.get("of"))
            elif kind == "moved":
                moves.insert(0, line)
            elif kind == "mark" and line.get("seq") not in undone and isinstance(line.get("inverse"), dict):
                line = _followed(line, moves)
                view = self._catalog.get(str(line.get("run")))
                if view is None:
                    continue
                what = " ".join(str(line[k]) for k in ("mark", "name") if line.get(k))
                if isinstance(line.get("metrics"), dict):
                    what += f" {', '.join(line['metrics'])}"
                where = f"{view.run.name}/{line['file']}" if line.get("file") else view.run.name
                act = {
                    "kind": str(line["mark"]),
                    "at": float(line["at"]),
                    "seq": line.get("seq"),
                    "run": view.run.id,
                    "checkpoint": line.get("checkpoint"),
                    "name": line.get("name"),
                    "text": f"{what} on {where}",
                }
                return Latest(act, line=line)
        return None

    def _batch(self) -> list[Shelved]:
        """What the plan that removed last removed, as far as it still lies in the trash."""
        items = self._keeper.entries()
        if not items:
            return []
        newest = items[0].entry
        return [item for item in items if item.entry is newest or (newest.plan and item.entry.plan == newest.plan)]

    def _last_removal(self) -> Latest | None:
        batch = self._batch()
        if not batch:
            return None
        newest = batch[0].entry
        names = ", ".join(sorted({_name_of(item) for item in batch}))
        what = printable(Path(newest.path).name) if len(batch) == 1 else f"{len(batch)} checkpoints"
        act = {
            "kind": "remove",
            "at": newest.trashed_at,
            "run": batch[0].run_id if len({item.run_id for item in batch}) == 1 else None,
            "checkpoint": None,
            "plan": newest.plan,
            "entries": [item.entry.id for item in batch],
            "bytes": sum(item.entry.bytes for item in batch),
            "text": f"removal of {what} of {names} by its policy",
        }
        return Latest(act, batch=batch)


def _name_of(item: Shelved) -> str:
    """The name of an entry's run; of one that is not known any more that of the directory it lay in."""
    return printable(Path(item.entry.path).parent.name if item.run is None else item.run.name)


def _followed(line: dict[str, Any], moves: list[dict[str, Any]]) -> dict[str, Any]:
    """The act of a mark, told with the ids that its run and checkpoints have after some moves, oldest first."""
    run, ids = line.get("run"), {line.get("checkpoint"): line.get("checkpoint")}
    inverse = dict(line["inverse"])
    ids[inverse.get("checkpoint")] = inverse.get("checkpoint")
    for move in moves:
        new = move.get("checkpoints")
        if move.get("was") == run and isinstance(new, dict):
            run = move.get("run")
            ids = {was: new.get(now, now) for was, now in ids.items()}
    inverse["checkpoint"] = ids[inverse.get("checkpoint")]
    return {**line, "run": run, "checkpoint": ids[line.get("checkpoint")], "inverse": inverse}
