"""The acts that can be taken back: marks, and the removals of one plan, whoever made them.

Trainings remove too, so the trashes are asked as well as the daemon's own journal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ckpt.encoding import printable
from ckptd.catalog.catalog import Catalog
from ckptd.journal import Journal
from ckptd.keeping.trashes import Shelved

By = Literal["you", "daemon", "training"]
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Act:
    """One act: what is told of it, and what it takes to take it back."""

    told: dict[str, Any]
    """{"id", "kind", "at", "by", "run", "checkpoint", "text"}, of a mark "seq" and "name", of a removal "plan",
    "entries" and "bytes". `by` is you, daemon or training."""
    inverse: Mapping[str, Any] | None = None
    """The mark that takes a mark back; None for a removal."""
    batch: Sequence[Shelved] = field(default=(), repr=False)
    """What a removal removed, as far as it still lies in the trash."""


def acts(catalog: Catalog, journal: Journal, shelved: Sequence[Shelved]) -> list[Act]:
    """All of them, newest first. Of several marks that say the same thing of the same checkpoint only the last."""
    lines = journal.acts()
    found = [*_marks(catalog, lines), *_removals(shelved, lines)]
    return sorted(found, key=lambda act: float(act.told["at"]), reverse=True)


def _marks(catalog: Catalog, lines: Sequence[Line]) -> Iterator[Act]:
    undone: set[Any] = set()
    moves: list[Line] = []
    newer: set[tuple[Any, ...]] = set()
    for line in reversed(lines):
        kind = line.get("kind")
        if kind == "undo":
            undone.add(line.get("of"))
        elif kind == "moved":
            moves.insert(0, line)
        elif kind == "mark" and line.get("seq") not in undone and isinstance(line.get("inverse"), dict):
            followed = _followed(line, moves)
            view = catalog.get(str(followed.get("run")))
            topic = _topic(followed)
            if view is None or topic in newer:
                continue
            newer.add(topic)
            yield Act(_told(followed, view.run.id, view.run.name), inverse=followed["inverse"])


def _told(line: Line, run: str, name: str) -> dict[str, Any]:
    what = " ".join(str(line[key]) for key in ("mark", "name") if line.get(key))
    if isinstance(line.get("metrics"), dict):
        what += f" {', '.join(line['metrics'])}"
    return {
        "id": str(line.get("seq")),
        "kind": str(line["mark"]),
        "at": float(line["at"]),
        "by": "you",
        "seq": line.get("seq"),
        "run": run,
        "checkpoint": line.get("checkpoint"),
        "name": line.get("name"),
        "text": f"{what} on {printable(name)}{'/' + line['file'] if line.get('file') else ''}",
    }


def _topic(line: Line) -> tuple[Any, ...]:
    """What a mark is about: of two with the same topic the later one has to be taken back first."""
    about = str(line["mark"]).removeprefix("un")
    return line.get("run"), about, line.get("name") if about == "tag" else line.get("checkpoint")


def _removals(shelved: Sequence[Shelved], lines: Sequence[Line]) -> Iterator[Act]:
    batches: dict[str, list[Shelved]] = {}
    for item in shelved:
        batches.setdefault(item.entry.plan or f"{item.shelf.name} {item.entry.id}", []).append(item)
    journaled = {line.get("plan"): line.get("by") for line in lines if line.get("kind") == "remove"}
    for batch in batches.values():
        newest = batch[0].entry
        names = ", ".join(sorted({_name_of(item) for item in batch}))
        what = printable(Path(newest.path).name) if len(batch) == 1 else f"{len(batch)} checkpoints"
        told = {
            "id": newest.plan or newest.id,
            "kind": "remove",
            "at": newest.trashed_at,
            "by": _remover(batch, journaled),
            "run": batch[0].run_id if len({item.run_id for item in batch}) == 1 else None,
            "checkpoint": None,
            "plan": newest.plan,
            "entries": [item.entry.id for item in batch],
            "bytes": sum(item.entry.bytes for item in batch),
            "text": f"removal of {what} of {names} by its policy",
        }
        yield Act(told, batch=tuple(batch))


def _remover(batch: Sequence[Shelved], journaled: Mapping[Any, Any]) -> By:
    plan = batch[0].entry.plan
    if plan in journaled:
        return "you" if journaled[plan] == "you" else "daemon"
    return "training" if batch[0].shelf.run is not None else "daemon"


def _name_of(item: Shelved) -> str:
    """The name of an entry's run; of one that is not known any more that of the directory it lay in."""
    return printable(Path(item.entry.path).parent.name if item.run is None else item.run.name)


def _followed(line: Line, moves: Sequence[Line]) -> dict[str, Any]:
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
