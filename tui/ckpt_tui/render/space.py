"""What runs take: as a table, the largest first, with totals, the disks, and what could be saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckpt import refs
from ckpt.encoding import path_from_fields, printable
from ckpt.records import Run
from ckpt_tui.output import Paint
from ckpt_tui.render.words import NONE, full_in
from ckpt_tui.tables import Cell, Column, table, wrapped
from ckpt_tui.wording import plural, size_text

_MOST = 0.5  # share of all bytes from which on optimizer states are worth a word
_KINDS = ("weights", "optimizer", "other")


def usage_lines(answer: Mapping[str, Any], *, paint: Paint, width: int | None) -> Iterator[str]:
    """A line a run, the sum, and below them the disks; `answer` is that of `/v1/du`."""
    runs: Sequence[Mapping[str, Any]] = answer["runs"]
    columns = [
        Column("RUN", cut=True, least=12),
        Column("CHECKPOINTS", right=True, rank=4),
        Column("SIZE", right=True),
        Column("WEIGHTS", right=True, rank=1),
        Column("OPTIMIZER", right=True, rank=1),
        Column("OTHER", right=True, rank=1),
        Column("FREES", right=True),
        Column("TRASH", right=True, rank=2),
        Column("PATH", cut=True, least=24, middle=True, rank=3),
    ]
    names = _names(runs)
    rows = [_row(run, Cell(names[run["run"]], "bold"), printable(path_from_fields(run))) for run in runs]
    if len(runs) > 1:
        together = {**answer, "checkpoints": sum(int(run["checkpoints"]) for run in runs)}
        rows.append(_row(together, Cell(plural(len(runs), "run"), "bold"), ""))
    yield from table(columns, rows, paint=paint, width=width)
    for sentence in _sentences(answer):
        yield from wrapped(sentence, width)


def _names(runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """How the runs are told from each other, by their ids."""
    if len(runs) == 1:
        return {str(run["run"]): str(run["name"]) for run in runs}
    own = [
        Run(id=str(run["run"]), name=str(run["name"]), root="", path=path_from_fields(run), own=False) for run in runs
    ]
    return refs.short_names(own)


def _row(told: Mapping[str, Any], name: Cell, path: str) -> list[str | Cell]:
    known = any(told["by_kind"][kind] for kind in _KINDS[:2])
    return [
        name,
        f"{int(told['checkpoints']):,}",
        size_text(int(told["bytes"])),
        *(size_text(int(told["by_kind"][kind])) if known else NONE for kind in _KINDS),
        size_text(int(told["unique_bytes"])),
        size_text(int(told["trash_bytes"])) if told["trash_bytes"] else NONE,
        Cell(path, "dim"),
    ]


def _sentences(answer: Mapping[str, Any]) -> Iterator[str]:
    size, shared = int(answer["bytes"]), int(answer["shared_bytes"])
    for disk in answer.get("disks") or ():
        total, free = int(disk["total_bytes"] or 0), int(disk["free_bytes"] or 0)
        taken = f": {_share(size, total)} of it is this" if total and len(answer["disks"]) == 1 else ""
        soon = "" if disk.get("full_in_s") is None else f", full in {full_in(float(disk['full_in_s']))} at this pace"
        where = printable(path_from_fields(disk))
        yield f"{where}: {size_text(free)} of {size_text(total)} free{soon}{taken}"
    if shared:
        yield f"{size_text(shared)} have other names elsewhere and stay when these runs go"
    if answer["trash_bytes"]:
        yield f"{size_text(int(answer['trash_bytes']))} lie in the trash: `ckpt trash ls` shows when they are purged"
    optimizer = int(answer["by_kind"]["optimizer"])
    if size and optimizer > _MOST * size:
        yield (
            f"{_share(optimizer, size)} are optimizer states, which only a resume needs: a policy that keeps fewer old "
            "checkpoints frees most (`ckpt policy test RUN` tries one)"
        )


def _share(part: int, whole: int) -> str:
    percent = 100 * part / whole
    return "less than 1 %" if 0 < percent < 1 else f"{percent:.0f} %"
