"""Saves that meet: threads that save in one run, and handlers that run in the midst of a save."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.config import CheckpointConfig
from ckpt.exceptions import SaveError
from ckpt.runs import Run
from ckpt.saving import CheckpointManager, SavedCheckpoint
from ckpt.saving.turns import Turns
from ckpt.state import TrainingState
from fork_server import ForkServer

torch.set_num_threads(1)

LIMIT_S = 60.0


def state(step: int) -> TrainingState:
    return TrainingState(epoch=0, global_step=step, learning_rate=0.1, loss=0.5)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run.create("r", tmp_path) as made:
        yield made


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("way", ["thread", "process"])
def test_threads_that_save_in_one_run_wait_for_each_other(run: Run, way: Any, shared: bool) -> None:
    managers = [CheckpointManager(run, CheckpointConfig(background=way)) for _ in range(1 if shared else 3)] * 3
    handles: list[tuple[int, SavedCheckpoint]] = []

    def train(number: int) -> None:
        for step in range(number * 100 + 1, number * 100 + 7):
            weights = {"w": torch.full((500_000,), float(step))}
            handle = managers[number].save_checkpoint(weights, state(step))
            assert handle is not None
            weights["w"].zero_()
            handles.append((step, handle))

    threads = [threading.Thread(target=train, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert len(handles) == 18
    for step, handle in handles:
        weights = managers[0].load_checkpoint(handle.result(LIMIT_S))["weights"]
        assert torch.equal(weights["w"], torch.full((500_000,), float(step)))
    assert sorted(c.seq or 0 for c in run.checkpoints()) == list(range(1, 19))


@pytest.mark.parametrize("way", ["thread", "process", False])
def test_who_saves_in_the_midst_of_a_save_is_told_at_once_and_the_first_one_lands(run: Run, way: Any) -> None:
    manager = CheckpointManager(run, CheckpointConfig(background=way))
    told: list[str] = []

    class Reentrant:
        def state_dict(self) -> dict[str, int]:
            for act in (lambda: manager.save_checkpoint({"w": torch.ones(3)}, state(9)), manager.close, run.close):
                with pytest.raises(SaveError, match="a save is under way in this thread") as error:
                    act()
                told.append(error.value.hint or "")
                run.begin()  # closing a run ends it all the same
            return {"a": 1}

        def load_state_dict(self, _: Any) -> None: ...

    manager.register("item", Reentrant())
    handle = manager.save_checkpoint({"w": torch.ones(3)}, state(1))
    assert handle is not None
    assert handle.result(LIMIT_S).step == 1
    assert [c.step for c in manager.list_checkpoints()] == [1]
    assert ["save_on_signals" in hint for hint in told] == [True] * 3


def test_a_run_that_is_closed_while_it_is_saved_gets_no_checkpoint(run: Run) -> None:
    manager = CheckpointManager(run, CheckpointConfig(save_every_n_steps=1))

    class Closing:
        def state_dict(self) -> dict[str, int]:
            with pytest.raises(SaveError):
                run.close()
            return {}

        def load_state_dict(self, _: Any) -> None: ...

    manager.register("item", Closing())
    with pytest.raises(SaveError, match="was closed while step-000001 was saved"):
        manager.save_checkpoint({"w": torch.ones(3)}, state(1))
    assert manager.list_checkpoints() == []
    assert manager.should_save_checkpoint(state(1))


def test_a_callback_may_save(run: Run) -> None:
    manager = CheckpointManager(run)

    def again(saved: TrainingState, _: str | None) -> None:
        if saved.global_step < 3:
            manager.save_checkpoint({"w": torch.ones(3)}, state(saved.global_step + 1))

    manager.register_checkpoint_callback(again)
    manager.save_checkpoint({"w": torch.ones(3)}, state(1))
    for _ in range(3):
        manager.run.under_way.wait()
    assert [c.step for c in manager.list_checkpoints()] == [3, 2, 1]


HANDLERS = """
import random, signal, sys, torch
from ckpt import CheckpointConfig, CheckpointManager, CkptError, TrainingState
torch.set_num_threads(1)
base, way = sys.argv[1:]
weights = {f"w{i}": torch.zeros(100_000) for i in range(4)}
state = lambda step: TrainingState(0, step, 0.1, 0.5)

def train(name):
    manager = CheckpointManager(base + "/" + name, CheckpointConfig(background=False if way == "inline" else way))
    handles, ran = [], []
    acts = {
        "result": lambda: handles[-1][1].result() if handles else None,
        "list": manager.list_checkpoints,
        "close": manager.close,
        "save": lambda: manager.save_checkpoint(weights, state(1000)),
    }
    def handler(*_):
        ran.append(1)
        try:
            acts[name]()
        except CkptError:
            pass
        if len(ran) < 60:  # a handler that saves again and again would leave the training no time
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0003, 0.002))
    signal.signal(signal.SIGALRM, handler)
    for step in range(1, 13):
        for tensor in weights.values():
            tensor.fill_(step)
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0003, 0.004))
        handles.append((step, manager.save_checkpoint(weights, state(step))))
        if step % 3 == 0:
            handles[-1][1].result()
            manager.should_save_checkpoint(state(step))
        signal.setitimer(signal.ITIMER_REAL, 0)
    manager.run.close()
    for step, handle in handles:
        found = manager.load_checkpoint(handle.result())["weights"]
        assert all(bool((tensor == step).all()) for tensor in found.values()), step
    assert ran

for name in ("result", "list", "close", "save"):
    train(name)
    print(name, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no timers there")
@pytest.mark.parametrize("way", ["thread", "process", "inline"])
def test_handlers_of_signals_that_wait_or_save_hang_nothing(tmp_path: Path, way: str, fork_server: ForkServer) -> None:
    done = fork_server.run(HANDLERS, str(tmp_path), way, cwd=tmp_path, timeout=2 * LIMIT_S)
    assert (done.returncode, done.stdout.split()) == (0, ["result", "list", "close", "save"]), done.stderr[-3000:]


def test_waiting_while_one_hands_over_is_refused_and_what_is_there_is_not_waited_for() -> None:
    turns = Turns()
    with pytest.raises(SaveError, match="a save is under way in this thread"):
        turns.hand_over(lambda: turns.wait_for(lambda: False))
    assert turns.hand_over(lambda: turns.wait_for(lambda: True))
    assert not turns.wait_for(lambda: False, 0.01)
    assert turns.take(lambda: turns.is_within)
    assert not turns.is_within


def test_a_handler_that_waits_while_its_thread_holds_what_others_need_frees_it() -> None:
    turns, ready = Turns(), threading.Event()

    def change() -> None:
        with turns.changed:
            ready.set()
            turns.notify()

    thread = threading.Thread(target=change)
    with turns.changed:
        thread.start()
        assert turns.wait_for(ready.is_set, LIMIT_S)
    thread.join(LIMIT_S)
