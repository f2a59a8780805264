"""`ckpt restore` and `ckpt fork`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ckpt.encoding import path_fields, printable, quoted
from ckpt.exceptions import CkptError, UsageError
from ckpt_tui.lookup import Lookup, place_of
from ckpt_tui.output import Output
from ckpt_tui.running import running


def answer_restore(ref: str, destination: str, *, json: bool, quiet: bool) -> None:
    """Answers `ckpt restore`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        target = Path(os.path.abspath(os.path.expanduser(destination)))
        if lookup.names_run(ref):
            directory = _directory_of(lookup, ref)
            if os.path.lexists(target):
                inside = f"{destination.rstrip(os.sep)}/{directory.name}"
                raise UsageError(
                    f"{printable(str(target))} exists already",
                    hint=f"a run is copied to a new name: ckpt restore {quoted(ref)} {quoted(inside)}",
                )
            paths = [_restore_run(out, directory, target)]
        else:
            paths = _restore_checkpoint(out, lookup, ref, destination, target)

        def human() -> Iterable[str]:
            yield from (f"restored {out.paint(path)}" for path in paths)

        answer = {"restored": [path_fields(str(path)) for path in paths]}
        out.data(answer, ids=[str(path) for path in paths], human=human)


def _directory_of(lookup: Lookup, ref: str) -> Path:
    place = place_of(ref)
    if place is not None:
        return place.directory
    from ckpt.protocol import run_from_json

    return Path(run_from_json(lookup.view(ref)["run"]).path)


def _restore_run(out: Output, directory: Path, target: Path) -> Path:
    from ckpt.copies import restore_run, tree_bytes

    with out.progress(f"restoring {directory.name}", tree_bytes(directory)) as progress:
        return restore_run(directory, target, progress=progress)


def _restore_checkpoint(out: Output, lookup: Lookup, ref: str, destination: str, target: Path) -> list[Path]:
    from ckpt.copies import restore_checkpoint

    found = lookup.find(ref)
    _, checkpoint = lookup.local(found)
    if checkpoint.state != "complete":
        out.say(f"note: this checkpoint is {checkpoint.state}; it is copied as it is")
    if destination.endswith(os.sep) and not target.is_dir():
        target.mkdir(parents=True)
    with out.progress(f"restoring {Path(checkpoint.path).name}", checkpoint.bytes) as progress:
        return restore_checkpoint([Path(file) for file in checkpoint.files], target, progress=progress)


def answer_fork(ref: str, name: str, *, at: str | None, json: bool, quiet: bool) -> None:
    """Answers `ckpt fork`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        from ckpt.runs.directories import check_name

        name = check_name(name)
        found = lookup.find(ref)
        if at is None and not found.run.own:
            raise UsageError(
                "a fork of a checkpoint that another program wrote needs --at: nothing is written beside those",
                hint=f"ckpt fork {printable(ref)} {printable(name)} --at DIR",
            )
        parent, checkpoint = lookup.local(found)
        parent = parent.evolve(id=found.run.id)
        base = Path(at).expanduser() if at is not None else Path(parent.path).parent
        from ckpt.protocol import run_to_json
        from ckpt.runs.forking import fork
        from ckpt.scan import read_run

        with out.progress(f"forking {Path(checkpoint.path).name}", checkpoint.bytes) as progress:
            directory = fork(checkpoint, parent, base / name, progress=progress)
        _announce(directory)
        run = read_run(directory).run

        def human() -> Iterable[str]:
            yield f"forked {out.paint(run.path, 'bold')} from {out.paint(checkpoint.path)}"

        out.data({"run": run_to_json(run)}, ids=[str(directory)], human=human)


def _announce(directory: Path) -> None:
    """Tells a daemon that runs now of a new run; without one it finds the run by itself when it lies under a root."""
    from ckpt.client import Client

    try:
        client = Client.connect(autostart=False)
        if client.mode == "daemon":
            client.post("/v1/announce", path_fields(str(directory)))
        client.close()
    except (CkptError, OSError):
        return
