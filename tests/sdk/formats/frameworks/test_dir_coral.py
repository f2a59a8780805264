"""Coral's repositories.

The files are those that coral-ml 1.0.0 leaves after two saves of its CheckpointManager, keys and places as measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest

from ckpt.formats import inspect
from ckpt.formats.directories import known

COMMITS = ("8b37f5958cf9570c", "1f3f2fa39c9b9018")


def save(base: Path) -> Path:
    path = base / ".coral"
    (path / "objects" / "commits").mkdir(parents=True)
    (path / "refs" / "heads").mkdir(parents=True)
    (path / "checkpoints").mkdir()
    (path / "HEAD").write_text("ref: refs/heads/main")
    (path / "config.json").write_text('{"user": {"name": "Anonymous"}}')
    with h5py.File(path / "objects" / "weights.h5", "w") as file:
        file.create_dataset("weights/0831b8f1db6007e0", data=numpy.zeros((40, 30), "float32"), compression="gzip")
    for number, commit in enumerate(COMMITS, 1):
        described = {
            "commit_hash": commit,
            "parent_hashes": list(COMMITS[: number - 1]),
            "weight_hashes": {"w": "0831b8f1db6007e0"},
            "metadata": {"message": f"Checkpoint at epoch {number}", "timestamp": "2026-01-02T03:04:05.000006"},
            "delta_weights": {},
        }
        (path / "objects" / "commits" / f"{commit}.json").write_text(json.dumps(described))
        state: dict[str, Any] = {
            "epoch": number,
            "global_step": number * 10,
            "learning_rate": 0.1,
            "loss": 0.5 / number,
            "metrics": {"acc": 0.1 * number},
            "optimizer_state": {"param_groups": [{"lr": 0.05}], "state": {"0": {"step": 1}}} if number == 2 else None,
            "scheduler_state": None,
            "random_state": None,
            "timestamp": "2026-01-02T03:04:05.000006",
            "batch_size": None,
            "model_name": "net",
            "experiment_name": "exp1",
        }
        (path / "objects" / "commits" / f"{commit}_state.json").write_text(json.dumps(state))
    (path / "refs" / "heads" / "main").write_text(
        json.dumps({"name": "main", "commit_hash": COMMITS[1], "parent_branch": None})
    )
    (path / "checkpoints" / "exp1.json").write_text("{}")
    return path


def test_the_newest_commit_of_the_branch_is_told(tmp_path: Path) -> None:
    found = inspect(save(tmp_path))
    assert (found.framework, found.state) == ("coral", "complete"), found.problems
    assert (found.step, found.epoch, found.loss, found.metrics) == (20, 2, 0.25, {"acc": 0.2})
    assert found.learning_rate == 0.05
    assert found.config == {"model_name": "net", "experiment_name": "exp1"}
    assert found.resume["model"] and found.resume["optimizer"] and not found.resume["scheduler"]
    assert found.saved_at is not None


def test_another_branch_tells_its_own_commit(tmp_path: Path) -> None:
    path = save(tmp_path)
    (path / "refs" / "heads" / "try").mkdir()
    (path / "refs" / "heads" / "try" / "one").write_text(json.dumps({"name": "try/one", "commit_hash": COMMITS[0]}))
    (path / "HEAD").write_text("ref: refs/heads/try/one\n")
    found = inspect(path)
    assert (found.state, found.step, found.resume["optimizer"]) == ("complete", 10, False)


@pytest.mark.parametrize(
    "name", ["refs/heads/main", f"objects/commits/{COMMITS[1]}.json", f"objects/commits/{COMMITS[1]}_state.json"]
)
def test_what_the_branch_leads_to_is_needed_whole(tmp_path: Path, name: str) -> None:
    path = save(tmp_path)
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[: len(content) // 2])
    assert inspect(path).state in ("incomplete", "corrupt")
    (path / name).unlink()
    assert inspect(path).state == ("complete" if name.endswith("_state.json") else "incomplete")


def test_weights_that_end_early_are_incomplete(tmp_path: Path) -> None:
    path = save(tmp_path)
    weights = path / "objects" / "weights.h5"
    weights.write_bytes(weights.read_bytes()[:-100])
    found = inspect(path)
    assert found.state == "incomplete"
    assert "weights.h5" in found.problems[0]
    weights.unlink()
    assert inspect(path).state == "incomplete"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("HEAD", "ref: ../../../etc/passwd"),
        ("HEAD", "ref: refs/heads/../../config.json"),
        ("HEAD", "1f3f2fa39c9b9018"),
        ("HEAD", "\xff" * 9000),
        ("refs/heads/main", '{"commit_hash": "../../config"}'),
        ("refs/heads/main", '{"commit_hash": 3}'),
        ("refs/heads/main", "[" * 50_000),
        (f"objects/commits/{COMMITS[1]}.json", "[]"),
    ],
)
def test_hostile_files_are_a_state_and_no_error(tmp_path: Path, name: str, content: str) -> None:
    path = save(tmp_path)
    (path / name).write_text(content)
    found = inspect(path)
    assert found.step is None
    assert found.problems


def test_a_repository_without_commits_is_incomplete(tmp_path: Path) -> None:
    path = save(tmp_path)
    (path / "refs" / "heads" / "main").write_text('{"name": "main", "commit_hash": ""}')
    assert inspect(path).state == "incomplete"


@pytest.mark.parametrize(
    ("name", "files", "directories"),
    [(".git", {"HEAD"}, {"objects", "refs"}), ("coral", {"HEAD"}, {"objects", "refs"}), (".coral", set(), {"refs"})],
)
def test_other_directories_are_none(name: str, files: set[str], directories: set[str]) -> None:
    assert known.recognise(name, files, directories) is None
