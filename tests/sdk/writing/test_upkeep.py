"""What a training removes of its run by itself after a save, what waits for a person, and how that is told."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt import marks
from ckpt.config import CheckpointConfig
from ckpt.hook import TrainingHook
from ckpt.runs import Run
from ckpt.saving import CheckpointManager
from ckpt.scan import RunView
from ckpt.state import TrainingState
from ckpt.writing import upkeep

torch.set_num_threads(1)

WEIGHTS = {"w": torch.arange(6.0)}


@pytest.fixture
def run(tmp_path: Path) -> Any:
    with Run.create("exp", tmp_path) as made:
        yield made


def save(manager: CheckpointManager, *steps: int, **metrics: Any) -> None:
    for step in steps:
        state = TrainingState(epoch=step, global_step=step, learning_rate=0.1, loss=float(100 - step), metrics=metrics)
        manager.save_checkpoint(WEIGHTS, state)
        manager.list_checkpoints()  # waits, and tells what came of it


def left(manager: CheckpointManager) -> list[int]:
    return sorted(c.step or 0 for c in manager.list_checkpoints())


def command(run: Run, **policy: Any) -> None:
    marks.append(run.paths.marks, "policy", None, policy=policy)


def pause(run: Run, seconds: float) -> None:
    """Has all that was saved so far been saved so long before."""
    for marker in run.paths.checkpoints.glob("*.json"):
        said = json.loads(marker.read_text())
        marker.write_text(json.dumps({**said, "saved_at": said["saved_at"] - seconds}))


def test_what_a_command_would_remove_of_a_large_share_waits_and_is_told_once(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    manager = CheckpointManager(run, CheckpointConfig(keep_last=20))
    save(manager, *range(1, 11))
    command(run, keep_last=1)
    with pytest.warns(RuntimeWarning, match=r"keeps 10 checkpoints .*`ckpt prune exp` .*10 of 11 \(90.9 %\)") as told:
        save(manager, 11)
    save(manager, 12)
    assert left(manager) == list(range(1, 13))
    assert len(told) == 1 and caplog.text.count("ckpt prune exp") == 1


def test_while_a_plan_waits_what_the_training_itself_leaves_over_still_goes(run: Run) -> None:
    manager = CheckpointManager(run, CheckpointConfig(keep_last=6))
    save(manager, *range(1, 7))
    command(run, keep_last=1)
    with pytest.warns(RuntimeWarning, match="keeps 5 checkpoints"):
        save(manager, 7)
    assert left(manager) == [2, 3, 4, 5, 6, 7]
    save(manager, 8, 9)
    assert left(manager) == [4, 5, 6, 7, 8, 9]


def test_a_command_keeps_what_the_training_would_remove_also_while_it_waits(run: Run) -> None:
    manager = CheckpointManager(run, CheckpointConfig(keep_last=2))
    save(manager, 1, 2)
    command(run, keep_last=50)
    save(manager, *range(3, 11))
    command(run, keep_last=1, keep_steps=[3, 4])
    with pytest.warns(RuntimeWarning, match="ckpt prune exp"):
        save(manager, 11)
    assert left(manager) == [3, 4, 10, 11]


def test_a_small_share_goes_by_a_command_at_the_next_save(run: Run) -> None:
    manager = CheckpointManager(run, CheckpointConfig(keep_last=6))
    save(manager, *range(1, 7))
    command(run, keep_last=4)
    save(manager, 7)
    assert left(manager) == [4, 5, 6, 7]


def test_a_share_that_a_command_allows_goes_unasked(run: Run) -> None:
    manager = CheckpointManager(run, CheckpointConfig(keep_last=20))
    save(manager, *range(1, 7))
    command(run, keep_last=1, max_share=1.0)
    save(manager, 7)
    assert left(manager) == [7]


def test_a_training_that_became_stricter_itself_goes_by_its_own_word(tmp_path: Path) -> None:
    with Run.create("exp", tmp_path) as run:
        save(CheckpointManager(run, CheckpointConfig(keep_last=20)), *range(1, 9))
    with Run.resume("exp", tmp_path) as run:
        manager = CheckpointManager(run, CheckpointConfig(keep_last=1))
        save(manager, 9)
        assert left(manager) == [9]


def test_what_waits_is_told_again_when_it_had_an_end(run: Run) -> None:
    manager = CheckpointManager(run, CheckpointConfig(keep_last=20))
    save(manager, *range(1, 6))
    for step in (6, 8):
        command(run, keep_last=1)
        with pytest.warns(RuntimeWarning, match="ckpt prune exp"):
            save(manager, step)
        command(run)
        save(manager, step + 1)
    assert left(manager) == list(range(1, 10))


@pytest.mark.parametrize("rule", ["keep_within", "max_age"])
def test_a_pause_does_not_melt_a_run_that_is_kept_by_time(run: Run, rule: str) -> None:
    manager = CheckpointManager(run, CheckpointConfig.from_dict({rule: "36h"}))
    save(manager, 1, 2, 3, 4)
    pause(run, 3 * 86400.0)
    with pytest.warns(RuntimeWarning, match=rf"4 of 5 \(80 %\).*goes by time \({rule}\)"):
        save(manager, 5)
    save(manager, 6, 7)
    assert left(manager) == [1, 2, 3, 4, 5, 6, 7]
    save(manager, 8)  # now it is half of the run
    assert left(manager) == [5, 6, 7, 8]


def test_a_metric_that_nobody_recorded_is_told_once(run: Run) -> None:
    config = CheckpointConfig(save_on_best_metric="acc", minimize_metric=False, keep_best=1, missing_metric="ignore")
    manager = CheckpointManager(run, config)
    save(manager, 1, accuracy=0.5)
    with pytest.warns(RuntimeWarning, match="nothing of run exp is removed: .*did you mean accuracy") as told:
        save(manager, 2, accuracy=0.4)
    save(manager, 3, accuracy=0.3)
    assert left(manager) == [1, 2, 3] and len(told) == 1


@pytest.mark.parametrize("late", [False, True])
def test_what_the_start_of_a_fork_has_recorded_is_no_record_of_the_fork(run: Run, late: bool) -> None:
    parent = CheckpointManager(run, CheckpointConfig())
    save(parent, 1, **({} if late else {"val_loss": 0.5}))
    config = CheckpointConfig(save_on_best_metric="val_loss", keep_last=1, keep_best=1, missing_metric="ignore")
    with Run.fork(run, "child", run.paths.directory.parent) as child:
        if late:
            child.add_metrics("latest", {"val_loss": 0.5})
        manager = CheckpointManager(child, config)
        save(manager, 2, eval_loss=0.3)
        with pytest.warns(RuntimeWarning, match="did you mean eval_loss"):
            save(manager, 3, eval_loss=0.4)
        assert left(manager) == [1, 2, 3]


def mistype(directory: Path) -> None:
    """What a person does to run.json with an editor."""
    manifest = directory / "run.json"
    said = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**said, "policy": {"keep_lst": 1}}))


def test_a_policy_that_cannot_be_used_is_told_by_the_training(tmp_path: Path) -> None:
    with Run.create("exp", tmp_path) as run:
        save(CheckpointManager(run, CheckpointConfig(keep_last=1)), 1)
    mistype(tmp_path / "exp")
    with Run.resume("exp", tmp_path) as run:
        manager = CheckpointManager(run)
        with pytest.warns(RuntimeWarning, match=r"nothing of run exp is removed: .*'keep_lst'.*keep_last") as told:
            save(manager, 2)
        save(manager, 3)
        assert left(manager) == [1, 2, 3] and len(told) == 1


def test_a_policy_that_is_broken_under_a_training_is_told_by_its_hook(tmp_path: Path) -> None:
    config = CheckpointConfig(save_every_n_epochs=1, keep_last=1)
    with TrainingHook(torch.nn.Linear(2, 1), tmp_path / "exp", config) as hook:
        hook.step(loss=0.5)
        hook.epoch_end()
        mistype(tmp_path / "exp")
        hook.step(loss=0.4)
        with pytest.warns(RuntimeWarning, match="nothing of run exp is removed: .*'keep_lst'"):
            hook.epoch_end()
    assert len(list((tmp_path / "exp" / "checkpoints").glob("step*.pt"))) == 2


def test_a_policy_that_changes_while_a_plan_is_carried_out_stops_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = CheckpointManager(run, CheckpointConfig())
    save(manager, *range(1, 5))
    command(run, keep_last=3)
    read = upkeep.read_run

    def meanwhile(*arguments: Any, **options: Any) -> RunView:
        view = read(*arguments, **options)
        command(run, keep_last=50)
        return view

    monkeypatch.setattr(upkeep, "read_run", meanwhile)
    upkeep.Upkeep(run.paths).after_save()
    monkeypatch.undo()
    assert left(manager) == [1, 2, 3, 4]


def test_pruning_as_ever_says_nothing(run: Run) -> None:
    manager = CheckpointManager(run, CheckpointConfig(keep_last=2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(manager, *range(1, 6))
    assert left(manager) == [4, 5]
