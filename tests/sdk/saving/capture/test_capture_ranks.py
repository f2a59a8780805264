"""Two real processes: each has its own random states back."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import ckpt
from ckpt.saving.restore.loading import read_file

SCRIPT = """
import json, os, random, sys
import numpy as np
import torch, torch.distributed as dist
import ckpt
torch.set_num_threads(1)
path, gather = sys.argv[1], sys.argv[2] == "yes"
dist.init_process_group("gloo")
rank = dist.get_rank()
for seed in (random.seed, np.random.seed, torch.manual_seed):
    seed(100 + rank)
model = torch.nn.Linear(2, 1)
draw = lambda: [random.random(), float(np.random.rand()), float(torch.rand(()))]
ckpt.save_checkpoint(path, {"model": model, "epoch": 1}, gather_random_states=gather)
expected = draw()
dist.barrier()
for seed in (random.seed, np.random.seed, torch.manual_seed):
    seed(7)
report = ckpt.load_checkpoint(path, {"model": model, "epoch": 0})
print(json.dumps([rank, expected == draw(), report.random, list(report.notes)]), flush=True)
dist.barrier()
dist.destroy_process_group()
"""


MANAGED = """
import datetime, json, sys
import torch, torch.distributed as dist
from ckpt import CheckpointConfig, CheckpointManager, TrainingState
torch.set_num_threads(1)
path = sys.argv[1]
dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=30))
rank = dist.get_rank()
config = CheckpointConfig(
    save_on_best_metric="loss", save_every_n_minutes=0.0001, save_every_n_epochs=2, gather_random_states=True
)
if rank:
    dist.barrier()
manager = CheckpointManager(path, config)
if not rank:
    manager.run.begin()
    dist.barrier()
weights = {"a": torch.zeros(10)}
told = []
# The ranks' losses disagree on what is best, and only rank 0 knows of saves that fail.
for step, loss in enumerate([[1.0, 0.5, 0.7, 0.4], [1.0, 1.2, 0.1, 2.0]][rank], 1):
    state = TrainingState(epoch=step // 2, global_step=step, loss=loss, learning_rate=0.1)
    due = manager.should_save_checkpoint(state)
    told.append(due)
    if due or step % 2:
        manager.save_checkpoint(weights, state)
    together = torch.ones(1)
    dist.all_reduce(together)
    assert together.item() == 2
if not rank:
    found = manager.list_checkpoints()
    told.append(len(found))
    manager.run.close()
print(json.dumps([rank, told]), flush=True)
dist.barrier()
dist.destroy_process_group()
"""


def train(path: Path, gather: bool, script: str = SCRIPT) -> list[list[Any]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": "lo"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path), "yes" if gather else "no"],
            env={**os.environ, **place, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    told = []
    try:
        for process in started:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err[-3000:]
            told.append(json.loads(out.strip().splitlines()[-1]))
    finally:
        for process in started:
            process.kill()
            process.wait()
    return sorted(told)


def test_gathered_states_go_back_each_to_its_own_rank(tmp_path: Path) -> None:
    told = train(tmp_path / "a.pt", gather=True)
    assert told == [[0, True, True, []], [1, True, True, []]]
    content = read_file(tmp_path / "a.pt")
    assert content.world_size == 2
    assert content.random_by_rank is not None
    assert len(content.random_by_rank) == 2
    assert content.report is not None
    assert "rng.ranks" in content.report.captured
    assert ckpt.formats.inspect(tmp_path / "a.pt").resume["rng"]["ranks"] == 2


def test_ranks_whose_losses_disagree_have_one_answer_and_save_together(tmp_path: Path) -> None:
    (_, (*first, saved)), (_, second) = train(tmp_path / "r", gather=True, script=MANAGED)
    assert first == second
    assert first.count(True) >= 2
    assert saved >= 3
    for found in (tmp_path / "r" / "checkpoints").glob("step-*.pt"):
        content = read_file(found)
        assert content.random_by_rank is not None
        assert len(content.random_by_rank) == 2


def test_without_gathering_the_others_are_told_of_and_do_not_draw_like_the_first(tmp_path: Path) -> None:
    told = train(tmp_path / "a.pt", gather=False)
    assert told[0] == [0, True, True, []]
    why = "the random states of rank 1 of 2 were not saved: there are those of rank 0"
    assert told[1] == [1, False, False, [why]]
    found = ckpt.formats.inspect(tmp_path / "a.pt").resume
    assert found["left_out"]["rng.ranks"] == "rank 1 was not asked: gather_random_states is off"
    assert (found["rng"]["ranks"], found["topology"]) == (1, {"world_size": 2})


def test_a_rank_that_did_not_train_then_takes_no_other_s_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ckpt.save_checkpoint(tmp_path / "a.pt", {"model": torch.nn.Linear(1, 1)})
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    model = torch.nn.Linear(1, 1)
    before = torch.get_rng_state()
    report = ckpt.load_checkpoint(path, {"model": model})
    assert "rank 3 of 4 were not saved" in report.notes[0]
    assert torch.equal(torch.get_rng_state(), before)
    assert not report.random
