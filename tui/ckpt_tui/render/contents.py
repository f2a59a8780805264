"""What is inside a checkpoint: an inspection, in the shape of `ckpt inspect --json`, as lines."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ckpt.encoding import printable
from ckpt_tui.output import Paint
from ckpt_tui.render.resuming import resume_rows, resume_text
from ckpt_tui.render.words import count, number, short
from ckpt_tui.tables import Column, cut_middle, table
from ckpt_tui.wording import plural, size_text

STATE_STYLES = {"writing": "blue", "incomplete": "yellow", "corrupt": "red", "trashed": "dim"}
MAX_TENSORS = 20  # shown unless all are asked for
MAX_CONFIG = 12  # values that are shown; trainers write some hundred
_MAX_NAMES = 3  # of code that the file names, and of checkpoints in one reference
_LABEL = 14


def made_with(framework: str, container: str) -> str:
    """The framework and the format of a checkpoint, once where they are the same word."""
    return framework if framework == container else f"{framework}, {container}"


def names_only(inspection: Mapping[str, Any]) -> frozenset[str]:
    """Facts that stand in the name of a checkpoint alone: `step`, `epoch`, `metrics.NAME`."""
    return frozenset(inspection.get("from_name") or ())


def counted(value: float | None, fact: str, said_by_name: Collection[str]) -> str:
    """A step or an epoch, and whether only the name says it."""
    return f"{count(value)} (from its name)" if value is not None and fact in said_by_name else count(value)


def inspection_lines(inspection: Mapping[str, Any], *, all_tensors: bool, paint: Paint, width: int | None) -> list[str]:
    """`ckpt inspect`: a checkpoint by itself."""
    nonfinite = set(inspection.get("nonfinite") or ())
    state = str(inspection["state"])
    said_by_name = names_only(inspection)
    files = inspection.get("files") or ()
    size = f"{inspection['bytes']} bytes, {inspection.get('bytes_read', 0)} read"
    lines = [
        _row("directory" if files else "file", paint(inspection["path"], "bold")),
        _row("state", paint(state, STATE_STYLES.get(state, "green"))),
        _row("framework", paint(made_with(inspection["framework"], inspection["format"]))),
        _row("step", counted(inspection.get("step"), "step", said_by_name)),
        _row("epoch", counted(inspection.get("epoch"), "epoch", said_by_name)),
        _row("size", f"{size_text(int(inspection['bytes']))} ({size})"),
        *([_row("files", f"{len(files)}")] if files else []),
        *told_lines(inspection, paint=paint, width=width),
    ]
    metrics = inspection.get("metrics") or {}
    if metrics:
        shown = {name: "NaN" if name in nonfinite else value for name, value in metrics.items()}
        lines += ["", *metric_lines(shown, said_by_name, paint=paint)]
    return lines + content_lines(inspection, all_tensors=all_tensors, paint=paint, width=width)


def metric_lines(
    metrics: Mapping[str, Any],
    said_by_name: Collection[str],
    measured: Mapping[str, int] | None = None,
    *,
    paint: Paint,
) -> list[str]:
    """The metrics by name under their heading. `measured` has the steps of those that were attached later."""
    from_name = {name: " (from its name)" for name in metrics if f"metrics.{name}" in said_by_name}
    later = {name: f" (measured at step {step})" for name, step in (measured or {}).items()}
    said = {**from_name, **later}
    return [
        paint("metrics", "bold"),
        *(f"  {paint(name)}  {number(value)}{said.get(name, '')}" for name, value in sorted(metrics.items())),
    ]


def told_lines(inspection: Mapping[str, Any], *, paint: Paint, width: int | None) -> list[str]:
    """What the trainer's own state says: what it compares checkpoints by, and which others it names."""
    lines = []
    if inspection.get("monitor"):
        mode = inspection.get("mode")
        lines.append(_row("monitor", paint(f"{inspection['monitor']} ({mode})" if mode else inspection["monitor"])))
    for name, paths in (inspection.get("references") or {}).items():
        lines.append(_row("names", paint(_fitting(f"{name}: {_few(paths)}", width, _LABEL + 1))))
    return lines


def content_lines(inspection: Mapping[str, Any], *, all_tensors: bool, paint: Paint, width: int | None) -> list[str]:
    """What is inside a checkpoint: problems, what a resume finds, config, tensors."""
    lines: list[str] = []
    problems = [*inspection.get("problems", ())]
    unknown = list(inspection.get("unknown_globals") or ())
    if problems or unknown:
        lines.append("")
        lines += [_row("problem", paint(problem, "red")) for problem in problems]
        if unknown:
            told = _fitting(f"{plural(len(unknown), 'name')}, never imported: {_few(unknown)}", width, _LABEL + 1)
            lines.append(_row("code names", paint(told, "yellow")))
    resume = inspection.get("resume") or {}
    if resume:
        lines += ["", f"{paint('resume', 'bold')}  {resume_text(resume)}"]
        lines += [f"  {name:<{_LABEL}} {paint(value)}" for name, value in resume_rows(resume)]
    config = inspection.get("config") or {}
    if config:
        lines += ["", paint("config", "bold")]
        shown = [f"{key}  {short(value)}" for key, value in list(config.items())[:MAX_CONFIG]]
        lines += [f"  {paint(_fitting(line, width, 2))}" for line in shown]
        if len(config) > MAX_CONFIG:
            lines.append(f"  … {plural(len(config) - MAX_CONFIG, 'more value')}: --json shows all")
    return lines + _tensor_lines(inspection, all_tensors=all_tensors, paint=paint, width=width)


def _tensor_lines(inspection: Mapping[str, Any], *, all_tensors: bool, paint: Paint, width: int | None) -> list[str]:
    tensors = inspection.get("tensors") or []
    parameters, tensor_count = inspection.get("parameter_count"), inspection.get("tensor_count")
    lines = ["", f"{paint('tensors', 'bold')}  {tensor_count or 0} with {parameters or 0:,} parameters"]
    shown = tensors if all_tensors else tensors[:MAX_TENSORS]
    rows = [
        [
            f"  {item['name']}",
            str(item["dtype"]),
            "×".join(map(str, item["shape"])) or "scalar",
            size_text(item["bytes"]),
        ]
        for item in shown
    ]
    columns = [Column(cut=True, middle=True), Column(), Column(right=True), Column(right=True)]
    lines += table(columns, rows, paint=paint, width=width, head=False) if rows else []
    if len(shown) < len(tensors):
        lines.append(f"  … {plural(len(tensors) - len(shown), 'more tensor')}: --tensors shows all")
    return lines


def _fitting(text: str, width: int | None, indent: int) -> str:
    """A text on one line behind `indent` columns; a name is told by its end as well as by its beginning."""
    safe = printable(text)
    return safe if width is None else cut_middle(safe, max(width - indent, 1))


def _few(names: Iterable[Any]) -> str:
    known = [str(name) for name in names]
    more = len(known) - _MAX_NAMES
    return ", ".join(known[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def _row(label: str, text: str) -> str:
    return f"{label:<{_LABEL}} {text}"
