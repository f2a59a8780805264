"""`ckpt tag`, `pin`, `unpin`, `note` and `metric`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckpt import late_metrics, marks
from ckpt.encoding import finite, printable
from ckpt.exceptions import AddressError, DaemonError
from ckpt.paths import RunPaths
from ckpt.records import Checkpoint
from ckpt_tui.lookup import Found, Lookup, found_from_json, place_of
from ckpt_tui.running import running


def answer_metrics(ref: str, words: Sequence[str], step: int | None, *, json: bool, quiet: bool) -> None:
    """Answers `ckpt metric set`; `words` are NAME=VALUE."""
    with running(json=json, quiet=quiet):
        metrics, measured = late_metrics.parse(words), late_metrics.check_step(step)
    answer_mark(ref, "metric", {"metrics": metrics, "step": measured}, json=json, quiet=quiet)


def answer_mark(ref: str, kind: str, fields: Mapping[str, Any], *, json: bool, quiet: bool) -> None:
    """Answers the commands that mark a checkpoint: `kind` is tag, untag, pin, unpin, note, metric or unmetric.

    A mark on an own run that is named by a path is written without the daemon.
    """
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        if kind == "tag":
            marks.check_tag(fields["name"])
        body = {"kind": kind, **finite(fields)}
        if place_of(ref) is None:
            try:
                found = found_from_json(lookup.client.post("/v1/marks", {"ref": ref, **body}))
            except AddressError as error:
                raise lookup.with_way_back(error, ref) from None
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

            done = _done(kind, fields, checkpoint)
            yield f"{out.paint(run.name, 'bold')}: {out.paint(named(checkpoint))} {out.paint(done)}"

        out.data(found.answer, ids=[checkpoint.id], human=human)
        if kind in ("tag", "pin") and not run.own and out.mode == "human":
            out.say(_foreign_note(lookup, found))
        verdict = (found.answer.get("checkpoint") or {}).get("verdict") or {}
        if kind in ("unpin", "untag", "metric", "unmetric") and verdict.get("action") == "remove":
            out.say(f"its policy moves it to the trash now; `ckpt trash restore {checkpoint.id}` brings it back")


def _foreign_note(lookup: Lookup, found: Found) -> str:
    from ckpt.protocol import checkpoint_from_json
    from ckpt_tui.protecting import foreign_note, is_overwritten_in_place, numbered_twin

    twin = None
    if is_overwritten_in_place(found.checkpoint):
        known = lookup.view(found.run.id)["checkpoints"]
        twin = numbered_twin(found.checkpoint, map(checkpoint_from_json, known))
    return foreign_note(found.checkpoint, twin)


def _by_live_daemon(body: Mapping[str, Any]) -> Any:
    """The answer of a daemon that runs and knows the run, which can then undo the mark; None without one."""
    from ckpt.client import Client

    try:
        with Client.connect(autostart=False) as client:
            return client.post("/v1/marks", body) if client.mode == "daemon" else None
    except (AddressError, DaemonError):
        return None


def _write(found: Found, kind: str, fields: Mapping[str, Any]) -> None:
    checkpoint, path = found.checkpoint, RunPaths(Path(found.run.path)).marks
    if kind == "untag" and fields["name"] not in checkpoint.tags:
        held = ", ".join(checkpoint.tags)
        raise AddressError(
            f"{printable(Path(checkpoint.path).name)} has no tag '{printable(fields['name'])}'",
            hint=f"it has: {printable(held)}" if held else "it has no tag at all",
        )
    if kind == "untag":
        marks.check_tag(fields["name"])
    if kind == "unmetric":
        late_metrics.check_attached(marks.read(path).of(checkpoint.id).metrics, fields["names"])
    if kind == "metric" and fields["step"] is None:
        fields = {**fields, "step": checkpoint.step}
    marks.append(path, kind, checkpoint.id, file=Path(checkpoint.path).name, **fields)


def _done(kind: str, fields: Mapping[str, Any], checkpoint: Checkpoint) -> str:
    if kind == "metric":
        return _measured(fields["metrics"], checkpoint)
    if kind == "unmetric":
        return f"no longer has what was attached as {', '.join(fields['names'])}"
    if kind == "tag":
        return f"is tagged {fields['name']}"
    if kind == "untag":
        return f"is no longer tagged {fields['name']}"
    if kind == "note":
        return f"is noted: {fields['text']}" if fields["text"] else "has no note any more"
    return "is pinned" if kind == "pin" else "is no longer pinned"


def _measured(metrics: Mapping[str, float], checkpoint: Checkpoint) -> str:
    from ckpt_tui.render.words import count
    from ckpt_tui.wording import number_text

    said = "has " + ", ".join(f"{name} {number_text(value)}" for name, value in metrics.items())
    step = next((checkpoint.measured.get(name) for name in metrics), None)
    if step is not None and step != checkpoint.step:
        where = "" if checkpoint.step is None else f", not at {count(checkpoint.step)} where it was saved"
        said += f", measured at step {count(step)}{where}"
    ranks = [tag for tag in checkpoint.tags if tag.startswith("best")]
    return f"{said}; it is {'the best' if 'best' in ranks else ranks[0]} now" if ranks else said
