"""Two real processes: each has its own random states back."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

import ckpt
from ckpt.saving.restore.loading import read_file
from fork_server import ForkServer

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


LOADING = """
import json, sys
import torch, torch.distributed as dist
import ckpt
torch.set_num_threads(1)
path, how = sys.argv[1], sys.argv[2]
dist.init_process_group("gloo")
rank = dist.get_rank()

class Shards:
    '''Each rank reads files of its own, and is further in them than the others.'''

    def __init__(self):
        self.place = None
    def __iter__(self):
        yield 0
    def state_dict(self):
        if how == "broken" and rank:
            raise RuntimeError("no state now")
        return {"place": self.place, "rank": rank}
    def load_state_dict(self, state):
        self.place = state["place"]

class Position(Shards):
    resumes_by = "position"

kind = Position if how == "position" else Shards
loaders = {"val_a": kind(), "train": kind()}
loaders["val_a"].place, loaders["train"].place = f"v{rank}", f"t{rank}"
model = torch.nn.Linear(2, 1)
try:
    ckpt.save_checkpoint(path, {"model": model, "loaders": loaders}, gather_random_states=how in ("yes", "broken"))
except RuntimeError:
    assert how == "broken" and rank
dist.barrier()
loaders = {"val_a": kind(), "train": kind()}
report = ckpt.load_checkpoint(path, {"model": model, "loaders": loaders})
places = [loaders["val_a"].place, loaders["train"].place]
caveats = [sum(words in told for told in report.caveats) for words in ("rank 0's position", "draw other random")]
print(json.dumps([rank, places, "loaders.ranks" in report.left_out, caveats]), flush=True)
dist.barrier()
dist.destroy_process_group()
"""


ACCUMULATING = """
import json, sys
import torch, torch.distributed as dist
from ckpt import CheckpointConfig, CheckpointManager, TrainingState
torch.set_num_threads(1)
dist.init_process_group("gloo")
rank = dist.get_rank()
config = CheckpointConfig(gather_random_states=True)

def made():
    torch.manual_seed(0)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    return model, optimizer

def micro(model, optimizer, i):
    draw = torch.Generator().manual_seed(10 * i + rank)
    model(torch.randn(3, 4, generator=draw)).pow(2).mean().backward()
    if (i + 1) % 4 == 0:
        optimizer.step()
        optimizer.zero_grad()

whole, optimizer = made()
for i in range(10):
    micro(whole, optimizer, i)
first, optimizer = made()
if rank:
    dist.barrier()
manager = CheckpointManager(sys.argv[1], config)
manager.watch_optimizers(optimizer)
if not rank:
    manager.run.begin()
    dist.barrier()
for i in range(6):
    micro(first, optimizer, i)
handle = manager.save_checkpoint(first, TrainingState(0, 6, 0.1, 0.5), optimizers=optimizer)
if not rank:
    handle.result()
    manager.run.close()
dist.barrier()
second, optimizer = made()
report = CheckpointManager(sys.argv[1], config).restore_from_checkpoint(second, optimizer)
for i in range(6, 10):
    micro(second, optimizer, i)
