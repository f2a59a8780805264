"""`ckpt show`, `ckpt inspect` and `ckpt diff`: what is in a checkpoint, and what differs between two."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from ckpt import refs
from ckpt.encoding import printable
from ckpt.exceptions import AddressError
from ckpt.protocol import checkpoint_from_json, run_from_json
from ckpt.records import Checkpoint, Run
from ckpt_tui.lookup import Lookup, other_parts, place_of
from ckpt_tui.running import from_os_error, running

DIFFERENT = 1  # exit code


def answer_show(ref: str, *, tensors: bool, json: bool, quiet: bool) -> None:
    """Answers `ckpt show`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        found = lookup.find(ref)
        inspection: dict[str, Any] | None = None
        if out.mode != "quiet":
            from ckpt.formats import inspect, inspection_to_json

            try:
                inspection = inspection_to_json(inspect(found.checkpoint.path))
            except OSError as error:
                out.say(f"its content cannot be read: {from_os_error(error).message}")

        def human() -> Iterable[str]:
            from ckpt_tui.render.checkpoints import checkpoint_lines

            return checkpoint_lines(
                found.run,
                found.checkpoint,
                found.verdict,
                inspection,
                all_tensors=tensors,
                paint=out.paint,
                width=out.width,
                parts=other_parts(found.checkpoint),
            )

        out.data({**found.answer, "inspection": inspection}, ids=[found.checkpoint.path], human=human)


def answer_inspect(path: str, *, tensors: bool, json: bool, quiet: bool) -> None:
    """Answers `ckpt inspect`."""
    with running(json=json, quiet=quiet) as out:
        if not os.path.lexists(path):
            with Lookup() as lookup:
                path = lookup.find(path).checkpoint.path
        from ckpt.formats import inspect, inspection_to_json

        try:
            inspection = inspection_to_json(inspect(path))
        except IsADirectoryError:
            raise AddressError(
                f"{printable(path)} is a directory, and no checkpoint itself",
                hint=f"`ckpt ls {printable(path)}` lists what it holds",
            ) from None

        def human() -> Iterable[str]:
            from ckpt_tui.render.contents import inspection_lines

            return inspection_lines(inspection, all_tensors=tensors, paint=out.paint, width=out.width)

        out.data(inspection, ids=[path], human=human)


def answer_diff(a: str, b: str, *, quick: bool, json: bool, quiet: bool) -> None:
    """Answers `ckpt diff`. Ends with exit code 1 when the two differ."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        with out.waiting(f"comparing {a} with {b}"):
            if lookup.names_run(a) and lookup.names_run(b):
                difference = run_difference(lookup.view(a), lookup.view(b), quick=quick)
            else:
                difference = _file_difference(_file_of(lookup, a), _file_of(lookup, b), quick=quick)

        def human() -> Iterable[str]:
            from ckpt_tui.render.differences import difference_lines

            return difference_lines(difference, paint=out.paint, width=out.width)

        out.data(difference, human=human)
        if not difference["same"]:
            raise typer.Exit(DIFFERENT)


def _file_of(lookup: Lookup, address: str) -> str:
    place = place_of(address)
    if place is not None and place.file is not None:
        # A file inside of a checkpoint directory is compared by itself.
        return address if place.file.is_dir() and os.path.isfile(address) else str(place.file)
    return lookup.find(address).checkpoint.path


def _file_difference(a: str, b: str, *, quick: bool) -> dict[str, Any]:
    from ckpt.diff import diff, difference_to_json

    return difference_to_json(diff(Path(a), Path(b), quick=quick))


def run_difference(a: Mapping[str, Any], b: Mapping[str, Any], *, quick: bool = False) -> dict[str, Any]:
    """Two runs in the shape of `ckpt diff --json`: their configs, curves, lineage and latest complete checkpoints.

    `a` and `b` in the shape of `ckpt ls RUN --json`. `checkpoints` names the two that were compared; null where a run
    has none, and then no tensor is compared. `quick` as of `ckpt.diff.diff`.
    """
    runs = [run_from_json(side["run"]) for side in (a, b)]
    latest = [_latest(run, side["checkpoints"]) for run, side in zip(runs, (a, b), strict=True)]
    first, second = latest
    if first is not None and second is not None:
        difference = _file_difference(first.path, second.path, quick=quick)
    else:
        nothing: dict[str, Any] = {"added": [], "removed": [], "changed": [], "identical": 0, "by_checksum": 0}
        parts: dict[str, Any] = {name: [] for name in ("metadata", "metrics", "config", "values")}
        difference = {"a": "", "b": "", "same": first is second, **parts, "tensors": nothing}
    if any(run.config for run in runs):
        difference["config"] = changes(a["run"]["config"], b["run"]["config"])
    lineage = changes(*({"parent": side["run"]["parent"]} if side["run"]["parent"] else {} for side in (a, b)))
    difference["metadata"] = [*lineage, *difference["metadata"]]
    difference["a"], difference["b"] = a["run"]["path"], b["run"]["path"]
    difference["checkpoints"] = [None if checkpoint is None else checkpoint.id for checkpoint in latest]
    difference["curves"] = _curve_changes(*(Path(run.path) for run in runs))
    difference["same"] = difference["same"] and not (lineage or difference["config"] or difference["curves"])
    return difference


def _curve_changes(a: Path, b: Path) -> list[dict[str, Any]]:
    from ckpt.diff import curve_changes
    from ckpt.scan import curves

    try:
        return curve_changes(*(curves(directory, points=sys.maxsize) for directory in (a, b)))
    except OSError:
        # The runs are known, but their disk is gone: the rest can still be told.
        return []


def _latest(run: Run, raw: Iterable[Mapping[str, Any]]) -> Checkpoint | None:
    try:
        return refs.select(None, [checkpoint_from_json(item) for item in raw], run)
    except AddressError:
        return None


def changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What differs in two nested mappings, in the shape of `ckpt diff --json`; keys are joined by dots."""
    flat_a, flat_b = dict(_flat(a)), dict(_flat(b))
    found: list[dict[str, Any]] = []
    for key in sorted({*flat_a, *flat_b}):
        only = None if key in flat_a and key in flat_b else "a" if key in flat_a else "b"
        left, right = flat_a.get(key), flat_b.get(key)
        if only is not None or left != right:
            found.append({"key": key, "a": left, "b": right, "only": only, "nonfinite": []})
    return found


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
