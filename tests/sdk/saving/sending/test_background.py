"""Saving beside the training: what lands, who waits, what is told, and how a process ends."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.config import CheckpointConfig
from ckpt.exceptions import LockedError, SaveError, StateError
from ckpt.hook import TrainingHook
from ckpt.runs import Run
from ckpt.saving import CheckpointManager, SavedCheckpoint
from ckpt.saving.sending.staging import Staging
from ckpt.state import TrainingState, values
from ckpt.writing import disk
from fork_server import ForkServer

torch.set_num_threads(1)

LIMIT_S = 60.0
WEIGHTS = {"w": torch.arange(6.0)}
WAYS: list[Any] = ["thread", "process", False]


def state(step: int, epoch: int = 0, /, loss: float = 0.5, **metrics: Any) -> TrainingState:
    return TrainingState(epoch=epoch, global_step=step, learning_rate=0.1, loss=loss, metrics=metrics)


def steps(manager: CheckpointManager) -> list[int | None]:
    return [c.step for c in manager.list_checkpoints()]


def save(manager: CheckpointManager, step: int, /, **metrics: Any) -> SavedCheckpoint:
    handle = manager.save_checkpoint(WEIGHTS, state(step, **metrics))
    assert handle is not None
    return handle


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run.create("r", tmp_path) as made:
        yield made


class Gate:
    """Holds every write of this process until it is opened, or lets it fail."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()
        self.error: BaseException | None = None
        self.honest = disk.write

    def __call__(self, *arguments: Any) -> disk.Written:
        self.reached.set()
        assert self.opened.wait(LIMIT_S)
        if self.error is not None:
            raise self.error
        return self.honest(*arguments)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate()
    monkeypatch.setattr(disk, "write", made)
    yield made
    made.opened.set()


@pytest.fixture
def broken(gate: Gate) -> Gate:
    gate.error = OSError(5, "Input/output error")
    gate.opened.set()
    return gate


@pytest.mark.parametrize("way", WAYS)
def test_what_changes_right_after_a_save_does_not_change_what_lands(run: Run, way: Any) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters())
    made = state(1, acc=0.5)

    def train() -> None:
        optimizer.zero_grad()
        model(torch.randn(8, 64)).pow(2).mean().backward()
        optimizer.step()

    with CheckpointManager(run, CheckpointConfig(background=way)) as manager:
        for step in range(1, 4):  # the second and third find the memory filled
            train()
            weights = {name: value.clone() for name, value in model.state_dict().items()}
            moments = [value["exp_avg"].clone() for value in optimizer.state_dict()["state"].values()]
            made.global_step, made.metrics["acc"] = step, step / 10
            manager.save_checkpoint(model, made, optimizers=optimizer)
            made.metrics["acc"] = -1.0
            train()
            with torch.no_grad():
                for tensor in (*model.state_dict().values(), *(s["exp_avg"] for s in optimizer.state.values())):
                    tensor.zero_()
            loaded = manager.load_checkpoint()
            assert values.same(dict(loaded["weights"]), weights)
            found = [value["exp_avg"] for value in loaded["optimizer_states"][0]["state"].values()]
            assert values.same(found, moments)
            assert loaded["state"].metrics == loaded["checkpoint"].metrics == {"acc": step / 10}


def test_small_ones_need_no_process_and_the_name_is_known_at_once(run: Run, gate: Gate) -> None:
    manager = CheckpointManager(run)
    handle = save(manager, 1)
    assert (handle.status, handle.path) == ("writing", run.paths.checkpoints / "step-000001.pt")
    assert gate.reached.wait(LIMIT_S)
    assert not handle.path.exists()
    second = threading.Thread(target=lambda: save(manager, 1))
    second.start()
    gate.opened.set()
    second.join(LIMIT_S)
    assert handle.result().path == str(handle.path)
    assert sorted(Path(c.path).name for c in manager.list_checkpoints()) == ["step-000001-2.pt", "step-000001.pt"]


def test_a_save_waits_for_the_one_before(run: Run, gate: Gate) -> None:
    manager = CheckpointManager(run)
    save(manager, 1)
    second = threading.Thread(target=lambda: save(manager, 2))
    second.start()
    second.join(0.1)
    assert second.is_alive()
    gate.opened.set()
    second.join(LIMIT_S)
    assert steps(manager) == [2, 1]


