"""Callbacks of the manager: when they are called, and what becomes of their errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.runs import Run
from ckpt.saving import CheckpointManager
from ckpt.state import TrainingState

WEIGHTS = {"w": torch.zeros(2)}


def state(step: int, /, **metrics: Any) -> TrainingState:
    return TrainingState(epoch=step, global_step=step, learning_rate=0.1, loss=0.5, metrics=metrics)


def notify(made: TrainingState, reference: str | None) -> None:
    raise RuntimeError("no network")


def test_callbacks_have_names_and_go_one_by_one(tmp_path: Path) -> None:
    def log(made: TrainingState, reference: str | None) -> None: ...

    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run)
        for callback in (log, notify, log):
            manager.register_checkpoint_callback(callback)
        assert manager.list_callbacks() == ["log", "notify"]
        assert manager.unregister_checkpoint_callback(log)
        assert not manager.unregister_checkpoint_callback(log)
        assert manager.clear_callbacks() == 1
        assert manager.list_callbacks() == []
        with pytest.raises(TypeError, match="callable"):
            manager.register_checkpoint_callback("x")  # type: ignore[arg-type]


def test_callbacks_fire_behind_the_commit_and_do_not_hurt_each_other(tmp_path: Path) -> None:
    with Run.create("r", tmp_path) as run:
        manager = CheckpointManager(run)
        seen: list[tuple[int, str | None, int]] = []

        def log(made: TrainingState, reference: str | None) -> None:
            seen.append((made.global_step, reference, len(manager.list_checkpoints())))

        manager.register_checkpoint_callback(notify)
        manager.register_checkpoint_callback(log)
        handle = manager.save_checkpoint(WEIGHTS, state(1))
        assert handle is not None
        with pytest.warns(RuntimeWarning, match="callback notify failed: RuntimeError") as warned:
            handle.result()
        assert warned[0].filename == __file__
        assert seen == [(1, str(handle), 1)]