same = all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters()))
told = [caveat for caveat in report.caveats if "gradients" in caveat]
print(json.dumps([rank, same, report.gradients, len(told)]), flush=True)
dist.barrier()
dist.destroy_process_group()
"""


class Ranks:
    """Starts a script as the two ranks of a training."""

    def __init__(self, server: ForkServer, cwd: Path) -> None:
        self._server = server
        self._cwd = cwd

    def train(self, path: Path, gather: bool | str, script: str = SCRIPT) -> list[list[Any]]:
        """What each of them printed last, in order of their ranks."""
        how = gather if isinstance(gather, str) else "yes" if gather else "no"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": "lo"}
        started = [
            self._server.start(script, str(path), how, cwd=self._cwd, env={**os.environ, **place, "RANK": str(rank)})
            for rank in (0, 1)
        ]
        told = []
        try:
            for process in started:
                assert process.wait(120) == 0, process.stderr[-3000:]
                told.append(json.loads(process.stdout.strip().splitlines()[-1]))
        finally:
            for process in started:
                process.kill()
        return sorted(told)


@pytest.fixture
def ranks(fork_server: ForkServer, tmp_path: Path) -> Ranks:
    return Ranks(fork_server, tmp_path)


def test_gathered_states_go_back_each_to_its_own_rank(ranks: Ranks, tmp_path: Path) -> None:
    told = ranks.train(tmp_path / "a.pt", gather=True)
    assert told == [[0, True, True, []], [1, True, True, []]]
    content = read_file(tmp_path / "a.pt")
    assert content.world_size == 2
    assert content.random_by_rank is not None
    assert len(content.random_by_rank) == 2
    assert content.report is not None
    assert "rng.ranks" in content.report.captured
    assert ckpt.formats.inspect(tmp_path / "a.pt").resume["rng"]["ranks"] == 2


def test_gathered_loaders_go_back_each_to_its_own_rank(ranks: Ranks, tmp_path: Path) -> None:
    told = ranks.train(tmp_path / "a.pt", gather=True, script=LOADING)
    assert told == [[0, ["v0", "t0"], False, [0, 0]], [1, ["v1", "t1"], False, [0, 0]]]
    content = read_file(tmp_path / "a.pt")
    assert content.loaders_by_rank is not None
    assert content.loaders_by_rank[0] == content.loaders
    assert content.names["loaders"] == ["train", "val_a"]
    assert [state["place"] for state in content.loaders_by_rank[1]] == ["t1", "v1"]
    assert content.report is not None
    assert "loaders.ranks" in content.report.captured


@pytest.mark.parametrize(("how", "is_told"), [("no", True), ("position", False)])
def test_without_gathering_all_loaders_take_the_position_of_the_first(
    ranks: Ranks, tmp_path: Path, how: str, is_told: bool
) -> None:
    told = ranks.train(tmp_path / "a.pt", gather=how, script=LOADING)
    assert told == [[rank, ["v0", "t0"], is_told, [int(is_told), 1]] for rank in (0, 1)]


def test_an_accumulation_of_several_ranks_goes_on_to_the_bit(ranks: Ranks, tmp_path: Path) -> None:
    """What each has is the mean over all of them, unless it adds up inside of no_sync(), of which the report tells."""
    told = ranks.train(tmp_path / "r", gather=True, script=ACCUMULATING)
    assert told == [[0, True, 2, 1], [1, True, 2, 1]]


def test_a_rank_whose_loader_fails_keeps_no_other_waiting(ranks: Ranks, tmp_path: Path) -> None:
    told = ranks.train(tmp_path / "a.pt", gather="broken", script=LOADING)
    assert [places for _, places, _, _ in told] == [["v0", "t0"], ["v0", "t0"]]
    content = read_file(tmp_path / "a.pt")
    assert (content.loaders_by_rank, content.random_by_rank) != (None, None)
    assert content.loaders_by_rank is not None
    assert content.loaders_by_rank[1] is None


def test_ranks_whose_losses_disagree_have_one_answer_and_save_together(ranks: Ranks, tmp_path: Path) -> None:
    (_, (*first, saved)), (_, second) = ranks.train(tmp_path / "r", gather=True, script=MANAGED)
    assert first == second
    assert first.count(True) >= 2
    assert saved >= 3
    for found in (tmp_path / "r" / "checkpoints").glob("step-*.pt"):
        content = read_file(found)
        assert content.random_by_rank is not None
        assert len(content.random_by_rank) == 2


def test_without_gathering_the_others_are_told_of_and_do_not_draw_like_the_first(ranks: Ranks, tmp_path: Path) -> None:
    told = ranks.train(tmp_path / "a.pt", gather=False)
    assert told[0] == [0, True, True, []]
    why = "the random states of rank 1 of 2 were not saved: there are those of rank 0"
    assert told[1] == [1, False, False, [why]]
    found = ckpt.formats.inspect(tmp_path / "a.pt").resume
    assert found["left_out"]["rng.ranks"] == "rank 1 was not asked: gather_random_states is off"
    assert (found["rng"]["ranks"], found["topology"]) == (1, {"world_size": 2})


@pytest.mark.parametrize("kind", ["loader", "schedule"])
def test_a_rank_that_was_seeded_by_itself_keeps_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def made(seed: int) -> Any:
        loader = ckpt.ResumableLoader(list(range(12)), batch_size=2, shuffle=True, seed=seed)
        return loader if kind == "loader" else ckpt.LoaderSchedule({"a": loader}, "weighted", weights=[1.0], seed=5)

    def orders(loader: Any) -> list[str]:
        return [str(batch) for batch in loader]

    model, loader = torch.nn.Linear(1, 1), made(7)
    batches = iter(loader)
    for _ in range(2):
        next(batches)
    monkeypatch.setenv("WORLD_SIZE", "2")
    path = ckpt.save_checkpoint(tmp_path / "a.pt", {"model": model, "loaders": loader})
    for rank, seed in ((0, 7), (1, 8)):
        monkeypatch.setenv("RANK", str(rank))
        again = made(seed)
        ckpt.load_checkpoint(path, {"model": model, "loaders": again})
        whole = made(seed)
        assert [orders(again), orders(again)] == [orders(whole)[2:], orders(whole)]


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
