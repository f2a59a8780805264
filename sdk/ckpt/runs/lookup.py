"""What a caller names: a run's directory, a checkpoint of it."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckpt.encoding import printable
from ckpt.exceptions import AddressError
from ckpt.paths import CHECKPOINT_SUFFIX, RunPaths
from ckpt.records import Checkpoint
from ckpt.refs import select
from ckpt.runs import redirecting

if TYPE_CHECKING:
    from ckpt.scan import RunView


def find(path: str | os.PathLike[str], base_dir: str | os.PathLike[str]) -> Path:
    """The directory of an own run. Raises AddressError that names what is near."""
    text = os.fspath(path)
    base = Path(os.path.abspath(base_dir))
    for candidate in (Path(os.path.abspath(text)), base / text):
        for place in redirecting.places(candidate):
            if RunPaths(place).manifest.is_file():
                return place
    known = sorted(e for e in (os.listdir(base) if base.is_dir() else ()) if RunPaths(base / e).manifest.is_file())
    near = difflib.get_close_matches(text, known, n=3, cutoff=0.5) or known[:8]
    raise AddressError(
        f"no run '{printable(text)}' here or in {printable(str(base))}",
        hint=f"there is {', '.join(printable(name) for name in near)}" if near else "no run is there yet",
        candidates=known[:50],
    )


def start_of(source: str | os.PathLike[str], base: Path, selector: str | None) -> tuple[RunView, Checkpoint]:
    """The run and the checkpoint in it that a fork starts from."""
    from ckpt import scan

    text = os.fspath(source)
    if os.path.isfile(text):
        directory, file = scan.run_of(Path(os.path.abspath(text)))
        view = scan.read_run(directory, root=scan.registered_root(directory))
        real = os.path.realpath(text if file is None else file)
        for found in view.checkpoints:
            if os.path.realpath(found.path) == real:
                return view, found
        raise AddressError(f"{printable(text)} is no checkpoint that can be read")
    if selector is None and "@" in os.path.basename(text):
        text, _, selector = text.rpartition("@")
    directory = find(text, base)
    view = scan.read_run(directory, root=scan.registered_root(directory))
    return view, select(selector, view.checkpoints, view.run)


def names_start(source: Any, base: Path) -> bool:
    """Whether `start_of` takes this, which is no selector: a file, a run's directory or name, RUN@SELECTOR."""
    if not isinstance(source, str | os.PathLike):
        return False
    text = os.fspath(source)
    name = text.rpartition("@")[0] if "@" in os.path.basename(text) else ""
    if name or os.path.isfile(text):
        return True
    candidates = (Path(os.path.abspath(text)), base / text)
    return any(RunPaths(place).manifest.is_file() for path in candidates for place in redirecting.places(path))


def checkpoint_of(view: RunView, ref: Any) -> Checkpoint:
    """One checkpoint of a run: a path, an id, a selector such as `best`, a record or handle; None is latest.

    Raises AddressError that says what exists.
    """
    for wanted in (getattr(ref, "id", None), ref):
        for found in view.checkpoints:
            if isinstance(wanted, str) and wanted == found.id:
                return found
    text = None if ref is None else os.fspath(ref) if isinstance(ref, os.PathLike) else str(ref)
    tags = {tag for found in view.checkpoints for tag in found.tags}
    if text is None or text in tags or not (os.sep in text or text.endswith(CHECKPOINT_SUFFIX)):
        return select(text, view.checkpoints, view.run)
    # A bare file name is one of this run's; anything longer is taken as it stands.
    directory = RunPaths(Path(view.run.path)).checkpoints
    path = os.path.realpath(text if os.sep in text else directory / text)
    for found in view.checkpoints:
        if os.path.realpath(found.path) == path:
            return found
    raise AddressError(
        f"run '{printable(view.run.name)}' has no checkpoint '{printable(text)}'",
        hint="it has " + (", ".join(printable(Path(c.path).name) for c in view.checkpoints[:8]) or "none"),
    )
