"""What happened, a line an event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_tui.output import Paint
from ckpt_tui.render.words import count, full_in, number
from ckpt_tui.wording import file_name, moment_text, size_text

_WORDS = {
    "run.added": ("run found", "green"),
    "run.updated": ("run changed", ""),
    "run.status": ("run status", ""),
    "run.moved": ("run moved", ""),
    "run.removed": ("run gone", "yellow"),
    "checkpoint.writing": ("checkpoint being written", "blue"),
    "checkpoint.complete": ("checkpoint complete", "green"),
    "checkpoint.incomplete": ("checkpoint incomplete", "yellow"),
    "checkpoint.corrupt": ("checkpoint corrupt", "red"),
    "checkpoint.gone": ("checkpoint gone", "yellow"),
    "checkpoint.trashed": ("checkpoint to the trash", "yellow"),
    "checkpoint.restored": ("checkpoint restored", "green"),
    "checkpoint.purged": ("checkpoint purged", "yellow"),
    "plan.asks": ("plan waits for a word", "yellow"),
    "tag.moved": ("tag moved", "cyan"),
    "mark": ("marked", "cyan"),
    "state": ("training", ""),
    "root.added": ("watching", ""),
    "root.removed": ("no longer watching", ""),
    "root.policy": ("policy of a directory set", "cyan"),
    "root.enforced": ("enforcing", "green"),
    "root.degraded": ("directory unreadable", "red"),
    "root.ok": ("directory readable again", "green"),
    "disk.filling": ("disk fills", "red"),
    "disk.recovered": ("disk has room again", "green"),
    "daemon.started": ("daemon started", ""),
    "daemon.gap": ("earlier events forgotten", "yellow"),
    "config.reloaded": ("config read again", ""),
}
_WIDTH = max(len(words) for words, _ in _WORDS.values())


def event_line(
    event: Mapping[str, Any], runs: Mapping[str, str], checkpoints: Mapping[str, str], *, paint: Paint
) -> str:
    """When, what, and to which run and checkpoint; `runs` and `checkpoints` give their names for their ids."""
    kind = str(event["kind"])
    words, style = _WORDS.get(kind, (kind, ""))
    run = event.get("run")
    parts = [paint(moment_text(float(event["at"])), "dim"), paint(f"{words:<{_WIDTH}}", style)]
    if run:
        parts.append(paint(runs.get(str(run), str(event.get("name") or str(run)[:12])), "bold"))
    parts += [paint(text) for text in _details(kind, event, checkpoints) if text]
    return "  ".join(parts).rstrip()


def _details(kind: str, event: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    path = str(event.get("path") or "")
    checkpoint, was = (names.get(str(event.get(key)), str(event.get(key) or "")) for key in ("checkpoint", "was"))
    if kind.startswith("checkpoint."):
        return [file_name(path) if path else checkpoint, _step(event)]
    if kind == "plan.asks":
        return [f"{event.get('text')}: `ckpt plan`, then `ckpt apply {event.get('plan')}`"]
    if kind == "run.status":
        return [f"{event.get('was')} → {event.get('status')}"]
    if kind == "run.moved" and event.get("to"):
        return [f"{event.get('from')} → {event['to']}"]
    if kind == "tag.moved":
        return [str(event.get("tag")), f"{was or 'nothing'} → {checkpoint or 'nothing'}"]
    if kind == "mark":
        return [checkpoint, str(event.get("mark")), _said(event)]
    if kind == "state":
        loss = event.get("loss")
        epoch = event.get("epoch")
        return [
            _step(event),
            f"epoch {count(epoch)}" if epoch is not None else "",
            f"loss {number(loss)}"
            if loss is not None
            else "loss NaN"
            if "loss" in (event.get("nonfinite") or ())
            else "",
        ]
    if kind.startswith("disk."):
        soon = "" if event.get("full_in_s") is None else f"full in {full_in(float(event['full_in_s']))}"
        return [path, soon, f"{size_text(int(event['free_bytes']))} free" if "free_bytes" in event else ""]
    if kind == "root.degraded":
        return [path, str(event.get("problem") or "")]
    return [path]


def _step(event: Mapping[str, Any]) -> str:
    return "" if event.get("step") is None else f"step {count(event['step'])}"


def _said(event: Mapping[str, Any]) -> str:
    """What a mark says."""
    if isinstance(event.get("metrics"), Mapping):
        return ", ".join(f"{name} {number(value)}" for name, value in event["metrics"].items())
    if isinstance(event.get("names"), list):
        return ", ".join(map(str, event["names"]))
    if isinstance(event.get("policy"), Mapping):
        return ", ".join(map(str, event["policy"])) or "nothing is asked by command any more"
    return str(event.get("name") or event.get("text") or "")
