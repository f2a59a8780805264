"""A real daemon over a directory in which real trainings of other frameworks write, side by side."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpt.client import Client, daemon_note
from ckpt.exceptions import CkptError

TRAININGS = Path(__file__).with_name("foreign_trainings.py")
RUNS = {"finetune": "transformers", "lightning_logs/version_0": "lightning", "loop": "accelerate"}


def until(check: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(CkptError):
            if found := check():
                return found
        time.sleep(0.05)
    raise AssertionError(f"{check} never came true")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "experiments"
    place.mkdir()
    return place


@pytest.fixture
def daemon(root: Path, tmp_path: Path) -> Iterator[Client]:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ckptd", "run", "--watch", str(root)], stdin=subprocess.DEVNULL, stderr=log
        )
    try:
        until(lambda: (daemon_note() or {}).get("pid") == process.pid)
        with Client.connect(autostart=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def trainings(root: Path, tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    quiet = {"PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with (tmp_path / "trainings").open("wb") as log:
        started = [
            subprocess.Popen(
                [sys.executable, str(TRAININGS), name, str(root)],
                env={
                    **os.environ,
                    **quiet,
                    "OMP_NUM_THREADS": "1",
                    "CUDA_VISIBLE_DEVICES": "",
                    "TMPDIR": str(tmp_path),
                },
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            for name in RUNS.values()
        ]
    try:
        yield started
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.wait(20)


def look(client: Client, root: Path) -> dict[str, dict[str, Any]]:
    """All runs with their checkpoints, by their places below the root."""
    found = {}
    for run in client.get("/v1/runs")["runs"]:
        with contextlib.suppress(CkptError):
            found[os.path.relpath(run["path"], root)] = client.get("/v1/run", run=run["id"])
    return found


def everything(root: Path) -> dict[str, tuple[int, int, int]]:
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns, path.lstat().st_ctime_ns)
        for path in root.rglob("*")
    }


def test_trainings_of_others_are_followed_as_they_write(
    root: Path, daemon: Client, trainings: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    seen: dict[str, list[str]] = {}
    wrong: list[str] = []
    while any(process.poll() is None for process in trainings):
        for place, view in look(daemon, root).items():
            if place not in RUNS:
                wrong.append(f"a run at {place}")
                continue
            for checkpoint in view["checkpoints"]:
                path = os.path.relpath(checkpoint["path"], root)
                states = seen.setdefault(path, [])
                if not states or states[-1] != checkpoint["state"]:
                    states.append(checkpoint["state"])
                if checkpoint["framework"] != RUNS[place] and checkpoint["state"] != "writing":
                    wrong.append(f"{path} as {checkpoint['framework']}")
        time.sleep(0.05)
    assert [process.wait() for process in trainings] == [0, 0, 0], (tmp_path / "trainings").read_text()[-5000:]
    assert wrong == []

    # A save of several files is there while it is written, and then whole; nothing is ever taken for broken.
    several = {path: states for path, states in seen.items() if "/checkpoint" in path and ".ckpt" not in path}
    # A trainer that takes one away may be met in the middle of it.
    several = {
        path: states[:-1] if states[1:] and states[-1] == "writing" else states for path, states in several.items()
    }
    assert all(states in (["writing", "complete"], ["complete"], ["writing"]) for states in several.values()), several
    assert {"complete", "writing"} >= {state for states in seen.values() for state in states}, seen

    # What the trainers took away is gone here too.
    there = {
        "finetune": {"checkpoint-6", "checkpoint-8"},
        "lightning_logs/version_0": {
            "checkpoints/epoch=2-step=6.ckpt",
            "checkpoints/epoch=3-step=8.ckpt",
            "checkpoints/last.ckpt",
        },
        "loop": {"checkpoints/checkpoint_1", "checkpoints/checkpoint_2"},
    }

    def as_on_disk() -> dict[str, dict[str, Any]] | None:
        views = look(daemon, root)
        found = {
            place: {os.path.relpath(c["path"], root / place) for c in view["checkpoints"] if c["state"] == "complete"}
            for place, view in views.items()
        }
        return views if found == there else None

    views = until(as_on_disk)
    assert "finetune/checkpoint-4" in seen, "what was removed had been seen"
    for place, view in views.items():
        assert (view["run"]["framework"], view["run"]["status"]) == (RUNS[place], "training")
    tuned = views["finetune"]
    assert (tuned["run"]["monitor"], tuned["run"]["mode"], tuned["run"]["step"]) == ("eval_loss", "min", 8)
    best = {os.path.basename(c["path"]): c["held_by"] for c in tuned["checkpoints"]}
    assert any("best_model_checkpoint of checkpoint-8" in held for held in best.values())
    logged = views["lightning_logs/version_0"]
    assert logged["run"]["monitor"] == "val_loss" and logged["run"]["step"] == 8

    before = everything(root)
    daemon.post("/v1/rescan", {})
    assert everything(root) == before
    assert not [path for path in before if "ckptd" in os.path.basename(path)]


def test_a_save_that_is_not_over_is_writing(root: Path, daemon: Client, produced: Callable[[str], Path]) -> None:
    """Files of a real checkpoint arrive one by one, in the order in which the Trainer writes them."""
    whole = next(path.parent for path in produced("transformers").rglob("optimizer.pt"))
    names = sorted(
        (path.name for path in whole.iterdir() if path.is_file()), key=lambda n: (n == "trainer_state.json", n)
    )
    (root / "finetune" / whole.name).mkdir(parents=True)

    def states() -> list[str]:
        return [c["state"] for view in look(daemon, root).values() for c in view["checkpoints"]]

    for name in names[:-1]:
        shutil.copyfile(whole / name, root / "finetune" / whole.name / name)
        assert "complete" not in states()
    until(lambda: states() == ["writing"])
    shutil.copyfile(whole / names[-1], root / "finetune" / whole.name / names[-1])
    until(lambda: states() == ["complete"])
