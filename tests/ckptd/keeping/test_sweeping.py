"""What retention does by itself: one run that fails keeps no other from its turn."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ckpt import pointers
from ckpt.paths import RunPaths


def sweep(world: Any) -> None:
    world.keeper.sweep([view.run.id for view in world.catalog.all()])


def kept(directory: Path) -> int:
    return len(list((directory / "checkpoints").glob("step-*.pt")))


def test_a_pointer_that_vanishes_in_the_very_moment_stops_no_other_run(
    world: Any, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [runs.run(name, checkpoints=5, policy={"keep_last": 5}) for name in ("a", "b")]
    for directory in made:
        paths = RunPaths(directory)
        pointers.swap(paths.latest, paths.checkpoints / "step-000010.pt")
    world.roots.add(str(runs.base), "observe", [])
    world.scanner.full()
    lexists, gone = os.path.lexists, RunPaths(made[0]).latest

    def vanishing(path: Any) -> bool:
        found = lexists(path)
        if Path(path) == gone and found:
            gone.unlink()
        return found

    monkeypatch.setattr(os.path, "lexists", vanishing)
    sweep(world)
    assert not lexists(gone)
    assert os.path.samefile(RunPaths(made[1]).latest, RunPaths(made[1]).checkpoints / "step-000050.pt")


def test_a_run_that_fails_stops_no_other(world: Any, runs: Any) -> None:
    made = [runs.run(name, checkpoints=5, policy={"keep_last": 2}) for name in ("a", "b")]
    world.roots.add(str(runs.base), "observe", [])
    world.scanner.full()
    RunPaths(made[0]).trash.write_text("no directory")
    sweep(world)
    assert [kept(directory) for directory in made] == [5, 2]
    assert str(made[0]) in world.scanner.counts.last_error
