"""`ckpt metric`: by a path without a daemon, and by name through a real one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest


def test_a_late_metric_without_a_daemon(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=3)
    told = ckpt("metric", "set", f"{directory}@step:10", "loss=0.01", "bleu=nan", "--step", "12")
    assert told.code == 0 and "has loss 0.0100, bleu NaN, measured at step 12, not at 10" in told.out
    assert "it is the best now" in told.out
    line = json.loads((directory / "marks.jsonl").read_text())
    assert (line["kind"], line["metrics"], line["step"]) == ("metric", {"loss": 0.01, "bleu": "NaN"}, 12)
    assert ckpt("show", f"{directory}@best", "--json").json["checkpoint"]["measured"] == {"loss": 12, "bleu": 12}
    assert ckpt("ls", directory, "--filter", "loss<0.1", "--json").json["checkpoints"][0]["step"] == 10
    assert ckpt("metric", "rm", f"{directory}@step:10", "loss").code == 0
    assert ckpt("show", f"{directory}@best", "--json").json["checkpoint"]["step"] == 30


def test_its_own_step_is_the_default_and_not_told(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    answer = ckpt("metric", "set", f"{directory}@latest", "acc=0.5")
    assert "measured at" not in answer.out
    assert ckpt("show", f"{directory}@latest", "--json").json["checkpoint"]["measured"] == {"acc": 10}


@pytest.mark.parametrize(
    "words",
    [("acc",), ("acc=high",), ("acc=1", "acc=2"), ("acc=1e999",), ("step=3",), ("acc=1", "--step", "-1"), ()],
)
def test_what_cannot_be_attached(runs: Any, ckpt: Any, words: tuple[str, ...]) -> None:
    directory = runs.run("exp1", checkpoints=1)
    answer = ckpt("metric", "set", f"{directory}@latest", *words, "--json")
    assert answer.code == 2 and answer.raw == b""
    assert not (directory / "marks.jsonl").exists()


def test_taking_away_what_was_never_attached(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    ckpt("metric", "set", directory, "bleu=31")
    answer = ckpt("metric", "rm", directory, "blue")
    assert answer.code == 2 and "attached: bleu" in answer.err


def test_late_metrics_through_the_daemon(runs: Any, ckpt: Any, daemon: Any, eventually: Any) -> None:
    directory: Path = runs.run("exp1", checkpoints=3)
    pointer = directory / "checkpoints/best.pt"
    pointer.symlink_to("step-000030.pt")
    eventually(lambda: ckpt("ls", "exp1", "--json").code == 0)
    eventually(lambda: ckpt("ls", "exp1", "--json").json["run"]["checkpoints"] == 3)
    answer = ckpt("metric", "set", "exp1@step:10", "loss=0.01", "wer=inf", "--json")
    assert answer.code == 0 and "best" in answer.json["checkpoint"]["tags"]
    assert answer.json["checkpoint"]["nonfinite"] == ["wer"]
    eventually(lambda: os.path.realpath(pointer) == str(directory / "checkpoints/step-000010.pt"))
    assert ckpt("show", "exp1@best", "--json").json["checkpoint"]["step"] == 10
    # By its path the daemon hears of it too.
    ckpt("metric", "set", f"{directory}@step:20", "loss=0.001")
    assert ckpt("show", "exp1@best", "--json").json["checkpoint"]["step"] == 20
    assert "metric loss on exp1/step-000020.pt" in ckpt("undo", "--yes").out
    assert ckpt("show", "exp1@best", "--json").json["checkpoint"]["step"] == 10
    assert ckpt("metric", "rm", "exp1@step:10", "loss", "wer").code == 0
    assert ckpt("show", "exp1@best", "--json").json["checkpoint"]["step"] == 30


def test_help_shows_how(ckpt: Any) -> None:
    for command in ("set", "rm"):
        answer = ckpt("metric", command, "--help")
        assert answer.code == 0 and f"ckpt metric {command} exp3@step:4000" in answer.out


def test_show_says_which_metrics_came_later(runs: Any, ckpt: Any) -> None:
    directory = runs.run("exp1")
    runs.checkpoint(directory, step=10, metrics={"acc": 0.5})
    ckpt("metric", "set", directory, "bleu=31.5", "--step", "12")
    shown = ckpt("show", f"{directory}@latest").out
    assert "bleu  31.5 (measured at step 12)" in shown and "acc  0.5\n" in shown
