"""What the checkpoints of a foreign run say of it as a whole."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from ckpt import refs, scan


def saved(path: Path, age_s: float, **content: object) -> Path:
    torch.save({"model": {"w": torch.ones(3)}, **content}, path)
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_a_model_for_use_is_not_the_latest_however_new_it_is(tmp_path: Path) -> None:
    saved(tmp_path / "step_10.pt", 300, global_step=10, optimizer={"param_groups": [{"lr": 0.1}]})
    going_on = saved(tmp_path / "step_20.pt", 200, global_step=20, optimizer={"param_groups": [{"lr": 0.1}]})
    final = saved(tmp_path / "final.pt", 100)
    view = scan.read_run(tmp_path)
    assert refs.select("latest", view.checkpoints, view.run).path == str(going_on)
    assert view.run.step == 20
    labels = {os.path.basename(c.path): c.label for c in view.checkpoints}
    assert labels == {"step_10.pt": None, "step_20.pt": None, "final.pt": "export"}
    assert view.checkpoints[-1].path == str(final)


def test_a_file_that_no_reader_knows_is_shown_and_is_not_the_latest(tmp_path: Path) -> None:
    going_on = saved(tmp_path / "step_20.pt", 200, global_step=20, optimizer={"param_groups": [{"lr": 0.1}]})
    (tmp_path / "model.bin").write_bytes(b"weights of another tool")
    view = scan.read_run(tmp_path)
    assert refs.select("latest", view.checkpoints, view.run).path == str(going_on)
    unknown = next(c for c in view.checkpoints if c.path.endswith("model.bin"))
    assert (unknown.state, unknown.framework, unknown.bytes) == ("complete", "unknown", 23)
    assert unknown.problems == ("no reader knows it",)


def test_where_nothing_knows_a_step_the_newest_file_is_the_latest(tmp_path: Path) -> None:
    saved(tmp_path / "older.pt", 300)
    newer = saved(tmp_path / "newer.pt", 100)
    view = scan.read_run(tmp_path)
    assert refs.select("latest", view.checkpoints, view.run).path == str(newer)
    assert {c.label for c in view.checkpoints} == {None}


def test_a_state_without_a_step_that_can_be_resumed_is_no_export(tmp_path: Path) -> None:
    saved(tmp_path / "step_10.pt", 300, global_step=10)
    state = saved(tmp_path / "state.pt", 100, optimizer={"state": {0: {"m": torch.ones(2)}}, "param_groups": []})
    view = scan.read_run(tmp_path)
    assert refs.select("latest", view.checkpoints, view.run).path == str(state)


@pytest.mark.parametrize(("ahead_s", "status"), [(60, "training"), (-60, "training"), (7200, "idle"), (-7200, "idle")])
def test_a_clock_that_is_a_little_ahead_does_not_stop_a_training(tmp_path: Path, ahead_s: float, status: str) -> None:
    saved(tmp_path / "step_10.pt", -ahead_s, global_step=10)
    assert scan.read_run(tmp_path).run.status == status
