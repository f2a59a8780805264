"""Runs, checkpoints, differences, plans and trash as lines of text with tones, for panes and screens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckpt.encoding import printable, quoted
from ckpt.records import Checkpoint, Reason, Verdict
from ckpt_tui.dashboard.columns import STATUS
from ckpt_tui.dashboard.feed import RunDetail, Standing
from ckpt_tui.render.rules import rules_text
from ckpt_tui.wording import age_text, count_text, file_name, moment_text, number_text, plural, size_text

Piece = tuple[str, str]
Line = list[Piece]

_LABEL = 12


def _field(name: str, value: str, tone: str = "") -> Line:
    return [(f"{name:<{_LABEL}}"[: max(_LABEL, len(name) + 1)], "dim"), (" ", ""), (value, tone)]


def _heading(text: str) -> Line:
    return [(text, "accent")]


def checkpoint_lines(checkpoint: Checkpoint, verdict: Verdict | None, resume: str = "") -> list[Line]:
    """Everything that is known of a checkpoint: verdict with reasons first, then its fields.

    `resume` says what a resume finds in it; "" while that is not known.
    """
    c = checkpoint
    lines: list[Line] = [[(file_name(c.path), "strong")]]
    lines += _verdict_lines(c, verdict)
    lines.append([])
    tone = "" if c.state == "complete" else "warn" if c.state == "writing" else "bad"
    lines.append(_field("state", c.state, tone))
    lines += [_field("problem", printable(problem), "bad") for problem in c.problems]
    if c.note:
        lines.append(_field("note", printable(c.note), "accent"))
    lines.append(_field("step", f"{count_text(c.step)} · epoch {count_text(c.epoch)}"))
    lines += [
        _field(printable(name), number_text(value, 6), _number_tone(value))
        for name, value in {"loss": c.loss, **c.metrics}.items()
        if value is not None
    ]
    if c.learning_rate is not None:
        lines.append(_field("learn. rate", number_text(c.learning_rate, 6), _number_tone(c.learning_rate)))
    if c.tags:
        lines.append(_field("tags", printable(", ".join(c.tags)), "accent"))
    lines.append(_field("pinned", "yes" if c.pinned else "no", "accent" if c.pinned else ""))
    lines += [_field("held by", printable(holder)) for holder in c.held_by]
    lines.append(_field("size", f"{size_text(c.bytes)} ({c.bytes:,} bytes)"))
    lines.append(_field("saved", f"{moment_text(c.saved_at)} ({age_text(c.saved_at)})"))
    if resume:
        lines.append(_field("resume", resume))
    lines.append(_field("format", f"{c.framework} · {c.format}" if c.framework != c.format else c.format))
    if c.label:
        lines.append(_field("saved as", printable(c.label)))
    if c.seq is not None:
        lines.append(_field("save", f"{c.seq} of attempt {c.attempt}" if c.attempt is not None else f"{c.seq}"))
    lines.append(_field("id", c.id, "dim"))
    lines.append(_field("path", printable(c.path)))
    return lines


def _number_tone(value: float) -> str:
    return "bad" if value != value or value in (float("inf"), float("-inf")) else ""


def _verdict_lines(checkpoint: Checkpoint, verdict: Verdict | None) -> list[Line]:
    if verdict is None:
        return []
    tones = {"keep": "good", "remove": "warn", "skip": "dim"}
    lines: list[Line] = [[(verdict.action, tones[verdict.action])]]
    lines += [[("  ✓ ", "good"), (printable(reason.text), "")] for reason in verdict.reasons]
    lines += [[("  ✗ ", "warn"), (near_miss_text(reason), "dim")] for reason in verdict.near_misses]
    return lines


def near_miss_text(reason: Reason) -> str:
    """How near a rule came to keeping a checkpoint."""
    text = printable(reason.text)
    if reason.value is not None and reason.cutoff is not None:
        text += f" ({number_text(reason.value)} against {number_text(reason.cutoff)})"
    return text


def run_lines(detail: RunDetail, standing: Standing, called: str) -> list[Line]:
    """Everything that is known of a run: state, lineage, policy, config. `called` is its name among all."""
    run = detail.run
    glyph, tone = STATUS.get(run.status, ("?", "dim"))
    lines: list[Line] = [
        [(printable(run.name), "strong")],
        [
            (f"{glyph} {run.status}", tone),
            (f" · {plural(run.checkpoints, 'checkpoint')} · {size_text(run.bytes)}", "dim"),
        ],
    ]
    lines += [[("! ", "bad"), (printable(problem), "bad")] for problem in run.problems]
    if run.id in standing.asks:
        lines.append([("? asks: ", "warn"), (printable(standing.asks[run.id]), "")])
        lines.append([("  $ ", "dim"), (f"ckpt prune {quoted(called)}", "accent")])
    lines.append([])
    lines.append(_field("step", f"{count_text(run.step)} · epoch {count_text(run.epoch)}"))
    lines.append(_field("loss", number_text(run.loss, 6)))
    best = detail.find(run.best)
    if best is not None:
        metric = run.monitor or "loss"
        lines.append(_field("best", f"{printable(metric)} {number_text(best.value(metric), 6)} ({run.mode})", "good"))
    if run.parent is not None:
        origin = run.parent.path or run.parent.run
        lines.append(_field("forked from", printable(origin)))
    acted = "enforced" if run.root in standing.enforced else "only watched"
    lines.append(_field("made by", "ckpt" if run.own else f"{run.framework}, {acted}"))
    lines.append(_field("created", moment_text(run.created_at)))
    lines.append(_field("path", printable(run.path)))
    lines.append(_field("id", run.id, "dim"))
    lines += [[], _heading("policy"), [(f"  {printable(rules_text(detail.policy))}", "")]]
    if run.config:
        lines += [[], _heading("config")]
        lines += [_field(f"  {printable(k)}", _plain(v)) for k, v in run.config.items()]
    return lines


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return number_text(value, 6)
    return printable(str(value))


def difference_lines(difference: Mapping[str, Any], a: str, b: str) -> list[Line]:
    """Two checkpoints compared, from the shape of `ckpt diff --json`; `a` and `b` are how they are called."""
    lines: list[Line] = [[("a  ", "bad"), (a, "strong")], [("b  ", "good"), (b, "strong")], []]
    if difference.get("same"):
        return [*lines, [("They are the same.", "good")]]
    for part in ("metrics", "metadata", "config"):
        changes = difference.get(part) or []
        if changes:
            lines += [_heading(part), *(_change(change) for change in changes), []]
    lines += _tensor_lines(difference.get("tensors") or {})
    return lines


def _change(change: Mapping[str, Any]) -> Line:
    key, a, b = str(change.get("key")), change.get("a"), change.get("b")
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (a, b))
    shown = [moment_text(float(v)) if v and numbers and key.endswith("_at") else _side(v) for v in (a, b)]
    line: Line = [(f"  {printable(key):<22} ", "dim"), (shown[0], "bad"), ("  →  ", "dim"), (shown[1], "good")]
    if isinstance(a, int | float) and isinstance(b, int | float) and numbers:
        line.append((f"   {b - a:+.4g}" + (" s" if key.endswith("_at") else ""), "dim"))
    return line


def _side(value: Any) -> str:
    return "none" if value is None else _plain(value)


def _tensor_lines(tensors: Mapping[str, Any]) -> list[Line]:
    added, removed, changed = (tensors.get(k) or [] for k in ("added", "removed", "changed"))
    identical = tensors.get("identical") or 0
    count = identical if isinstance(identical, int) else len(identical)
    summary = f"{len(added)} added · {len(removed)} removed · {len(changed)} changed · {count} identical"
    lines: list[Line] = [[("tensors", "accent"), (f"  {summary}", "dim")]]
    lines += [[("  + ", "good"), (_tensor_name(t), "")] for t in added]
    lines += [[("  - ", "bad"), (_tensor_name(t), "")] for t in removed]
    width = min(48, max((len(_tensor_name(t)) for t in changed), default=0))
    return lines + [_changed_tensor(tensor, width) for tensor in changed]


def _changed_tensor(tensor: Mapping[str, Any], width: int) -> Line:
    line: Line = [
        ("  ~ ", "warn"),
        (f"{_tensor_name(tensor):<{width}}  ", ""),
        (f"{tensor.get('kind', '')!s:<6}", "dim"),
    ]
    a, b = _side(tensor.get("a")), _side(tensor.get("b"))
    if a == b:
        line.append((a if a != "none" else "", "dim"))
    else:
        line += [(a, "bad"), (" → ", "dim"), (b, "good")]
    for name in ("max_abs", "relative_l2", "cosine"):
        if tensor.get(name) is not None:
            line.append((f"  {name} {number_text(tensor[name])}", "dim"))
    return line


def _tensor_name(tensor: Any) -> str:
    return printable(str(tensor.get("name") if isinstance(tensor, Mapping) else tensor))


def plan_lines(plan: Mapping[str, Any], called: str) -> list[Line]:
    """What a policy would do now, from the shape of `ckpt plan --json`: removals first, then why the rest stays.

    `called` is how a command names the run.
    """
    lines: list[Line] = []
    for run in plan.get("runs", ()):
        if run.get("refused"):
            lines += [[("nothing is removed: ", "warn"), (printable(str(run["refused"])), "")], []]
        if run.get("ask"):
            lines += [[("asks first: ", "warn"), (printable(str(run["ask"])), "")]]
            lines += [[("  $ ", "dim"), (f"ckpt prune {quoted(called)}", "accent")], []]
        lines += [[("policy  ", "dim"), (printable(rules_text(run.get("policy") or {})), "")], []]
        for part, tone in (("remove", "warn"), ("keep", "good"), ("skip", "dim")):
            entries = run.get(part) or []
            total = sum(int(e.get("bytes") or 0) for e in entries)
            lines.append([(f"{part.upper()} ", tone), (f" {len(entries)} · {size_text(total)}", "dim")])
            lines += [line for entry in entries for line in _plan_entry(entry, part, tone)]
            lines.append([])
    return lines or [[("There is nothing to plan.", "dim")]]


def _plan_entry(entry: Mapping[str, Any], part: str, tone: str) -> list[Line]:
    glyph = {"remove": "✗", "keep": "✓"}.get(part, "·")
    reasons: Sequence[Any] = entry.get("reasons") or ()
    if part == "remove":
        reasons = entry.get("near_misses") or ()
    said = "; ".join(printable(str(r.get("text", r) if isinstance(r, Mapping) else r)) for r in reasons)
    name = file_name(str(entry.get("path", "")))
    return [
        [
            (f"  {glyph} ", tone),
            (f"{name:<24} ", ""),
            (f"{size_text(int(entry.get('bytes') or 0)):>7}  ", "dim"),
            (said, "dim"),
        ]
    ]
