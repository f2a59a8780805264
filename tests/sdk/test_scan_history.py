"""Every save of a run that anything is known of: on disk, in the trash, purged, and what was said of each and when."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch

from ckpt import Run, files
from ckpt.paths import RunPaths
from ckpt.protocol import checkpoint_to_json
from ckpt.records import Checkpoint
from ckpt.retention import Policy
from ckpt.retention.rehearsing import rehearse
from ckpt.scan import read_run
from ckpt.scan.history import history
from ckpt.scan.trying import try_policy
from ckpt.trash import Trash


def remove(directory: Path, *steps: int) -> list[str]:
    """Moves checkpoints into the run's trash; returns the ids of the entries."""
    trash = Trash(RunPaths(directory).trash)
    return [_trashed(trash, c) for c in read_run(directory).checkpoints if c.step in steps]


def _trashed(trash: Trash, checkpoint: Checkpoint) -> str:
    entry = trash.remove(
        [Path(name) for name in checkpoint.files],
        run=checkpoint.run,
        plan="p",
        reasons=(),
        near_misses=(),
        keep_for_s=0.0,
        checkpoint=checkpoint_to_json(checkpoint),
    )
    return entry.id


def test_what_is_there_in_the_trash_and_purged(runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=5)
    entries = remove(directory, 10, 20)
    Trash(RunPaths(directory).trash).purge(entries[0])
    past = history(read_run(directory))
    assert [c.step for c in past.saves] == [10, 20, 30, 40, 50]
    assert [c.loss for c in past.saves] == [0.9, 0.8, 0.7, 0.6, 0.5]
    assert (past.removed, past.forgotten, past.unusable) == (2, 0, 0)
    Trash(RunPaths(directory).trash).restore(entries[1])
    assert history(read_run(directory)).removed == 1


def test_saves_of_which_nothing_is_known_are_counted(runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=4)
    for suffix in (".pt", ".json"):
        (directory / f"checkpoints/step-000020{suffix}").unlink()
    runs.checkpoint(directory, step=90, commit=False)
    past = history(read_run(directory))
    assert [c.step for c in past.saves] == [10, 30, 40]
    assert (past.removed, past.forgotten, past.unusable) == (0, 1, 1)


def test_what_was_said_is_taken_apart_from_what_was_saved(runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=2)
    run = Run.open(directory)
    before = time.time()
    run.add_metrics("step:10", {"loss": 0.01, "acc": math.nan})
    run.pin("step:20")
    run.tag("step:10", "paper")
    run.tag("step:20", "paper")
    run.remove_metrics("step:10", "loss")
    past = history(read_run(directory))
    assert [(c.value("loss"), c.value("acc"), c.tags, c.pinned) for c in past.saves] == [
        (0.9, None, (), False),
        (0.8, None, (), False),
    ]
    first, second = (c.id for c in past.saves)
    assert [said.checkpoint for said in past.said if "paper" in said.changes["tags"]] == [first, second]
    of_first = [said.changes for said in past.said if said.checkpoint == first]
    assert [changes["metrics"].get("loss") for changes in of_first] == [0.01, 0.01, 0.01, None]
    assert of_first[-1]["tags"] == () and math.isnan(of_first[-1]["metrics"]["acc"])
    assert all(before <= said.at <= time.time() for said in past.said)


def test_a_saved_value_that_a_late_one_replaced_is_known_again(runs: Any) -> None:
    directory = runs.run("exp1")
    runs.checkpoint(directory, step=10, metrics={"acc": 0.5})
    Run.open(directory).add_metrics("step:10", {"acc": 0.7})
    past = history(read_run(directory))
    assert past.saves[0].metrics == {"acc": 0.5} and past.said[0].changes["metrics"] == {"acc": 0.7}