def test_skipped_saves_are_asked_for_again_and_the_best_never_is(run: Run, gate: Gate) -> None:
    config = CheckpointConfig(when_busy="skip", save_on_best_metric="m", save_every_n_steps=1)
    manager = CheckpointManager(run, config)
    first = save(manager, 1, m=0.5)
    left_out = save(manager, 2, m=0.9)
    assert (first.status, left_out.status) == ("writing", "skipped")
    with pytest.raises(SaveError, match=r"step-000002\.pt was left out: the save before it is still being written"):
        left_out.result()
    assert manager.should_save_checkpoint(state(2, m=0.9))
    best: list[SavedCheckpoint] = []
    waiting = threading.Thread(target=lambda: best.append(save(manager, 3, m=0.1)))
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    gate.opened.set()
    waiting.join(LIMIT_S)
    assert best[0].result().label == "best"
    assert steps(manager) == [3, 1]


def test_of_those_that_wait_the_newest_is_written_and_numbers_stay_unique(run: Run, gate: Gate) -> None:
    manager = CheckpointManager(run, CheckpointConfig(when_busy="coalesce", save_every_n_steps=1))
    handles = [save(manager, step) for step in (1, 2, 3)]
    assert [handle.status for handle in handles] == ["writing", "superseded", "writing"]
    assert manager.should_save_checkpoint(state(2))
    assert not manager.should_save_checkpoint(state(3))
    gate.opened.set()
    manager.close()
    found = manager.list_checkpoints()
    assert [(c.step, c.seq) for c in found] == [(3, 3), (1, 1)]


def test_a_failure_is_asked_for_and_then_forgotten(run: Run, broken: Gate) -> None:
    manager = CheckpointManager(run, CheckpointConfig(save_every_n_steps=1, save_on_best_metric="m"))
    handle = save(manager, 1, m=0.1)
    with pytest.raises(SaveError, match="step-000001 could not be saved: Input/output error"):
        handle.result()
    broken.error = None
    assert manager.should_save_checkpoint(state(1, m=0.2))
    assert save(manager, 1, m=0.2).result().label == "best"
    manager.close()
    assert os.listdir(run.paths.checkpoints).count("step-000001.pt") == 1


@pytest.mark.parametrize("where", ["save", "manager", "run", "hook"])
def test_a_failure_that_nobody_asked_for_is_raised_once(tmp_path: Path, broken: Gate, where: str) -> None:
    hook = TrainingHook(torch.nn.Linear(1, 1), tmp_path / "r", CheckpointConfig(save_every_n_steps=1))
    hook.step(0.5)
    acts: dict[str, Callable[[], Any]] = {
        "save": hook.save,
        "manager": hook.manager.close,
        "run": hook.run.close,
        "hook": hook.close,
    }
    hook.run.under_way.wait()
    broken.error = None
    with pytest.raises(SaveError, match="step-000001 could not be saved"):
        acts[where]()
    if where in ("save", "manager"):
        assert hook.step(0.4) is not None
    hook.close()
    assert [c.step for c in hook.run.checkpoints()] == {"save": [2, 1], "manager": [2]}.get(where, [])
    hook.manager.close()
    assert json.loads(hook.run.paths.manifest.read_text())["ending"] == "finished"


def test_an_error_of_the_training_is_not_hidden_by_one_of_a_save(
    tmp_path: Path, broken: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ZeroDivisionError), Run.create("r", tmp_path) as run, CheckpointManager(run) as manager:
        save(manager, 1)
        raise ZeroDivisionError
    assert any("step-000001 could not be saved" in record.getMessage() for record in caplog.records)


def test_callbacks_come_in_the_training_at_its_next_call(run: Run) -> None:
    manager = CheckpointManager(run)
    told: list[tuple[int, float, str | None, int]] = []
    manager.register_checkpoint_callback(
        lambda made, path: told.append((made.global_step, made.metrics["m"], path, threading.get_ident()))
    )
    made = state(1, m=0.5)
    handle = manager.save_checkpoint(WEIGHTS, made)
    made.metrics["m"] = 0.9
    other = threading.Thread(target=lambda: handle and handle.result())
    other.start()
    other.join(LIMIT_S)
    assert told == []
    manager.should_save_checkpoint(made)
    assert told == [(1, 0.5, str(handle), threading.get_ident())]


