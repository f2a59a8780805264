"""`ckpt trash`: what was removed, looked at, brought back and purged."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckpt.exceptions import OperationError, UsageError
from ckpt.protocol import run_from_json
from ckpt_tui.answers.listing import runs_below
from ckpt_tui.lookup import Lookup, place_of
from ckpt_tui.output import Output
from ckpt_tui.removed import Named, entries_on_disk, named
from ckpt_tui.running import running
from ckpt_tui.wording import plural, size_text

Entries = Sequence[Mapping[str, Any]]
Names = Mapping[str, str]

_MOST = 20
"""Entries that are shown one by one before they are deleted; of more a line a run."""


def answer_ls(run: str | None, *, json: bool, quiet: bool) -> None:
    """Answers `ckpt trash ls`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        below = runs_below(run) if run is not None else None
        place = place_of(run) if run is not None and below is None else None
        if place is not None or below is not None:
            directory = Path(os.path.abspath(run or "")) if place is None else place.directory
            entries, names = entries_on_disk(directory, below or [directory])
        else:
            entries = lookup.client.get("/v1/trash", run=run)["entries"]
            names = lookup.run_names() if entries and out.mode == "human" else {}
        if not entries:
            out.say("the trash is empty")

        def human() -> Iterable[str]:
            from ckpt_tui.render.trash import trash_lines

            return trash_lines(entries, names, paint=out.paint, width=out.width) if entries else ()

        out.data({"entries": entries}, ids=[entry["id"] for entry in entries], human=human)


def answer_restore(words: Sequence[str], *, yes: bool, json: bool, quiet: bool) -> None:
    """Answers `ckpt trash restore`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        lookup.require_daemon()
        chosen = _chosen(lookup, words)
        entries = _together(chosen)
        if any(one.is_run for one in chosen):
            _show(out, lookup, entries)
            out.confirm(f"bring {_told(entries)} back, and pin what came back?", yes=yes)
        answer = lookup.client.post("/v1/trash/restore", {"ids": [str(entry["id"]) for entry in entries]})
        lines = restored_lines(out, answer["restored"], answer["left"])
        out.data(answer, ids=[str(item["path"]) for item in answer["restored"]], human=lambda: lines)
        refuse_if_none(answer["restored"], answer["left"])


def _chosen(lookup: Lookup, words: Sequence[str]) -> list[Named]:
    """What each of some words names in the trash. Raises AddressError."""
    entries = lookup.client.get("/v1/trash")["entries"]
    runs = [run_from_json(raw) for raw in lookup.client.get("/v1/runs")["runs"]]
    return [named(word, entries, runs) for word in words]


def _together(chosen: Iterable[Named]) -> Entries:
    return list({str(entry["id"]): entry for one in chosen for entry in one.entries}.values())


def _told(entries: Entries) -> str:
    return f"{plural(len(entries), 'checkpoint')} ({size_text(sum(int(entry['bytes']) for entry in entries))})"


def _show(out: Output, lookup: Lookup, entries: Entries) -> None:
    """What a question is about, as narration: one by one, or where these are many a line a run."""
    if out.mode != "human":
        return
    from ckpt_tui.render.trash import summary_lines, trash_lines

    lines = trash_lines if len(entries) <= _MOST else summary_lines
    out.stderr.write("\n".join(lines(entries, lookup.run_names(), paint=out.paint, width=out.width)) + "\n")
    out.stderr.flush()


def restored_lines(out: Output, restored: Entries, left: Entries) -> Iterable[str]:
    """What came back, and what stayed in the trash and why."""
    yield from (f"restored and pinned {out.paint(str(item['path']))}" for item in restored)
    if left:
        yield f"{len(left)} stayed in the trash"
        yield from (f"  {out.paint(_label(item))}" for item in left)


def refuse_if_none(restored: Sequence[Any], left: Entries) -> None:
    """Raises OperationError where everything stayed in the trash."""
    if left and not restored:
        raise OperationError("nothing came back", hint=f"all of it stays in the trash: {_label(left[0])}")


def _label(item: Mapping[str, Any]) -> str:
    return f"{item['path']}: {item['reason']}"


def answer_purge(words: Sequence[str], *, everything: bool, yes: bool, json: bool, quiet: bool) -> None:
    """Answers `ckpt trash purge`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        if bool(words) == everything:
            raise UsageError("say what to purge", hint="`ckpt trash purge ID…`, or --all for everything in the trash")
        lookup.require_daemon()
        entries = lookup.client.get("/v1/trash")["entries"] if everything else _together(_chosen(lookup, words))
        if not entries:
            out.say("the trash is empty")
            out.data({"purged": [], "freed": 0}, human=lambda: ())
            return
        _show(out, lookup, entries)
        out.confirm(f"delete {_told(entries)} for good?", yes=yes)
        answer = lookup.client.post("/v1/trash/purge", {"ids": [entry["id"] for entry in entries]})
        purged = answer["purged"]

        def human() -> Iterable[str]:
            yield f"{plural(len(purged), 'checkpoint')} deleted, {size_text(int(answer['freed']))} freed"
            if len(purged) < len(entries):
                yield f"{len(entries) - len(purged)} left alone: a process has them open"

        out.data(answer, ids=[str(item) for item in purged], human=human)
