"""What a training's own process writes down, and what it costs where nothing is recorded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ckpt import CheckpointConfig, ResumableLoader, TrainingHook
from ckpt.runs.redirecting import VARIABLE
from ckpt.selftest import recording
from ckpt.selftest.plan import Plan, write_plan
from ckpt.selftest.recording_file import Recording, read
from fork_server import ForkServer


def here() -> Any:
    return recording.recorder()


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """This process is recorded; gives a function that reads what was written."""
    recording.recorder.cache_clear()
    path = tmp_path / "private" / "recording.jsonl"
    path.parent.mkdir()
    write_plan(path.parent / "plan.json", Plan(recording=str(path), save_at=2))
    monkeypatch.setenv(VARIABLE, str(path.parent / "plan.json"))
    monkeypatch.chdir(tmp_path)
    # DataLoader is changed for the life of a process, which is not to be this one.
    monkeypatch.setattr("ckpt.selftest.dataloaders.listen", lambda tell: None)
    yield lambda: read(path)
    if here()._fd is not None:
        os.close(here()._fd)
    recording.recorder.cache_clear()


def test_every_step_is_written_once_with_all_that_a_checkpoint_holds(recorded: Any) -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.5)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with TrainingHook(model, "run", CheckpointConfig(), optimizer, scheduler) as hook:
        hook.register("generator", torch.Generator())
        for batch in (torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1, 2)):
            here().batch(batch)
            optimizer.zero_grad()
            loss = model(batch).sum()
            loss.backward()
            optimizer.step()
            scheduler.step()
            hook.step(loss)
        hook.epoch_end()
    found: Recording = recorded()
    assert list(found.steps) == [1, 2, 3] and found.of("saved") == [2]
    assert [len(step.batches) for step in found.steps.values()] == [1, 1, 1]
    last = found.steps[3]
    assert sorted(last.parts) == ["loss", "metrics", "optimizer", "random", "registered", "scheduler", "weights"]
    assert set(last.parts["random"]) == {"python", "numpy", "torch"}
    assert list(last.parts["weights"]) == ["weight", "bias"] and list(last.parts["registered"]) == ["generator"]
    assert last.parts["loss"] == {"loss": repr(float(loss.detach()))}
    assert "state.weight.exp_avg" in last.parts["optimizer"]
    assert last.parts["optimizer"]["param_groups.0.lr"] == repr(scheduler.get_last_lr()[0])
    assert found.steps[2].batches == last.batches != found.steps[1].batches


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_and_a_second_training_are_not_recorded(recorded: Any) -> None:
    hooks = [TrainingHook(nn.Linear(1, 1), name, CheckpointConfig()) for name in ("first", "second")]
    hooks[0].step(1.0)
    hooks[1].step(2.0)
    hooks[1].step(2.0)
    child = os.fork()
    if child == 0:
        here().batch(torch.zeros(1))
        here().step(object(), 9, 0, dict)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    for hook in hooks:
        hook.close()
    assert list(recorded().steps) == [1] and recorded().steps[1].parts["loss"] == {"loss": "1.0"}
    assert recorded().has("another")


def test_the_end_of_an_epoch_is_written_with_its_metrics(recorded: Any) -> None:
    with TrainingHook(nn.Linear(1, 1), "run", CheckpointConfig()) as hook:
        hook.step(1.0, speed=2.0)
        hook.epoch_end(val_loss=0.5)
        hook.step(3.0)
    found: Recording = recorded()
    assert [step.parts["metrics"] for step in found.at(1)] == [{"speed": "2.0"}, {"val_loss": "0.5"}]
    assert [len(found.at(step)) for step in found.steps] == [2, 1]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_reads_batches_first_does_not_take_the_recording(recorded: Any) -> None:
    child = os.fork()
    if child == 0:
        recording.recorder.cache_clear()
        here().batch(torch.zeros(1))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    with TrainingHook(nn.Linear(1, 1), "run", CheckpointConfig()) as hook:
        hook.step(1.0)
    assert list(recorded().steps) == [1] and recorded().has("began")


def test_saves_and_restores_tell_whether_loaders_had_positions(recorded: Any) -> None:
    plain = torch.utils.data.DataLoader([1.0, 2.0])
    for loaders in (ResumableLoader([1.0, 2.0]), None):
        with TrainingHook(nn.Linear(1, 1), f"run-{loaders is None}", CheckpointConfig(), loaders=loaders) as hook:
            hook.resume()
            hook.step(1.0)
            hook.save()
        with TrainingHook(nn.Linear(1, 1), hook.run.directory, CheckpointConfig(), loaders=loaders) as hook:
            hook.resume()
    mixed = {"a": plain, "b": ResumableLoader([1.0])}
    with TrainingHook(nn.Linear(1, 1), "mixed", CheckpointConfig(), loaders=mixed) as hook:
        hook.step(1.0)
        hook.save()
    told = [(event.what, event.positions) for event in recorded().events if event.what in ("saved", "read")]
    assert told == [("saved", True), ("read", True), ("saved", False), ("read", False), ("saved", False)]


def test_what_was_loaded_and_is_saved_again_is_no_step(recorded: Any) -> None:
    with TrainingHook(nn.Linear(1, 1), "run", CheckpointConfig()) as hook:
        here().read(5)
        hook.global_step = 5
        hook.save()
        hook.step(1.0)
    assert list(recorded().steps) == [6]


def test_ranks_that_write_nothing_are_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording.recorder.cache_clear()
    write_plan(tmp_path / "plan.json", Plan(recording=str(tmp_path / "recording.jsonl")))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "plan.json"))
    monkeypatch.setenv("RANK", "1")
    assert recording.recorder() is None and not (tmp_path / "recording.jsonl").exists()
    recording.recorder.cache_clear()


RANKS = """
import datetime, os, sys
import torch
import torch.distributed as dist
from ckpt import CheckpointConfig, TrainingHook
torch.set_num_threads(1)
dist.init_process_group(
    "gloo",
    init_method=f"file://{sys.argv[1]}",
    rank=int(os.environ["RANK"]),
    world_size=2,
    timeout=datetime.timedelta(seconds=60),
)
with TrainingHook(torch.nn.Linear(1, 1), "run", CheckpointConfig(gather_random_states=True)) as hook:
    for _ in range(3):
        hook.step(1.0)
        dist.all_reduce(torch.ones(1))
dist.barrier()
dist.destroy_process_group()
"""


def test_a_save_that_the_self_test_wants_is_made_by_all_ranks_together(fork_server: ForkServer, tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.json", Plan(recording=str(tmp_path / "recording.jsonl"), save_at=2))
    ranks = [
        fork_server.start(
            RANKS,
            str(tmp_path / "store"),
            cwd=tmp_path,
            env={**os.environ, VARIABLE: str(tmp_path / "plan.json"), "RANK": str(rank), "WORLD_SIZE": "2"},
        )
        for rank in (0, 1)
    ]
    assert [rank.wait(150) for rank in ranks] == [0, 0], [rank.stderr for rank in ranks]
    found = read(tmp_path / "recording.jsonl")
    assert found.of("saved") == [2] and list(found.steps) == [1, 2, 3]
