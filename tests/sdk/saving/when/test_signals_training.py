"""A training that is told to end: what lies on disk then, and its exit status. Real trainings, real signals."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt import TrainingHook
from ckpt.runs import Run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sends signals and reads /proc")

TERM, INT, USR1 = signal.SIGTERM, signal.SIGINT, signal.SIGUSR1

TRAINING = """
import sys, time, torch
from ckpt import CheckpointConfig, TrainingHook
options = eval(sys.argv[2])
model = torch.nn.Sequential(torch.nn.Linear(4, int(sys.argv[3])), torch.nn.Linear(int(sys.argv[3]), 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
hook = TrainingHook(model, sys.argv[1], CheckpointConfig(**options), optimizer)
hook.resume()
x = torch.randn(8, 4)
with hook:
    for step in range(100000):
        loss = model(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        hook.step(loss)
        print("step", hook.global_step, flush=True)
        if sys.argv[4:] == [str(step)]:
            raise ValueError("broken")
        time.sleep(0.005)
"""


@pytest.fixture
def start(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    numbers = itertools.count()

    def started(options: str, *argv: object, width: int = 8) -> Any:
        output = tmp_path / f"output{next(numbers)}"
        return server.start(output, TRAINING, tmp_path / "run", options, width, *argv)

    return started


def markers(run: Path) -> list[dict[str, Any]]:
    """The commit markers of a run, oldest first."""
    made = [json.loads(path.read_text()) for path in (run / "checkpoints").glob("*.json")]
    return sorted(made, key=lambda marker: marker["seq"])


def goes_on_at(run: Path, width: int = 8) -> int:
    """The step at which a training that resumes goes on."""
    model = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.Linear(width, 1))
    with TrainingHook(model, run, optimizer=torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)) as hook:
        report = hook.resume()
        assert report is not None and report.fully_restored
        return hook.global_step


def ended(run: Path) -> str | None:
    with Run.open(run) as handle:
        return handle.manifest.get("ending")


@pytest.mark.parametrize("background", ["True", "False", "'process'"])
def test_sigterm_leaves_a_checkpoint_of_the_step_it_came_in(
    start: Callable[..., Any], tmp_path: Path, background: str
) -> None:
    process = start(f"dict(save_on_signals='SIGTERM', background={background})")
    process.until("step 3\n")
    process.send(TERM)
    assert process.wait() == -TERM, process.output
    (marker,) = markers(tmp_path / "run")
    assert (marker["label"], marker["due"], marker["cause"]) == ("signal", ["signal"], "SIGTERM")
    assert goes_on_at(tmp_path / "run") == marker["step"] >= 3


def test_usr1_saves_and_the_training_goes_on(start: Callable[..., Any], tmp_path: Path) -> None:
    process = start("dict(save_on_signals=['SIGUSR1', 'SIGTERM'])")
    process.until("step 3\n")
    process.send(USR1)
    deadline = time.monotonic() + 60
    while not markers(tmp_path / "run"):
        assert time.monotonic() < deadline, process.output
        time.sleep(0.01)
    process.until(f"step {markers(tmp_path / 'run')[0]['step'] + 5}\n")
    process.send(TERM)
    assert process.wait() == -TERM
    assert [marker["cause"] for marker in markers(tmp_path / "run")] == ["SIGUSR1", "SIGTERM"]


# An interrupt ends Python with 1 and not with the signal when any code is evaluated at exit, as libraries do.


def test_ctrl_c_saves_once_though_the_exception_would_too(start: Callable[..., Any], tmp_path: Path) -> None:
    process = start("dict(save_on_signals='SIGINT', save_on_exception=True)")
    process.until("step 3\n")
    process.send(INT)
    assert process.wait() in (-INT, 1) and process.output.rstrip().endswith("KeyboardInterrupt")
    assert [marker["cause"] for marker in markers(tmp_path / "run")] == ["SIGINT"]
    assert ended(tmp_path / "run") == "failed"


def test_an_exception_leaves_a_checkpoint_and_goes_on_its_way(start: Callable[..., Any], tmp_path: Path) -> None:
    process = start("dict(save_on_exception=True, save_every_n_steps=4)", 5)
    assert process.wait() == 1
    assert process.output.rstrip().endswith("ValueError: broken")
    assert [(m["step"], m["label"], m.get("cause")) for m in markers(tmp_path / "run")] == [
        (4, "step", None),
        (6, "exception", "ValueError"),
    ]
    assert goes_on_at(tmp_path / "run") == 6


def test_ctrl_c_is_an_exception_too(start: Callable[..., Any], tmp_path: Path) -> None:
    process = start("dict(save_on_exception=True)")
    process.until("step 3\n")
    process.send(INT)
    assert process.wait() in (-INT, 1) and process.output.rstrip().endswith("KeyboardInterrupt")
    assert [marker["cause"] for marker in markers(tmp_path / "run")] == ["KeyboardInterrupt"]


def test_a_step_that_is_saved_already_is_not_saved_again(start: Callable[..., Any], tmp_path: Path) -> None:
    assert start("dict(save_on_exception=True, save_every_n_steps=3)", 5).wait() == 1
    assert [marker["step"] for marker in markers(tmp_path / "run")] == [3, 6]


def test_without_the_option_an_exception_saves_nothing(start: Callable[..., Any], tmp_path: Path) -> None:
    assert start("dict()", 5).wait() == 1
    assert not markers(tmp_path / "run")


def test_a_save_that_fails_then_is_noted_at_the_exception(start: Callable[..., Any], tmp_path: Path) -> None:
    process = start("dict(save_on_exception=True)", 40)
    process.until("step 3\n")
    checkpoints = tmp_path / "run" / "checkpoints"
    checkpoints.rmdir()
    checkpoints.write_text("in the way")
    assert process.wait() == 1
    assert "ValueError: broken\nthe training could not be saved after it" in process.output


def test_a_save_in_flight_is_waited_for(start: Callable[..., Any], tmp_path: Path) -> None:
    process = start("dict(save_on_signals='SIGTERM', save_every_n_steps=1)", width=200_000)
    process.until("step 2\n")
    process.send(TERM)
    assert process.wait() == -TERM
    steps = [marker["step"] for marker in markers(tmp_path / "run")]
    assert steps == list(range(1, steps[-1] + 1))
    assert markers(tmp_path / "run")[-1]["cause"] == "SIGTERM"
    assert goes_on_at(tmp_path / "run", 200_000) == steps[-1]


def test_minutes_save_by_themselves(start: Callable[..., Any], tmp_path: Path) -> None:
    process = start("dict(save_every_n_minutes=0.002)", 400)
    deadline = time.monotonic() + 60
    while len(markers(tmp_path / "run")) < 3:
        assert time.monotonic() < deadline, process.output
        time.sleep(0.01)
    process.send(signal.SIGKILL)
    process.wait()
    assert {marker["label"] for marker in markers(tmp_path / "run")} == {"time"}


def test_a_script_given_on_the_command_line(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", TRAINING, str(tmp_path / "run"), "dict(save_on_signals=['SIGTERM'])", "8"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert any(line == "step 3\n" for line in process.stdout)
        process.terminate()
        process.stdout.read()
    assert process.returncode == -TERM
    assert [marker["cause"] for marker in markers(tmp_path / "run")] == ["SIGTERM"]
