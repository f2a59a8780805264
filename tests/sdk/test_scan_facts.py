"""What the checkpoints of a foreign run say of it as a whole."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ckpt import refs, retention, scan
from ckpt.records import Checkpoint
from ckpt.scan.facts import likely_monitor


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


def test_data_that_lies_somewhere_is_no_training(tmp_path: Path) -> None:
    torch.save({"inputs": torch.zeros(4), "labels": torch.zeros(4)}, tmp_path / "train.pt")
    assert scan.read_run(tmp_path).run.status == "idle"
    saved(tmp_path / "step_5.pt", 1, global_step=5)
    assert scan.read_run(tmp_path).run.status == "training"


def test_the_configuration_is_the_trainings_and_not_the_exported_models(tmp_path: Path) -> None:
    saved(tmp_path / "step_10.pt", 300, global_step=10, optimizer={"param_groups": [{"lr": 0.1}]}, config={"lr": 0.1})
    saved(tmp_path / "final.pt", 100, config={"hidden_size": 64})
    assert scan.read_run(tmp_path).run.config == {"lr": 0.1}


def test_a_checkpoint_is_found_by_its_name(tmp_path: Path) -> None:
    best = saved(tmp_path / "best_of_all.pt", 300, global_step=10)
    saved(tmp_path / "step_20.pt", 200, global_step=20)
    view = scan.read_run(tmp_path)
    for name in ("best_of_all.pt", "best_of_all"):
        assert refs.select(name, view.checkpoints, view.run).path == str(best)


def test_a_pinned_checkpoint_that_its_trainer_removed_is_told(tmp_path: Path) -> None:
    from ckpt import marks

    run = tmp_path / "run"
    run.mkdir()
    saved(run / "step_10.pt", 300, global_step=10)
    saved(run / "step_20.pt", 200, global_step=20)
    said = tmp_path / "marks"
    said.mkdir()
    view = scan.read_run(run, foreign_marks=said)
    (pinned,) = [c for c in view.checkpoints if c.step == 10]
    marks.append(said / f"{view.run.id}.jsonl", "pin", pinned.id, file="step_10.pt")
    (run / "step_10.pt").unlink()
    after = scan.read_run(run, foreign_marks=said)
    assert after.run.problems == ("step_10.pt was removed: the content that was marked (pinned) is gone",)


def test_data_whose_name_has_a_number_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    rows = {"inputs": torch.zeros(8, 4), "labels": torch.zeros(8)}
    for number in range(2):
        torch.save(rows, tmp_path / f"epoch_{number}.pt")
        torch.save({"z": torch.zeros(8, 4), "epoch": number}, tmp_path / f"latents_{number}.pt")
        torch.save({"model": {"w": torch.zeros(4)}, "epoch": number}, tmp_path / f"state_{number}.pt")
        optimizer = {"state": {0: {"m": torch.zeros(4)}}, "param_groups": []}
        torch.save({"model": {"w": torch.zeros(4)}, "optimizer": optimizer}, tmp_path / f"whole_epoch_{number}.pt")
    labels = {os.path.basename(c.path)[:-5]: c.label for c in scan.read_run(tmp_path).checkpoints}
    assert labels == {"epoch": "export", "latents": "export", "state": None, "whole_epoch": None}


LAYERS = {"encoder.weight": torch.zeros(4), "encoder.bias": torch.zeros(1)}


@pytest.mark.parametrize(
    ("content", "is_training"),
    [
        ({"weight": torch.zeros(8, 4)}, False),
        ({"weights": torch.zeros(8, 4), "inputs": torch.zeros(8), "epoch": 0}, False),
        ({"model": "bert", "weights": torch.zeros(8, 4)}, False),
        ({"weights": [[torch.zeros(4), torch.zeros(4)]]}, False),
        ({"model": {"w": torch.zeros(4)}}, False),
        ({"model": {"encoder.weight": torch.zeros(4)}}, False),
        ({"model": LAYERS}, True),
        ({"net": LAYERS}, True),
        ({"model_state_dict": {**LAYERS, "scale": torch.ones(1)}}, True),
        ({"module": torch.nn.Sequential(torch.nn.Linear(2, 2))}, True),
        ({"model": {"w": torch.zeros(4)}, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}, True),
    ],
)
def test_a_step_beside_tensors_makes_no_training(tmp_path: Path, content: dict[str, Any], is_training: bool) -> None:
    """Embeddings and shards of data that a job writes step by step are called weights too."""
    for number in (1, 2, 3):
        torch.save({**content, "step": number}, tmp_path / f"embeddings_step_{number}.pt")
    assert _removable(tmp_path) == ([1, 2] if is_training else [])


@pytest.mark.parametrize(("name", "is_training"), [("weights", False), ("encoder.weight", True)])
def test_a_step_in_the_header_of_safetensors_makes_no_training(tmp_path: Path, name: str, is_training: bool) -> None:
    for number in (1, 2, 3):
        tensors = {name: torch.zeros(8, 4), "inputs": torch.zeros(8)}
        save_file(tensors, tmp_path / f"shard-{number:04}.safetensors", metadata={"step": f"{number}"})
    assert _removable(tmp_path) == ([1, 2] if is_training else [])


def _removable(directory: Path) -> list[int]:
    """The steps of what an enforced policy removes but for its newest."""
    view = scan.read_run(directory)
    asked = retention.merge([*view.wishes.layers, ("root", {"keep_last": 1, "monitor": "none", "max_share": 1})])
    situation = view.situation.evolve(enforced=True, guessed=False)
    made = scan.governed(view, asked, situation, time.time() + 9999).plan
    return sorted(d.checkpoint.step or 0 for d in made.remove)


# What is compared by


def test_a_guess_of_the_monitor_is_told_from_the_trainers_own_word(tmp_path: Path) -> None:
    for step, loss in ((10, 0.1), (20, 0.3), (30, 0.2)):
        path = tmp_path / f"step_{step}.pt"
        saved(path, 9000 - step, global_step=step, loss=1.0, val_loss=loss, optimizer={"param_groups": [{"lr": 0.1}]})
    view = scan.read_run(tmp_path)
    assert (view.run.monitor, view.run.mode, view.origins["monitor"]) == ("val_loss", "min", "guess")
    assert view.situation.guessed and view.wishes.own == {}
    assert refs.select("best", view.checkpoints, view.run).step == 10, "it serves to show what is best"
    later = time.time() + 7200
    asked = retention.merge([*view.wishes.layers, ("root", {"keep_last": 1, "max_share": 1})])
    made = scan.governed(view, asked, view.situation.evolve(enforced=True), later).plan
    assert [d.checkpoint.step for d in made.keep] == [30, 10] and made.ask is not None and "is a guess" in made.ask
    named = retention.merge([*view.wishes.layers, ("root", {"keep_last": 1, "monitor": "val_loss", "max_share": 1})])
    situation = view.situation.evolve(enforced=True, guessed=named.guessed)
    assert scan.governed(view, named, situation, later).plan.ask is None


@pytest.mark.parametrize(
    ("metrics", "loss", "guess"),
    [
        ({"eval_loss": 1.0, "loss": 2.0}, None, "eval_loss"),
        ({"valid_loss": 1.0, "val_loss": 1.0}, 0.5, "val_loss"),
        ({"accuracy": 1.0}, 0.5, "loss"),
        ({"accuracy": 1.0}, None, None),
    ],
)
def test_what_a_run_is_likely_compared_by(metrics: dict[str, float], loss: float | None, guess: str | None) -> None:
    checkpoint = Checkpoint(id="1", run="r", path="/r/1.pt", metrics=metrics, loss=loss)
    assert likely_monitor([checkpoint]) == ({} if guess is None else {"monitor": guess, "mode": "min"})


# Weights alone


def test_a_training_that_saves_no_more_than_its_weights_is_one(produced: Any, tmp_path: Path) -> None:
    directory = tmp_path / "exp"
    shutil.copytree(produced("transformers") / "lean", directory)
    view = scan.read_run(directory)
    assert [(c.step, c.framework, c.state, c.label) for c in view.checkpoints] == [
        (step, "transformers", "complete", None) for step in (6, 4, 2)
    ]
    assert all(c.kinds.get("weights") and not c.kinds.get("optimizer") for c in view.checkpoints)
    asked = retention.merge([*view.wishes.layers, ("root", {"keep_last": 1, "monitor": "none", "max_share": 1})])
    situation = view.situation.evolve(enforced=True, guessed=False)
    made = scan.governed(view, asked, situation, time.time() + 7200).plan
    assert [d.checkpoint.step for d in made.remove] == [4, 2] and made.skip == () and made.ask is None
