"""`ckpt ls`: runs, or the checkpoints of one run, filtered and ordered."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ckpt.encoding import path_from_fields, printable, quoted
from ckpt.exceptions import UsageError
from ckpt.filters import Choice, Fields, checkpoint_fields, run_fields
from ckpt.protocol import checkpoint_from_json, run_from_json
from ckpt.records import Checkpoint, Run, Verdict
from ckpt_tui.lookup import Lookup, place_of, verdict_from_json
from ckpt_tui.output import Output
from ckpt_tui.running import running

Row = TypeVar("Row")


def _run_fields(row: tuple[Mapping[str, Any], Run]) -> Fields:
    return run_fields(row[1])


def _checkpoint_fields(row: tuple[Mapping[str, Any], Checkpoint, Verdict | None]) -> Fields:
    return checkpoint_fields(row[1], row[2])


def _chosen(choice: Choice, rows: Sequence[Row], fields_of: Callable[[Row], Fields], out: Output) -> Sequence[Row]:
    """The chosen rows. Tells of names that no row has, because they are probably misspelt."""
    chosen = choice.of(rows, fields_of)
    for name, near in chosen.unknown.items():
        out.say(f"nothing here has {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""))
    return chosen.rows


def answer_ls(
    target: str | None,
    *,
    filter_text: str | None,
    sort: str | None,
    tag: str | None,
    limit: int | None,
    json: bool,
    quiet: bool,
) -> None:
    """Answers `ckpt ls`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        choice = Choice(filter_text, sort, limit)
        below = runs_below(target) if target is not None else None
        if target is None:
            empty = "no run is known yet: `ckpt watch add DIR`, or make one with ckpt.Run.create()"
            _list_runs(out, lookup.client.get("/v1/runs")["runs"], choice, tag, empty)
        elif below is not None:
            empty = f"no run lies below {printable(target)}"
            _list_runs(out, _read_runs(below, Path(os.path.abspath(target))), choice, tag, empty)
        else:
            _list_checkpoints(out, _without_guess(out, target, lookup.view(target)), choice, tag)


def _without_guess(out: Output, target: str, view: Mapping[str, Any]) -> Mapping[str, Any]:
    """A run without verdicts where the disk alone does not tell what is configured for it."""
    from ckpt_tui.render.rules import is_ruled

    if place_of(target) is None or view["run"]["own"] or is_ruled(view["policy"]):
        return view
    from ckpt.scan import registered_root

    path = path_from_fields(view["run"])
    root = registered_root(Path(path))
    if root is not None:
        inside = os.path.relpath(path, root)
        name = os.path.basename(path) if inside == os.curdir else inside
        out.say(f"what is configured for it is told by `ckpt ls {quoted(name)}`")
    return {**view, "checkpoints": [{**raw, "verdict": None} for raw in view["checkpoints"]]}


def runs_below(target: str) -> list[Path] | None:
    """The runs below a directory; None when the target is one run itself or a part of it, or no directory."""
    if not os.path.isdir(target):
        return None
    from ckpt.scan import find_runs, is_own

    root = Path(os.path.abspath(target))
    if is_own(root) or is_own(root.parent):
        return None
    found = find_runs(root)
    return None if found == [root] else found


def _read_runs(directories: Iterable[Path], root: Path) -> list[Mapping[str, Any]]:
    from ckpt.protocol import run_to_json
    from ckpt.scan import Cache, read_run, registered_root

    cache = Cache()
    root = registered_root(root) or root
    return [run_to_json(read_run(directory, root=root, cache=cache).run) for directory in directories]


def _list_runs(out: Output, raw: Sequence[Mapping[str, Any]], choice: Choice, tag: str | None, empty: str) -> None:
    if tag is not None:
        raise UsageError(
            "--tag chooses among the checkpoints of a run", hint=f"name the run: `ckpt ls RUN --tag {tag}`"
        )
    runs = [(item, run_from_json(item)) for item in raw]
    rows = _chosen(choice, runs, _run_fields, out)
    if not raw:
        out.say(empty)
    elif not rows:
        out.say(f"none of {len(raw)} runs fits")

    def human() -> Iterable[str]:
        from ckpt_tui.render.runs import runs_table

        known = [run for _, run in runs]
        return runs_table([run for _, run in rows], known=known, paint=out.paint, width=out.width) if rows else ()

    out.data({"runs": [item for item, _ in rows]}, ids=[run.id for _, run in rows], human=human)


def _list_checkpoints(out: Output, view: Mapping[str, Any], choice: Choice, tag: str | None) -> None:
    run = run_from_json(view["run"])
    known = [(raw, checkpoint_from_json(raw), verdict_from_json(raw)) for raw in view["checkpoints"]]
    tagged = [row for row in known if tag is None or tag in row[1].tags]
    rows = _chosen(choice, tagged, _checkpoint_fields, out)
    if not known:
        out.say(f"run {printable(run.name)} has no checkpoints yet")
    elif not rows:
        out.say(f"none of {len(known)} checkpoints fits")

    def human() -> Iterable[str]:
        from ckpt_tui.render.checkpoints import checkpoints_table, run_head

        shown = [(checkpoint, verdict) for _, checkpoint, verdict in rows]
        head = run_head(run, len(known), shown, paint=out.paint)
        return [*head, *(checkpoints_table(run, shown, paint=out.paint, width=out.width) if rows else [])]

    answer = {**view, "checkpoints": [raw for raw, _, _ in rows]}
    out.data(answer, ids=[checkpoint.id for _, checkpoint, _ in rows], human=human)
