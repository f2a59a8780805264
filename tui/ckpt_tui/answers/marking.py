"""`ckpt tag`, `pin`, `unpin` and `note`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ckpt import marks
from ckpt.encoding import printable
from ckpt.exceptions import AddressError, DaemonError
from ckpt.paths import RunPaths
from ckpt_tui.lookup import Found, Lookup, found_from_json, place_of
from ckpt_tui.running import running


def answer_mark(ref: str, kind: str, fields: Mapping[str, str], *, json: bool, quiet: bool) -> None:
    """Answers the commands that mark a checkpoint: `kind` is tag, untag, pin, unpin or note.

    A mark on an own run that is named by a path is written without the daemon.
    """
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        if kind == "tag":
            marks.check_tag(fields["name"])
        body = {"kind": kind, **fields}
        if place_of(ref) is None:
            found = found_from_json(lookup.client.post("/v1/marks", {"ref": ref, **body}))
        else:
            found = lookup.find(ref)
            body["ref"] = found.checkpoint.path
            answer = _by_live_daemon(body) if found.run.own else lookup.client.post("/v1/marks", body)
            if answer is not None:
                found = found_from_json(answer)
            else:
                _write(found, kind, fields)
                found = lookup.find(found.checkpoint.path)
        checkpoint, run = found.checkpoint, found.run

        def human() -> Iterable[str]:
            from ckpt_tui.render.checkpoints import named

            yield f"{out.paint(run.name, 'bold')}: {out.paint(named(checkpoint))} {out.paint(_done(kind, fields))}"

        out.data(found.answer, ids=[checkpoint.id], human=human)
        if kind in ("tag", "pin") and not run.own and out.mode == "human":
            out.say(_foreign_note(lookup, found))
        verdict = (found.answer.get("checkpoint") or {}).get("verdict") or {}
        if kind in ("unpin", "untag") and verdict.get("action") == "remove":
            out.say("its policy moves it to the trash now; `ckpt undo` brings it back")


def _foreign_note(lookup: Lookup, found: Found) -> str:
    from ckpt.protocol import checkpoint_from_json
    from ckpt_tui.protecting import foreign_note, is_overwritten_in_place, numbered_twin

    twin = None
    if is_overwritten_in_place(found.checkpoint):
        known = lookup.view(found.run.id)["checkpoints"]
        twin = numbered_twin(found.checkpoint, map(checkpoint_from_json, known))
    return foreign_note(found.checkpoint, twin)


def _by_live_daemon(body: Mapping[str, str]) -> Any:
    """The answer of a daemon that runs and knows the run, which can then undo the mark; None without one."""
    from ckpt.client import Client

    try:
        with Client.connect(autostart=False) as client:
            return client.post("/v1/marks", body) if client.mode == "daemon" else None
    except (AddressError, DaemonError):
        return None


def _write(found: Found, kind: str, fields: Mapping[str, str]) -> None:
    checkpoint = found.checkpoint
    if kind == "untag" and fields["name"] not in checkpoint.tags:
        held = ", ".join(checkpoint.tags)
        raise AddressError(
            f"{printable(Path(checkpoint.path).name)} has no tag '{printable(fields['name'])}'",
            hint=f"it has: {printable(held)}" if held else "it has no tag at all",
        )
    if kind == "untag":
        marks.check_tag(fields["name"])
    path = RunPaths(Path(found.run.path)).marks
    marks.append(path, kind, checkpoint.id, file=Path(checkpoint.path).name, **fields)


def _done(kind: str, fields: Mapping[str, str]) -> str:
    if kind == "tag":
        return f"is tagged {fields['name']}"
    if kind == "untag":
        return f"is no longer tagged {fields['name']}"
    if kind == "note":
        return f"is noted: {fields['text']}" if fields["text"] else "has no note any more"
    return "is pinned" if kind == "pin" else "is no longer pinned"
