"""The examples as a person runs them: processes of their own, real signals.

One start of each is that of a fresh interpreter. The others are forked from one that has imported torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.runs import Run
from ckpt.state import values
from fork_server import Forked, ForkServer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class Examples:
    """Runs examples in a directory of the test."""

    def __init__(self, server: ForkServer, cwd: Path) -> None:
        self._server = server
        self._cwd = cwd

    def start(self, name: str, *argv: str) -> Forked:
        return self._server.start(EXAMPLES / name, *argv, cwd=self._cwd, strict=True)

    def run(self, name: str, *argv: str, code: int = 0) -> str:
        """What it printed."""
        process = self.start(name, *argv)
        assert process.wait(120) == code, process.stderr
        return process.stdout

    def kill_when_there_is(self, found: str, name: str, *argv: str) -> None:
        """Kills it as soon as it wrote a file whose name is like that."""
        training = self.start(name, *argv)
        deadline = time.monotonic() + 90
        while not list(self._cwd.glob(found)):
            assert time.monotonic() < deadline
            assert training.is_alive()
            time.sleep(0.005)
        training.kill()


@pytest.fixture
def examples(fork_server: ForkServer, tmp_path: Path) -> Examples:
    return Examples(fork_server, tmp_path)


def fresh(cwd: Path, name: str, *argv: str) -> None:
    """Runs an example in an interpreter of its own."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *argv]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def manifest(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "run.json").read_text())
    return found


def weights(directory: Path, ref: str = "latest") -> dict[str, torch.Tensor]:
    path = Run.open(directory).checkpoint(ref).path
    return dict(torch.load(path, weights_only=True)["model_state_dict"])


def epochs(printed: str) -> list[str]:
    """What a training says of its epochs."""
    return [line for line in printed.splitlines() if line.startswith("epoch ")]


def test_the_plain_loop_trains_and_goes_on_in_the_midst_of_an_epoch_with_the_same_bits(
    examples: Examples, tmp_path: Path
) -> None:
    done = examples.run("plain_loop.py", "--epochs", "12", "--runs", "out", "--name", "whole")
    assert done.splitlines()[0].startswith("epoch 0: val_loss ")
    argv = ("--epochs", "12", "--runs", "out", "--name", "parts")
    examples.kill_when_there_is("out/parts/checkpoints/step-0000[4-9]0.json", "plain_loop.py", *argv)
    assert manifest(tmp_path / "out" / "parts")["ending"] is None
    again = epochs(examples.run("plain_loop.py", *argv))
    assert 0 < len(again) <= 12
    assert again == epochs(done)[-len(again) :]
    assert values.same(weights(tmp_path / "out" / "parts"), weights(tmp_path / "out" / "whole"))
    kept = Run.open(tmp_path / "out" / "parts").checkpoints()
    assert {c.epoch for c in kept} >= {11, 10}
    assert kept[0].metrics["accuracy"] > 0.85


def test_the_plain_loop_takes_another_rate_and_names_its_runs(tmp_path: Path) -> None:
    fresh(tmp_path, "plain_loop.py", "--epochs", "1", "--lr", "0.01")
    assert manifest(tmp_path / "runs" / "exp1")["config"]["lr"] == 0.01
    assert manifest(tmp_path / "runs" / "exp1")["ending"] == "finished"


def test_a_training_that_is_killed_and_resumed_ends_with_the_same_bits(examples: Examples, tmp_path: Path) -> None:
    argv = ("--base-dir", "r", "--epochs", "4", "--lr", "0.05", "--save-steps", "5")
    examples.run("train.py", *argv, "--name", "whole")
    slow = (*argv, "--name", "parts", "--slow", "0.02")
    examples.kill_when_there_is("r/parts/checkpoints/step-000035.json", "train.py", *slow)
    assert manifest(tmp_path / "r" / "parts")["ending"] is None
    done = examples.run("train.py", "--resume", "parts", *argv)
    assert "resumed at epoch 1, step " in done
    assert values.same(weights(tmp_path / "r" / "parts"), weights(tmp_path / "r" / "whole"))
    assert len(manifest(tmp_path / "r" / "parts")["attempts"]) == 2


def test_a_fork_starts_at_epoch_0_with_lineage_and_stops_early(examples: Examples, tmp_path: Path) -> None:
    examples.run("train.py", "--base-dir", "r", "--epochs", "3")
    parent = Run.open(tmp_path / "r" / "exp1")
    best = parent.checkpoint("best")
    stopping = ("--patience", "1", "--epochs", "40")
    done = examples.run("train.py", "--base-dir", "r", "--fork", "exp1@best", "--lr", "0.3", *stopping)
    assert done.startswith("forked at epoch 0, step 0\n")
    assert "stopped early" in done
    told = manifest(tmp_path / "r" / "exp2")
    assert told["parent"] == {"run": parent.id, "checkpoint": best.id, "path": best.path}
    assert told["config"]["lr"] == 0.3
    start = weights(tmp_path / "r" / "exp2", "fork-" + os.path.basename(best.path))
    assert values.same(start, weights(tmp_path / "r" / "exp1", "best"))
    examples.run("train.py", "--base-dir", "r", "--fork", "exp1@epoch:1", "--epochs", "1", "--name", "third")
    assert Run.open(tmp_path / "r" / "third").checkpoints()[-1].epoch == 1


@pytest.mark.parametrize(
    ("argv", "code", "told"),
    [
        (("--resume", "exp1", "--fork", "exp1"), 2, "not allowed with argument"),
        (("--resume", "exp7"), 1, "no run 'exp7'"),
    ],
)
def test_wrong_usage_is_told(examples: Examples, argv: tuple[str, ...], code: int, told: str) -> None:
    process = examples.start("train.py", *argv)
    assert process.wait(120) == code
    assert told in process.stderr


def test_the_same_seed_gives_the_same_training(examples: Examples, tmp_path: Path) -> None:
    argv = ("--base-dir", "r", "--epochs", "2", "--name")
    fresh(tmp_path, "train.py", *argv, "a")
    examples.run("train.py", *argv, "b")
    assert values.same(weights(tmp_path / "r" / "a"), weights(tmp_path / "r" / "b"))
