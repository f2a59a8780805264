"""What crosses the socket, and what `--json` prints: the shapes, and how records become them.

Reads (GET, answers are JSON objects; RUN and REF are addresses):

    /v1/status                              {"daemon": {…}, "roots": […], "asks": […]}
    /v1/runs                                {"runs": [run…]}
    /v1/run?run=RUN                         {"run": run, "checkpoints": [checkpoint…], "policy": {…}}
      both: &filter=EXPR&sort=FIELD&limit=N   with "unknown": {name: [near…]} for names that no row has
    /v1/resolve?ref=REF                     {"run": run, "checkpoint": checkpoint}
    /v1/curves?run=RUN&points=N             {"run": id, "metrics": {name: [[step, value|null]…]}}
    /v1/plan[?run=RUN|root=DIR|id=ID]       plan
      &enforced=1                             as if the roots of foreign runs were enforced
    /v1/trash[?run=RUN]                     {"entries": […]}
    /v1/du[?run=RUN]                        {"runs": [{"run", "name", "path", "bytes", "unique_bytes", "shared_bytes",
                                             "by_kind", "checkpoints", "trash_bytes"}…], "trash_bytes", …}
    /v1/undo[?run=RUN]                      {"undo": act | null, "acts": [act…]}: what POST would take back, and all
                                            that can be, newest first
    /v1/policy?run=RUN | path=DIR           {"run" | "path", "policy", "origins", "describe": [sentence…], "layers"};
      of a run with "unheard": [sentence…], what is said of many runs and does not hold for it
      with neither: what holds where nothing else is said, with "roots" and "runs"
    /v1/policy/test?run=RUN&policy=TEXT     rehearsal of the policy in force, or of one like keep_last=3 keep_best=2
    /v1/roots                               {"roots": […]}
    /v1/reload                              {"changed": [sentence…], "warnings": [sentence…]}: what POST would say
    /v1/events?since=SEQ                    server-sent events, or with &follow=0 {"events": […]}

Changes (POST with a JSON body; "key" in a body makes a repeat harmless):

    /v1/marks          {"ref", "kind": tag|untag|pin|unpin|note, "name" | "text"}   {"run", "checkpoint"}
      {"ref", "kind": "metric", "metrics": {name: value}, "step"?}; "unmetric" with "names" takes them away again
    /v1/policy         {"run" | "path", "policy": {field: value}}   as GET, and "plan" of the run
      the whole of what commands ask; {} asks nothing; "preview": true changes nothing
    /v1/apply          {"plan": id}                    {"plan", "removed": […], "skipped": […], "freed_at_purge", …}
    /v1/trash/restore  {"ids": […]}                    {"restored": [{"id", "path"}], "left": [{"path", "reason"}]}
    /v1/trash/purge    {"ids": […]}                    {"purged": […], "freed"}
    /v1/undo           {"plan"? | "seq"?} of the act   {"undone": act}; of a removal with "restored" and "left"
      that was shown, as `undo_body` gives it: exactly that one, or the one that GET tells
    /v1/roots          {"path", "mode"?: "observe", "exclude"?}                     {"root": root, "absorbed": [path…]}
      {"path", "mode": "enforce", "policy"?, "take_over"?} only proposes           {"root": root, "proposed": {…}}
      and with "plan", the id of its first plan, confirms it, under that "policy"  {"root": root, "applied": {…}}
    /v1/roots/remove   {"path"}                        {"root": root, "trash": {"entries", "bytes", "path"}}
    /v1/announce       {"path"}                        {"run": run}
    /v1/rescan         {"path"?}                       {"runs", "checkpoints"}: after a full look at the disk
      {"rebuild": true}: trusts nothing remembered      and "marks": [sentence…] that were given back
    /v1/reload         {}                              {"changed": [sentence…], "warnings", "problems": [sentence…]}
    /v1/stop           {}                              {}

An error answers with a status from 400 on, which docs/api.md explains, and
{"error": {"kind", "message", "hint", "candidates", "exit_code"}}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ckpt import exceptions
from ckpt.encoding import path_fields, path_from_fields, printable, split_nonfinite
from ckpt.records import Checkpoint, Lineage, Reason, Run, Verdict

PROTOCOL = 1
"""Raised when a request or an answer changes its meaning; client and daemon must agree."""

PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "/v1/runs": ("filter", "sort", "limit"),
    "/v1/run": ("run", "filter", "sort", "limit"),
    "/v1/resolve": ("ref",),
    "/v1/curves": ("run", "points"),
    "/v1/plan": ("run", "root", "id", "enforced"),
    "/v1/trash": ("run",),
    "/v1/undo": ("run",),
    "/v1/policy": ("run", "path"),
    "/v1/policy/test": ("run", "policy"),
    "/v1/du": ("run",),
    "/v1/events": ("since", "follow"),
}
"""What reads may be asked with; one that is misspelt is refused rather than passed over."""


def run_to_json(run: Run) -> dict[str, Any]:
    """A run as `ckpt ls --json` shows it."""
    return {
        "id": run.id,
        "name": printable(run.name),
        "root": printable(run.root),
        **path_fields(run.path),
        "own": run.own,
        "status": run.status,
        "checkpoints": run.checkpoints,
        "bytes": run.bytes,
        "unique_bytes": run.unique_bytes,
        "latest": run.latest,
        "best": run.best,
        "parent": None
        if run.parent is None
        else {"run": run.parent.run, "checkpoint": run.parent.checkpoint, "path": run.parent.path},
        "updated_at": run.updated_at,
        "created_at": run.created_at,
        "monitor": run.monitor,
        "mode": run.mode,
        "framework": run.framework,
        "config": _plain(run.config),
        "epoch": _number(run.epoch),
        "step": run.step,
        "loss": _number(run.loss),
        "problems": list(run.problems),
    }


def run_from_json(raw: Mapping[str, Any]) -> Run:
    """The run behind its JSON; unknown fields are ignored."""
    parent = raw.get("parent")
    known = {name: raw[name] for name in Run.__struct_fields__ if name in raw}
    known["path"] = path_from_fields(raw)
    if parent is not None:
        known["parent"] = Lineage(**{name: parent[name] for name in Lineage.__struct_fields__ if name in parent})
    known["problems"] = tuple(raw.get("problems", ()))
    return Run(**known)


def checkpoint_to_json(checkpoint: Checkpoint, verdict: Verdict | None = None) -> dict[str, Any]:
    """A checkpoint as `ckpt ls RUN --json` shows it."""
    metrics, nonfinite = split_nonfinite(checkpoint.metrics)
    for name in ("loss", "learning_rate"):
        value = getattr(checkpoint, name)
        if value is not None and _number(value) is None and name not in nonfinite:
            nonfinite.append(name)
    return {
        "id": checkpoint.id,
        "run": checkpoint.run,
        **path_fields(checkpoint.path),
        "framework": checkpoint.framework,
        "format": checkpoint.format,
        "state": checkpoint.state,
        "seq": checkpoint.seq,
        "attempt": checkpoint.attempt,
        "step": checkpoint.step,
        "epoch": _number(checkpoint.epoch),
        "loss": _number(checkpoint.loss),
        "learning_rate": _number(checkpoint.learning_rate),
        "metrics": metrics,
        "nonfinite": nonfinite,
        "infinite": _infinite(checkpoint),
        "measured": {printable(name): step for name, step in checkpoint.measured.items()},
        "bytes": checkpoint.bytes,
        "unique_bytes": checkpoint.unique_bytes,
        "kinds": checkpoint.kinds,
        "saved_at": checkpoint.saved_at,
        "touched_at": checkpoint.touched_at,
        "tags": list(checkpoint.tags),
        "pinned": checkpoint.pinned,
        "note": checkpoint.note,
        "label": checkpoint.label,
        "fingerprint": checkpoint.fingerprint,
        "problems": list(checkpoint.problems),
        "held_by": list(checkpoint.held_by),
        "pointed": checkpoint.pointed,
        "verdict": None if verdict is None else verdict_to_json(verdict),
    }


def checkpoint_from_json(raw: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint behind its JSON; unknown fields are ignored."""
    infinite = raw.get("infinite") or {}
    known = {name: raw[name] for name in Checkpoint.__struct_fields__ if name in raw}
    known["path"] = path_from_fields(raw)
    known["metrics"] = {k: _nonfinite(infinite.get(k)) if v is None else v for k, v in raw.get("metrics", {}).items()}
    for name in ("loss", "learning_rate"):
        if known.get(name) is None and name in raw.get("nonfinite", ()) and name not in known["metrics"]:
            known[name] = _nonfinite(infinite.get(name))
    for name in ("tags", "files", "problems", "held_by"):
        known[name] = tuple(raw.get(name, ()))
    return Checkpoint(**known)


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as it stands beside its checkpoint."""
    return {
        "action": verdict.action,
        "reasons": [reason_to_json(r) for r in verdict.reasons],
        "near_misses": [reason_to_json(r) for r in verdict.near_misses],
    }


def reason_to_json(reason: Reason) -> dict[str, Any]:
    """A reason without the fields that do not apply to it."""
    raw = {name: getattr(reason, name) for name in reason.__struct_fields__}
    for name in ("value", "cutoff"):
        raw[name] = _number(raw[name])
    return {k: v for k, v in raw.items() if v is not None}


def undo_body(act: Mapping[str, Any]) -> dict[str, Any]:
    """The body of POST /v1/undo that takes back the very act that GET told, and no other."""
    return {"plan": act.get("plan") or ""} if act["kind"] == "remove" else {"seq": act["seq"]}


def error_to_json(error: exceptions.CkptError) -> dict[str, Any]:
    """An error as the API answers it and as `--json` prints it; of a private class its nearest public one is named."""
    kind = next(cls for cls in type(error).__mro__ if cls.__module__ == exceptions.__name__)
    return {
        "error": {
            "kind": kind.__name__,
            "message": error.message,
            "hint": error.hint,
            "candidates": [printable(c) for c in getattr(error, "candidates", ())],
            "exit_code": error.exit_code,
        }
    }


def error_from_json(raw: Any) -> exceptions.CkptError:
    """The error behind an API answer, of the class that was raised when it is one of ours."""
    body = raw.get("error") if isinstance(raw, dict) else None
    if not isinstance(body, dict):
        return exceptions.DaemonError("the daemon answered with something that is not an error of ours")
    kind = getattr(exceptions, str(body.get("kind")), exceptions.DaemonError)
    if not (isinstance(kind, type) and issubclass(kind, exceptions.CkptError)):
        kind = exceptions.DaemonError
    extra: dict[str, Any] = {}
    if issubclass(kind, exceptions.AddressError):
        extra["candidates"] = tuple(body.get("candidates") or ())
    return kind(str(body.get("message")), hint=body.get("hint"), **extra)


def encode(value: Any) -> bytes:
    """JSON for the socket and for `--json`; text that is not UTF-8 is escaped."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_plain(value))


def lines(values: Iterable[Any]) -> bytes:
    """JSON lines."""
    return b"".join(encode(value) + b"\n" for value in values)


def _infinite(checkpoint: Checkpoint) -> dict[str, int]:
    """The signs of infinite numbers, 1 or -1; what is null and not among them is NaN."""
    named = {"loss": checkpoint.loss, "learning_rate": checkpoint.learning_rate, **checkpoint.metrics}
    return {
        printable(name): 1 if value > 0 else -1
        for name, value in named.items()
        if value is not None and value in (float("inf"), float("-inf"))
    }


def _nonfinite(sign: Any) -> float:
    return float("inf") if sign == 1 else float("-inf") if sign == -1 else float("nan")


def _number(value: float | None) -> float | None:
    if value is None or value != value or value in (float("inf"), float("-inf")):
        return None
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        return {printable(str(k)): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int):
        return value
    return printable(str(value))