def test_whoever_looks_at_the_run_sees_what_was_saved(run: Run, gate: Gate) -> None:
    manager = CheckpointManager(run)
    looks: list[Callable[[], Any]] = [run.checkpoints, lambda: [run.checkpoint()], lambda: run.view().checkpoints]
    for step, look in enumerate(looks, 1):
        gate.reached.clear()
        gate.opened.clear()
        save(manager, step)
        assert gate.reached.wait(LIMIT_S)
        threading.Timer(0.02, gate.opened.set).start()
        assert look()[0].step == step
    assert run.tag("latest", "mine").step == 3


def test_staged_ones_are_written_in_the_background_too(run: Run, gate: Gate) -> None:
    manager = CheckpointManager(run, CheckpointConfig(auto_commit=False))
    handle = save(manager, 1)
    assert handle.status == "writing"
    gate.opened.set()
    assert str(handle) == str(handle.path)
    assert handle.staged
    assert manager.commit() == [handle]
    assert (handle.result().step, handle.status) == (1, "saved")
    dropped = save(manager, 2)
    assert manager.discard() == 1
    with pytest.raises(SaveError, match="discarded"):
        dropped.result()
    assert steps(manager) == [1]


def test_without_memory_the_training_waits_and_is_told_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> None:
        raise MemoryError("nothing left")

    monkeypatch.setattr(Staging, "fill", none)
    manager = CheckpointManager(run)
    with pytest.warns(RuntimeWarning, match="while the training waits: nothing left"):
        handle = save(manager, 1)
    assert handle.status == "saved"
    assert save(manager, 2).status == "saved"


def test_a_copy_that_is_interrupted_is_as_if_never_begun(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = CheckpointManager(run, CheckpointConfig(save_every_n_steps=1))
    save(manager, 1)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Staging, "fill", interrupted)
        with pytest.raises(KeyboardInterrupt):
            save(manager, 2)
    assert manager.should_save_checkpoint(state(2))
    save(manager, 2)
    manager.close()
    assert steps(manager) == [2, 1]


def test_close_ends_all_and_a_save_begins_anew(run: Run) -> None:
    manager = CheckpointManager(run, CheckpointConfig(background="process"))
    for step in (1, 2):
        save(manager, step)
        writer = manager._sender.outbox.carriers.get("process").process_id
        manager.close()
        manager.close()
        assert writer is None or not Path(f"/proc/{writer}").exists()
    assert steps(manager) == [2, 1]


def test_two_managers_of_a_run_share_names_and_numbers(run: Run, gate: Gate) -> None:
    first = CheckpointManager(run, CheckpointConfig(when_busy="coalesce"))
    second = CheckpointManager(run, CheckpointConfig(when_busy="coalesce"))
    gate.opened.set()
    save(first, 1), save(second, 1), save(first, 2), save(second, 2)
    first.close()
    found = run.checkpoints()
    assert len({c.seq for c in found}) == len({c.path for c in found}) == len(found) >= 2
    assert {c.step for c in found} >= {2}


def test_a_silent_rank_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    before = threading.active_count()
    with Run.create("r", tmp_path) as run, CheckpointManager(run) as manager:
        assert manager.save_checkpoint(WEIGHTS, state(1)) is None
        assert (manager.commit(), manager.discard(), list(run.under_way)) == ([], 0, [])
    assert threading.active_count() == before


