"""Differences between two checkpoints or runs, compactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from ckpt_tui.output import Paint
from ckpt_tui.render.words import NONE, number, short
from ckpt_tui.tables import Cell, Column, table
from ckpt_tui.wording import moment_text, plural

MAX_TENSORS = 20  # of each kind
MAX_VALUES = 10


def difference_lines(difference: Mapping[str, Any], *, paint: Paint, width: int | None) -> list[str]:
    """What differs; the shape is that of `ckpt diff --json`."""
    lines = [f"{paint('a', 'red')}  {paint(difference['a'])}", f"{paint('b', 'green')}  {paint(difference['b'])}"]
    if difference["same"]:
        lines += ["", "no difference in what they hold", *_unread(difference.get("tensors") or {})]
        return lines + _changes("container", difference.get("metadata") or [], paint, width)
    for title in ("metadata", "metrics", "config"):
        lines += _changes(title, difference.get(title) or [], paint, width)
    lines += _changes("curves", _curve_rows(difference.get("curves") or []), paint, width)
    others = list(difference.get("values") or [])
    lines += _changes("other values", others[:MAX_VALUES], paint, width)
    if len(others) > MAX_VALUES:
        lines.append(f"  … {plural(len(others) - MAX_VALUES, 'more value')}: --json lists all")
    tensors = difference.get("tensors") or {}
    return lines + _tensor_lines(tensors, difference.get("prefixes") or {}, paint, width)


def _changes(title: str, changes: Sequence[Mapping[str, Any]], paint: Paint, width: int | None) -> list[str]:
    if not changes:
        return []
    rows: list[list[str | Cell]] = []
    for change in changes:
        a, b = change.get("a"), change.get("b")
        unit = " s" if change["key"] == "saved_at" else ""
        delta = f"{b - a:+.4g}{unit}" if _is_number(a) and _is_number(b) else ""
        sides = Cell(_side(change, "a"), "red"), Cell(_side(change, "b"), "green")
        rows.append([f"  {change['key']}", sides[0], "→", sides[1], Cell(delta, "dim")])
    columns = [Column(cut=True, middle=True), Column(cut=True), Column(), Column(cut=True), Column()]
    return ["", paint(title, "bold"), *table(columns, rows, paint=paint, width=width, head=False)]


def _curve_rows(curves: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What differs in the summaries of two curves, a row each."""
    rows: list[dict[str, Any]] = []
    for curve in curves:
        a, b = curve["a"] or {}, curve["b"] or {}
        only = None if a and b else "a" if a else "b"
        for name in ("points", "last", "min", "max"):
            if only is not None or a[name] != b[name]:
                rows.append({"key": f"{curve['key']} {name}", "a": a.get(name), "b": b.get(name), "only": only})
    return rows


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _side(change: Mapping[str, Any], side: str) -> str:
    if change.get("only") not in (None, side):
        return NONE
    if side in (change.get("nonfinite") or ()):
        return "NaN"
    value = change.get(side)
    return moment_text(value) if change["key"] == "saved_at" and _is_number(value) else short(value)


def _tensor_lines(
    tensors: Mapping[str, Any], prefixes: Mapping[str, str], paint: Paint, width: int | None
) -> list[str]:
    added, removed, changed = (list(tensors.get(name) or []) for name in ("added", "removed", "changed"))
    identical = int(tensors.get("identical") or 0)
    counts = f"{identical} identical, {len(changed)} changed, {len(added)} added, {len(removed)} removed"
    lines = ["", f"{paint('tensors', 'bold')}  {counts}"]
    lines += [f"  {line}" for line in _unread(tensors)]
    lines += [f"  compared without '{paint(prefix)}' in {side}" for side, prefix in prefixes.items() if prefix]
    for sign, style, names in (("-", "red", removed), ("+", "green", added)):
        rows: list[list[str | Cell]] = [[Cell(f"  {sign} {_name(item)}", style)] for item in names[:MAX_TENSORS]]
        lines += table([Column(cut=True, middle=True)], rows, paint=paint, width=width, head=False) if rows else []
        if len(names) > MAX_TENSORS:
            lines.append(f"  {sign} … {plural(len(names) - MAX_TENSORS, 'more tensor')}: --json lists all")
    rows = [
        [f"  ~ {item['name']}", Cell(str(item["kind"]), "yellow"), _measure(item)] for item in changed[:MAX_TENSORS]
    ]
    if rows:
        lines += table(
            [Column(cut=True, middle=True), Column(), Column(cut=True)], rows, paint=paint, width=width, head=False
        )
    if len(changed) > MAX_TENSORS:
        lines.append(f"  ~ … {plural(len(changed) - MAX_TENSORS, 'more tensor')}: --json lists all")
    return lines


def _unread(tensors: Mapping[str, Any]) -> list[str]:
    """What was believed and not looked at, where anything was."""
    believed = int(tensors.get("by_checksum") or 0)
    if not believed:
        return []
    return [f"{plural(believed, 'tensor')} taken as identical by the checksums that the files state; not read"]


def _name(item: Any) -> str:
    return str(item.get("name")) if isinstance(item, Mapping) else str(item)


def _measure(item: Mapping[str, Any]) -> str:
    """The two shapes and dtypes, or what is known of how far the values moved."""
    if item["kind"] != "value":
        return f"{short(item.get('a'))} → {short(item.get('b'))}"
    known = [
        f"{label} {number(item[key])}"
        for key, label in (("relative_l2", "relative"), ("max_abs", "max"), ("cosine", "cosine"))
        if item.get(key) is not None
    ]
    return ", ".join(known) or short(item.get("a"))
