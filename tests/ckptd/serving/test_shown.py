"""What is encoded once stays true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ckpt import scan
from ckpt.protocol import run_to_json
from ckptd.serving import shown
from ckptd.serving.shown import Shown


def test_the_bytes_are_those_of_the_record_and_kept_as_long_as_it_is(runs: Any) -> None:
    view = scan.read_run(runs.run("exp1", checkpoints=2), root=None, cache=scan.Cache())
    kept = Shown()
    assert json.loads(bytes(kept.view(view))) == json.loads(json.dumps(scan.run_view_to_json(view)))
    assert json.loads(bytes(kept.run(view.run))) == json.loads(json.dumps(run_to_json(view.run)))
    assert bytes(kept.view(view)) == bytes(kept.view(view))
    changed = view.evolve(run=view.run.evolve(step=77))
    assert json.loads(bytes(kept.view(changed)))["run"]["step"] == 77
    assert json.loads(bytes(kept.run(changed.run)))["step"] == 77
    assert json.loads(bytes(kept.view(view)))["run"]["step"] != 77


def test_what_is_kept_is_bounded(runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    view = scan.read_run(runs.run("exp1", checkpoints=1), root=None, cache=scan.Cache())
    kept = Shown()
    size = len(bytes(kept.view(view)))
    monkeypatch.setattr(shown, "BYTES_MAX", 3 * size)
    for number in range(20):
        other = view.evolve(run=view.run.evolve(id=f"r{number}"))
        assert json.loads(bytes(kept.view(other)))["run"]["id"] == f"r{number}"
        assert kept._bytes <= 3 * size
    assert len(kept._kept) <= 3


def test_the_service_shows_changes_at_once(world: Any, runs: Any) -> None:
    directory: Path = runs.run("exp1", checkpoints=1)
    world.post("/v1/roots", path=str(runs.base))
    assert world.get("/v1/runs")["runs"][0]["checkpoints"] == 1
    assert len(world.get("/v1/run?run=exp1")["checkpoints"]) == 1
    runs.checkpoint(directory, step=500)
    world.scanner.read(directory)
    assert world.get("/v1/runs")["runs"][0]["checkpoints"] == 2
    assert len(world.get("/v1/run?run=exp1")["checkpoints"]) == 2