def test_a_save_is_a_line_in_the_log(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ckpt.saving"):
        save(CheckpointManager(run), 1).result()
    told = [record.getMessage() for record in caplog.records if record.name == "ckpt.saving"]
    assert len(told) == 1
    shape = r"saved step-000001\.pt: [\d.]+ \w+; the training waited [\d.]+ m?s, the write took [\d.]+ m?s"
    assert re.fullmatch(shape, told[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_neither_waits_nor_saves(run: Run, gate: Gate) -> None:
    manager = CheckpointManager(run)
    handle = save(manager, 1)
    assert gate.reached.wait(LIMIT_S)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            try:
                handle.result()
            except SaveError:
                try:
                    save(manager, 2)
                except LockedError:
                    code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    gate.opened.set()
    assert handle.result().step == 1


SCRIPT = """
import sys, torch
from ckpt import CheckpointConfig, CheckpointManager, Run, TrainingState
torch.set_num_threads(1)
base, way, how = sys.argv[1:]
manager = CheckpointManager(base + "/r", CheckpointConfig(background=way, when_busy="coalesce"))
weights = {"w": torch.ones(500_000)}
for step in (1, 2, 3):
    weights["w"].fill_(step)
    manager.save_checkpoint(weights, TrainingState(0, step, 0.1, 0.5))
weights["w"].zero_()
if how == "exit":
    sys.exit(0)
if how == "error":
    raise ZeroDivisionError
"""


@pytest.mark.parametrize(("how", "way"), [("end", "thread"), ("exit", "process"), ("error", "process")])
def test_however_a_script_ends_what_it_saved_is_there(
    tmp_path: Path, how: str, way: str, fork_server: ForkServer
) -> None:
    done = fork_server.run(SCRIPT, str(tmp_path), way, how, cwd=tmp_path, timeout=LIMIT_S)
    assert done.returncode == (1 if how == "error" else 0), done.stderr
    assert ("ZeroDivisionError" in done.stderr) == (how == "error")
    manager = CheckpointManager(tmp_path / "r")
    assert json.loads(manager.run.paths.manifest.read_text())["ending"] == ("failed" if how == "error" else "finished")
    assert 3 in steps(manager)
    for found in manager.list_checkpoints():
        assert torch.equal(
            manager.load_checkpoint(found)["weights"]["w"], torch.full((500_000,), float(found.step or 0))
        )
    assert manager.run.paths.lock.exists()
    Run.resume(tmp_path / "r").close()


def test_a_failure_at_the_end_of_a_script_is_told(tmp_path: Path) -> None:
    script = SCRIPT.replace("import sys, torch", "import sys, torch, shutil").replace(
        'weights["w"].zero_()',
        "manager.run.under_way.wait(); shutil.rmtree(base + '/r/checkpoints'); open(base + '/r/checkpoints', 'w'); "
        "manager.save_checkpoint(weights, TrainingState(0, 4, 0.1, 0.5))",
    )
    argv = [sys.executable, "-c", script, str(tmp_path), "thread", "end"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S)
    assert "step-000004 could not be saved" in done.stderr
    assert json.loads((tmp_path / "r" / "run.json").read_text())["ending"] == "finished"


def test_what_cannot_be_stored_takes_no_other_save_s_place(run: Run, gate: Gate) -> None:
    manager = CheckpointManager(run, CheckpointConfig(background="thread", when_busy="coalesce"))
    handles = [save(manager, step) for step in (1, 2)]
    empty = {"w": torch.empty(3)}
    empty["w"].untyped_storage().resize_(0)
    with pytest.raises(StateError, match=r"without (data|its memory)"):
        manager.save_checkpoint(empty, state(3))
    gate.opened.set()
    assert [handle.result(LIMIT_S).step for handle in handles] == [1, 2]


def test_what_is_skipped_is_not_even_captured(run: Run, gate: Gate) -> None:
    captured: list[int] = []

    class Counting:
        def state_dict(self) -> dict[str, int]:
            captured.append(1)
            return {}

        def load_state_dict(self, _: Any) -> None: ...

    manager = CheckpointManager(run, CheckpointConfig(background="thread", when_busy="skip"))
    manager.register("item", Counting())
    save(manager, 1)
    assert save(manager, 2).status == "skipped"
    assert len(captured) == 1


def test_staged_ones_of_a_closed_run_are_refused_and_not_listed(tmp_path: Path) -> None:
    run = Run.create("closed", tmp_path)
    manager = CheckpointManager(run, CheckpointConfig(auto_commit=False))
    save(manager, 1)
    run.close()
    with pytest.raises(SaveError, match="run 'closed' is closed"):
        manager.commit()
    assert manager.list_checkpoints() == []


def test_warnings_that_are_errors_and_interrupts_leave_no_lock_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = CheckpointManager(tmp_path / "r")
    manager.register_checkpoint_callback(lambda *_: 1 / 0)
    save(manager, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="failed: ZeroDivisionError"):
            manager.run.close()
    assert not manager.run.training

    def interrupted(*_: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(CheckpointManager, "is_worth_saving", interrupted)
    with pytest.raises(ValueError, match="first"):  # noqa: SIM117
        with TrainingHook(torch.nn.Linear(1, 1), tmp_path / "r", CheckpointConfig(save_on_exception=True)) as hook:
            raise ValueError("first")
    assert not hook.run.training
