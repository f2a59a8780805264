"""Evaluation results that come after the save: what they may be, how they are kept, and what they move."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ckpt import CheckpointConfig, CheckpointManager, Run, TrainingState, late_metrics, marks
from ckpt.exceptions import UsageError
from ckpt.marks import Late
from ckpt.protocol import checkpoint_from_json, checkpoint_to_json


def test_what_people_write() -> None:
    assert late_metrics.parse(["val_loss=0.25", "eval/bleu=31", "x=-inf"]) == {
        "val_loss": 0.25,
        "eval/bleu": 31.0,
        "x": -math.inf,
    }
    assert math.isnan(late_metrics.parse(["acc=NaN"])["acc"])


@pytest.mark.parametrize(
    "word", ["acc", "acc=", "acc=high", "=0.5", "acc=1e999", "a b\n=1", "step=5", " acc=1", f"{'x' * 201}=1"]
)
def test_what_is_no_metric(word: str) -> None:
    with pytest.raises(UsageError) as caught:
        late_metrics.parse([word])
    assert caught.value.hint


def test_a_name_twice_is_a_slip() -> None:
    with pytest.raises(UsageError, match="twice"):
        late_metrics.parse(["acc=1", "acc=2"])


@pytest.mark.parametrize(
    "metrics", [None, {}, {"acc": True}, {"acc": "0.5"}, {"acc": None}, {"acc": 10**400}, {3: 1.0}]
)
def test_metrics_that_cannot_be(metrics: Any) -> None:
    with pytest.raises(UsageError):
        late_metrics.check_metrics(metrics)


def test_numbers_of_other_libraries_are_numbers() -> None:
    given = late_metrics.check_metrics({"acc": np.float32(0.5), "n": np.int64(3), "worst": "-Infinity"})
    assert given == {"acc": 0.5, "n": 3.0, "worst": -math.inf}
    assert {type(value) for value in given.values()} == {float}


@pytest.mark.parametrize("step", [-1, 1.5, True, "7", math.inf, 1 << 63])
def test_steps_that_cannot_be(step: Any) -> None:
    with pytest.raises(UsageError):
        late_metrics.check_step(step)


def test_a_line_of_several_metrics_and_what_takes_it_back() -> None:
    lines: list[dict[str, Any]] = [
        {"kind": "metric", "checkpoint": "c", "metrics": {"acc": 0.5, "wer": "NaN"}, "step": 40},
        {"kind": "metric", "checkpoint": "c", "name": "acc", "value": 0.6},
        {"kind": "metric", "checkpoint": "c", "metrics": {"bleu": "lots", "f1": 0.9}, "step": "late"},
    ]
    known = marks.fold(lines).metrics["c"]
    assert known["acc"] == Late(0.6) and known["wer"].step == 40 and math.isnan(known["wer"].value)
    assert known["f1"] == Late(0.9) and "bleu" not in known
    back = {
        "kind": "unmetric",
        "checkpoint": "c",
        "names": ["acc", "wer"],
        "metrics": {"acc": 0.5},
        "steps": {"acc": 40},
    }
    assert marks.fold([*lines, back]).metrics["c"] == {"acc": Late(0.5, 40), "f1": Late(0.9)}
    gone = {"kind": "unmetric", "checkpoint": "c", "names": ["acc", "wer", "f1"]}
    assert "c" not in marks.fold([*lines, gone]).metrics


def test_the_policy_of_a_run_is_what_was_said_last() -> None:
    lines = [
        {"kind": "policy", "policy": {"keep_last": 5}},
        {"kind": "policy", "policy": {"keep_best": 2}, "checkpoint": "c"},
        {"kind": "policy", "policy": "none"},
    ]
    folded = marks.fold(lines)
    assert folded.policy == {"keep_best": 2} and folded.mentioned == set()
    assert marks.fold([*lines, {"kind": "policy", "policy": {}}]).policy == {}


def test_ranks_and_verdicts_follow_a_late_value(runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=4, policy={"keep_last": 1, "keep_best": 1})
    run = Run.open(directory)
    assert run.checkpoint("best").step == 40
    marked = run.add_metrics("step:10", {"loss": 0.01, "bleu": math.inf}, step=15)
    assert marked.metrics["loss"] == 0.01 and marked.loss == 0.9
    assert marked.measured == {"loss": 15, "bleu": 15}
    view = run.view()
    assert run.checkpoint("best").step == 10
    assert {c.step for c in view.checkpoints if view.verdict(c.id).action == "keep"} == {10, 40}  # type: ignore[union-attr]
    back = run.remove_metrics("step:10", "loss")
    assert back.value("loss") == 0.9 and back.measured == {"bleu": 15}
    assert run.checkpoint("best").step == 40
    with pytest.raises(UsageError, match="was not attached"):
        run.remove_metrics("step:10", "loss")


def test_one_call_is_one_line_and_the_default_step_the_checkpoints_own(runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    Run.open(directory).add_metrics("latest", {"acc": 0.5, "wer": math.nan})
    line = json.loads((directory / "marks.jsonl").read_text())
    assert (line["kind"], line["metrics"], line["step"]) == ("metric", {"acc": 0.5, "wer": "NaN"}, 10)


def test_what_is_measured_crosses_the_socket(runs: Any) -> None:
    directory: Path = runs.run("exp1", checkpoints=1)
    marked = Run.open(directory).add_metrics("latest", {"acc": 0.5}, step=12)
    shown = checkpoint_to_json(marked)
    assert shown["measured"] == {"acc": 12}
    assert checkpoint_from_json(shown).measured == {"acc": 12}


def trained(step: int, loss: float) -> TrainingState:
    return TrainingState(epoch=step, global_step=step, learning_rate=0.1, loss=loss)


def test_a_running_training_hears_of_it_at_its_next_save(tmp_path: Path) -> None:
    weights = {"w": torch.ones(2)}
    with Run.create("exp", tmp_path) as run:
        config = CheckpointConfig(keep_last_n_checkpoints=1, keep_best_n_checkpoints=1, missing_metric="ignore")
        manager = CheckpointManager(run, config)
        for step, loss in ((1, 0.1), (2, 0.5)):
            manager.save_checkpoint(weights, trained(step, loss))
        assert os.path.realpath(run.paths.best) == run.checkpoint("step:1").path
        # Another process says it, while this one trains.
        Run.open(run.paths.directory).add_metrics("step:2", {"loss": 0.01})
        manager.save_checkpoint(weights, trained(3, 0.9))
        assert [c.step for c in manager.list_checkpoints()] == [3, 2]
        assert os.path.realpath(run.paths.best) == run.checkpoint("step:2").path
