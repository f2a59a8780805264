"""Ray Train's checkpoints.

Transcribed from ray 2.60.0: `train/v2/_internal/execution/checkpoint/checkpoint_manager.py` (the run's snapshot,
written after a checkpoint), `train/v2/_internal/execution/storage.py` and `train/v2/_internal/util.py` (names by time),
`train/_internal/storage.py` and `session.py` (names by number), `train/_checkpoint.py` (`.metadata.json`),
`tune/logger/json.py` and `tune/result.py` (a trial's `result.json`, a line a report, with Tune's own counts).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.formats import inspect
from ckpt.formats.directories import known
from ckpt.formats.dtypes import decode_items
from ckpt.formats.reading import opened

DATED = "checkpoint_2026-01-02_03-04-05.678901"


def save(base: Path, name: str, **files: Any) -> Path:
    path = base / name
    path.mkdir(parents=True)
    for file, content in (files or {"model": {"epoch": 2, "model": {"weight": torch.ones(3, 2)}}}).items():
        torch.save(content, path / f"{file}.pt")
    return path


def snapshot(base: Path, *names: str) -> None:
    results = [
        {"version": 0, "checkpoint_dir_name": name, "metrics": {"loss": 0.5 + index, "accuracy": 0.75, "pid": 4}}
        for index, name in enumerate(names)
    ]
    state = {
        "ray_version": "2.60.0",
        "checkpoint_results": results,
        "checkpoint_report_indices": list(range(len(results))),
        "latest_checkpoint_result": results[-1] if results else None,
        "pending_training_results": [],
        "pending_validation_specs": [],
        "current_report_index": len(results),
        "validated_checkpoint_dir_names": [],
        "timed_out_validation_checkpoint_dir_names": [],
        "failed_validation_checkpoint_dir_names": [],
    }
    (base / "checkpoint_manager_snapshot.json").write_text(json.dumps(state))


def test_a_dated_one_has_the_metrics_of_the_runs_snapshot(tmp_path: Path) -> None:
    path = save(tmp_path, DATED)
    snapshot(tmp_path, DATED)
    found = inspect(path)
    assert (found.framework, found.state, found.epoch) == ("ray", "complete", 2), found.problems
    assert found.metrics == {"loss": 0.5, "accuracy": 0.75}
    assert found.loss == 0.5
    assert found.parameter_count == 6
    with opened(path) as whole:
        (placed,) = whole.tensors
        assert placed.info.name == "model.weight"
        assert placed.home is not None and placed.tensor.storage is not None
        raw = placed.home.bytes_of(placed.tensor.storage, placed.start, placed.span)
        assert decode_items(raw, "float32") == [1.0] * 6


def test_one_that_the_snapshot_does_not_list_yet_is_incomplete(tmp_path: Path) -> None:
    path = save(tmp_path, DATED)
    snapshot(tmp_path, "checkpoint_2026-01-01_00-00-00.000000")
    found = inspect(path)
    assert (found.framework, found.state) == ("ray", "incomplete")


def test_a_counted_one_has_the_metrics_of_its_line_of_results(tmp_path: Path) -> None:
    path = save(
        tmp_path, "checkpoint_000003", model={"model": {"w": torch.ones(2)}}, optimizer={"state": {0: {"a": 1}}}
    )
    counts = {"pid": 9, "time_total_s": 2.5, "timesteps_total": 8, "episodes_total": 2, "timesteps_since_restore": 8}
    lines: list[dict[str, Any]] = [
        {"loss": 0.9, "training_iteration": 1, "checkpoint_dir_name": None},
        {"loss": 0.25, "training_iteration": 4, "checkpoint_dir_name": path.name, "config": {"lr": 0.1}, **counts},
        {"loss": 0.2, "training_iteration": 5, "checkpoint_dir_name": None},
    ]
    (tmp_path / "result.json").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"loss": 0.1, "check')
    found = inspect(path)
    assert (found.framework, found.state) == ("ray", "complete")
    assert found.metrics == {"loss": 0.25}
    assert found.config == {"lr": 0.1}
    assert found.resume["model"] and found.resume["optimizer"]


def test_without_a_run_it_is_just_torch_files(tmp_path: Path) -> None:
    found = inspect(save(tmp_path, "checkpoint_000003"))
    assert (found.framework, found.state, found.metrics) == ("torch", "complete", {})


def test_users_own_metadata_makes_it_rays(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_000001"
    path.mkdir()
    (path / ".metadata.json").write_text('{"preprocessor": null}')
    (path / "weights.npy").write_bytes(b"anything")
    found = inspect(path)
    assert (found.framework, found.state, found.tensor_count) == ("ray", "complete", 0)


def test_a_file_that_ends_early_is_incomplete(tmp_path: Path) -> None:
    path = save(tmp_path, DATED)
    snapshot(tmp_path, DATED)
    (path / "model.pt").write_bytes((path / "model.pt").read_bytes()[:-20])
    found = inspect(path)
    assert found.state == "incomplete"
    assert "model.pt" in found.problems[0]


@pytest.mark.parametrize(
    "content", ["[]", "{", "[" * 50_000, '{"checkpoint_results": 3}', '{"checkpoint_results": [1, {"metrics": 2}]}']
)
def test_a_hostile_snapshot_is_no_error(tmp_path: Path, content: str) -> None:
    path = save(tmp_path, DATED)
    (tmp_path / "checkpoint_manager_snapshot.json").write_text(content)
    assert inspect(path).state in ("complete", "incomplete")


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("checkpoint_3", {"model.pt"}),
        ("checkpoint_000003", {"notes.txt"}),
        ("checkpoint_2026-01-02", {"model.pt"}),
        (DATED, set()),
    ],
)
def test_other_directories_are_none(name: str, files: set[str]) -> None:
    assert known.recognise(name, files, set()) is None