def test_lines_that_nobody_understands_do_no_harm(runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    checkpoint = read_run(directory).checkpoints[0].id
    with (directory / "marks.jsonl").open("wb") as marks:
        for line in (
            {"kind": "pin", "checkpoint": checkpoint, "at": "NaN"},
            {"kind": "pin", "checkpoint": checkpoint, "at": True},
            {"kind": "metric", "checkpoint": checkpoint, "metrics": [1]},
            {"kind": "unmetric", "checkpoint": checkpoint, "names": "acc"},
            {"kind": "policy", "policy": {"keep_last": 1}},
            ["pin"],
        ):
            marks.write(json.dumps(line).encode() + b"\n")
        marks.write(b'{"kind": "pi')
    RunPaths(directory).trash.mkdir()
    (RunPaths(directory).trash / "journal.jsonl").write_text(
        '{"v": 1, "op": "remove", "id": "a", "entry": {"run": 3}}\n'
    )
    past = history(read_run(directory))
    assert len(past.saves) == 1 and len(past.said) == 4
    assert rehearse(past, Policy(keep_last=1), read_run(directory).situation, now=time.time()).saved == 1


def test_the_extremes_of_what_the_training_wrote(runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=2)
    rows = [{"at": 1.0, "attempt": 1, "epoch": 0, "global_step": s, "learning_rate": 0.1, "loss": v, "metrics": {}}
            for s, v in ((5, 0.7), (10, 0.1), (15, 3.0))]  # fmt: skip
    (directory / "states.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    reached = history(read_run(directory)).reached["loss"]
    assert (reached.low, reached.low_step, reached.high, reached.high_step) == (0.1, 10, 3.0, 15)


def test_a_foreign_run_has_its_marks_elsewhere(tmp_path: Path) -> None:
    directory, marks = tmp_path / "cnn", tmp_path / "marks"
    directory.mkdir()
    for epoch in (1, 2, 3):
        torch.save(
            {"model": {"w": torch.ones(2)}, "epoch": epoch, "global_step": 10 * epoch}, directory / f"e_{epoch}.pt"
        )
    view = read_run(directory)
    marked = view.checkpoints[-1].id
    files.append_json(_made(marks) / f"{view.run.id}.jsonl", {"kind": "pin", "checkpoint": marked, "at": 5.0})
    past = history(read_run(directory, foreign_marks=marks), marks)
    assert len(past.saves) == 3 and [said.checkpoint for said in past.said] == [marked]
    assert history(view).said == ()


def test_what_was_removed_below_a_foreign_root_lies_in_its_trash(tmp_path: Path) -> None:
    from ckpt.trash import placing

    root, directory = tmp_path / "others", tmp_path / "others/cnn"
    directory.mkdir(parents=True)
    for epoch in (1, 2, 3):
        state = {"model": {"w": torch.ones(2)}, "epoch": epoch, "global_step": 10 * epoch}
        torch.save(state, directory / f"e_{epoch}.pt")
    view = read_run(directory, root=root)
    place = placing.where(root, [name for c in view.checkpoints for name in c.files])
    placing.make(place)
    entries = [_trashed(place.open(), c) for c in view.checkpoints if c.step != 30]
    place.open().purge(entries[0])
    past = history(read_run(directory, root=root))
    assert sorted(c.step or 0 for c in past.saves) == [10, 20, 30] and past.removed == 2
    assert history(read_run(directory, root=tmp_path)).removed == 0, "another root is another run"


def test_the_monitor_of_a_foreign_run_is_its_trainers(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.ones(2)}, "epoch": 1, "global_step": 10}, tmp_path / "e_1.pt")
    assert read_run(tmp_path).run.monitor is None
    assert [origin for origin, _ in read_run(tmp_path).wishes.layers] == ["trainer", "command"]


def test_a_policy_that_is_tried_follows_the_runs_monitor(runs: Any) -> None:
    directory = runs.run("exp1", monitor="acc", mode="max")
    for step, accuracy in ((10, 0.9), (20, 0.5), (30, 0.4)):
        runs.checkpoint(directory, step=step, loss=1.0, metrics={"acc": accuracy})
    view = read_run(directory)
    tried = try_policy(view, "keep_last=1", time.time())
    assert [kept["step"] for kept in tried["kept"]] == [10, 30]
    assert tried["policy"]["monitor"] == "acc" and tried["text"] == "keep_last=1"
    assert len(try_policy(view, None, time.time())["kept"]) == 3
    assert tried["history"] == {"saves": 3, "removed": 0, "forgotten": 0, "unusable": 0}


def test_a_policy_that_is_tried_knows_a_guess_from_what_somebody_said(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        model = {"layer.weight": torch.ones(2), "layer.bias": torch.ones(1)}
        state = {"model": model, "epoch": epoch, "global_step": epoch * 10, "val_loss": float(epoch)}
        torch.save(state, tmp_path / f"e_{epoch}.pt")
    view = read_run(tmp_path)
    for text, asks in (
        ("keep_last=1 max_share=1 min_age=0", True),
        ("keep_last=1 max_share=1 monitor=val_loss", False),
    ):
        tried = try_policy(view, text, time.time() + 9999)
        assert [kept["step"] for kept in tried["kept"]] == [10, 30] and (tried["asked"] > 0) == asks


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
