"""`ckpt tag`, `pin`, `unpin`, `note` and `metric`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ckpt import late_metrics, marks
from ckpt.encoding import finite, printable
from ckpt.exceptions import AddressError, DaemonError
from ckpt.paths import RunPaths
from ckpt_tui.answers.doubts import nearly, recorded
from ckpt_tui.lookup import Found, Lookup, found_from_json, place_of
from ckpt_tui.output import Output
from ckpt_tui.running import running


def answer_metrics(ref: str, words: Sequence[str], step: int | None, *, json: bool, quiet: bool) -> None:
    """Answers `ckpt metric set`; `words` are NAME=VALUE."""
    with running(json=json, quiet=quiet):
        metrics, measured = late_metrics.parse(words), late_metrics.check_step(step)
    answer_mark(ref, "metric", {"metrics": metrics, "step": measured}, json=json, quiet=quiet)


def answer_mark(ref: str, kind: str, fields: Mapping[str, Any], *, json: bool, quiet: bool) -> None:
    """Answers the commands that mark one checkpoint: `kind` is tag, untag, note, metric or unmetric.

    A mark on an own run that is named by a path is written without the daemon.
    """
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        if kind == "tag":
            marks.check_tag(fields["name"])
        found = _mark(lookup, ref, kind, fields)
        lines = [_line(out, found, _done(kind, fields, found))]
        out.data(found.answer, ids=[found.checkpoint.id], human=lambda: lines)
        _tell(out, lookup, found, kind, fields)


def answer_pins(refs: Sequence[str], kind: Literal["pin", "unpin"], *, json: bool, quiet: bool) -> None:
    """Answers `ckpt pin` and `ckpt unpin`. Nothing is done where one of several addresses names nothing."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        if any(place_of(ref) is None for ref in refs):
            lookup.require_daemon()
        before = [lookup.find(ref) for ref in refs]
        done, lines = [], []
        for ref, found in zip(refs, before, strict=True):
            is_new = kind == "pin" or found.checkpoint.pinned
            done.append(_mark(lookup, ref, kind, {}) if is_new else found)
            said = "is pinned" if kind == "pin" else "is no longer pinned" if is_new else "is not pinned"
            lines.append(_line(out, done[-1], said))
        answer = done[0].answer if len(done) == 1 else {"marked": [found.answer for found in done]}
        out.data(answer, ids=[found.checkpoint.id for found in done], human=lambda: lines)
        for found in done:
            _tell(out, lookup, found, kind, {})


def _mark(lookup: Lookup, ref: str, kind: str, fields: Mapping[str, Any]) -> Found:
    """Marks what an address names, and tells it as it is then. Raises AddressError."""
    body = {"kind": kind, **finite(fields)}
    if place_of(ref) is None:
        try:
            return found_from_json(lookup.client.post("/v1/marks", {"ref": ref, **body}))
        except AddressError as error:
            raise lookup.with_way_back(error, ref) from None
    found = lookup.find(ref)
    body["ref"] = found.checkpoint.path
    answer = _by_live_daemon(body) if found.run.own else lookup.client.post("/v1/marks", body)
    if answer is not None:
        return found_from_json(answer)
    _write(found, kind, fields)
    return lookup.find(found.checkpoint.path)


def _line(out: Output, found: Found, done: str) -> str:
    from ckpt_tui.render.checkpoints import named

    return f"{out.paint(found.run.name, 'bold')}: {out.paint(named(found.checkpoint))} {out.paint(done)}"


def _tell(out: Output, lookup: Lookup, found: Found, kind: str, fields: Mapping[str, Any]) -> None:
    """What else a person should know of a mark that was made."""
    if kind in ("tag", "pin") and not found.run.own and out.mode == "human":
        out.say(_foreign_note(lookup, found))
    if kind == "metric" and out.mode == "human":
        view = lookup.view(found.run.path if found.run.own else found.run.id)
        others = [raw for raw in view["checkpoints"] if raw["id"] != found.checkpoint.id]
        own = set(found.checkpoint.metrics) - set(fields["metrics"])
        for question in nearly(fields["metrics"], recorded(others) | own):
            out.say(question)
    verdict = (found.answer.get("checkpoint") or {}).get("verdict") or {}
    if kind in ("unpin", "untag", "metric", "unmetric") and verdict.get("action") == "remove":
        out.say(f"its policy moves it to the trash now; `ckpt trash restore {found.checkpoint.id}` brings it back")


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
    from ckpt.runs.redirecting import refuse_spared

    checkpoint, path = found.checkpoint, RunPaths(Path(found.run.path)).marks
    refuse_spared(path.parent)
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


def _done(kind: str, fields: Mapping[str, Any], found: Found) -> str:
    if kind == "metric":
        return _measured(fields["metrics"], found)
    if kind == "unmetric":
        return f"no longer has what was attached as {', '.join(fields['names'])}"
    if kind == "tag":
        return f"is tagged {fields['name']}"
    if kind == "untag":
        return f"is no longer tagged {fields['name']}"
    return f"is noted: {fields['text']}" if fields["text"] else "has no note any more"


def _measured(metrics: Mapping[str, float], found: Found) -> str:
    from ckpt_tui.render.words import count
    from ckpt_tui.wording import number_text

    checkpoint = found.checkpoint
    said = "has " + ", ".join(f"{name} {number_text(value)}" for name, value in metrics.items())
    step = next((checkpoint.measured.get(name) for name in metrics), None)
    if step is not None and step != checkpoint.step:
        where = "" if checkpoint.step is None else f", not at {count(checkpoint.step)} where it was saved"
        said += f", measured at step {count(step)}{where}"
    ranks = [tag for tag in checkpoint.tags if tag.startswith("best")]
    if not ranks or (found.run.monitor or "loss") not in metrics:
        return said
    return f"{said}; it is {'the best' if 'best' in ranks else ranks[0]} now"
