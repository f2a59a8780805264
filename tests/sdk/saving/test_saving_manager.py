"""CheckpointManager on a run directory: when it saves, what the file holds, what stays."""

from __future__ import annotations

import json
import math
import os
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ckpt import files
from ckpt.config import CheckpointConfig
from ckpt.exceptions import LockedError, SaveError, StateError
from ckpt.paths import RunPaths
from ckpt.runs import Run
from ckpt.saving import CheckpointManager
from ckpt.saving.sending import sender
from ckpt.saving.sending.staging import live_image
from ckpt.state import TrainingState, values
from ckpt.trash import Trash

torch.set_num_threads(1)

ENVELOPE = {
    "format_version",
    "is_multi_dataloader_only",
    "save_timestamp",
    "epoch",
    "global_step",
    "model_state_dict",
    "optimizer_state_dicts",
    "scheduler_state_dicts",
    "amp_scaler_state",
    "rng_states",
    "dataloader_manager_state",
    "choice_rng_state",
    "resume_state",
    "metrics_history",
    "config_snapshot",
    "metrics",
    "model_config",
}
WEIGHTS = {"w": torch.arange(6.0)}


def state(step: int, epoch: int = 0, /, loss: float = 0.5, **metrics: Any) -> TrainingState:
    return TrainingState(epoch=epoch, global_step=step, learning_rate=0.1, loss=loss, metrics=metrics)


@pytest.fixture
def run(tmp_path: Path) -> Any:
    with Run.create("exp", tmp_path, config={"lr": 0.1}) as made:
        yield made


def steps(manager: CheckpointManager) -> list[int | None]:
    return [c.step for c in manager.list_checkpoints()]


def trained() -> tuple[torch.nn.Module, torch.optim.Optimizer, Any]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])
    train(model, optimizer, scheduler, 3)
    return model, optimizer, scheduler


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any, count: int) -> list[float]:
    losses = []
    for _ in range(count):
        optimizer.zero_grad()
        loss = (model(torch.randn(8, 4)) * (1 + np.random.rand() + random.random())).pow(2).mean()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


# What is in it


def test_the_file_has_every_key_of_the_format_and_loads_safely(run: Run) -> None:
    model, optimizer, scheduler = trained()
    manager = CheckpointManager(run, model_config={"hidden": 3})
    handle = manager.save_checkpoint(
        model,
        state(3, 1, val=np.float32(0.25), bad=math.nan),
        optimizers=[optimizer],
        schedulers=scheduler,
        scaler=torch.amp.GradScaler("cpu", enabled=True),
    )
    assert handle is not None
    loaded = torch.load(handle, weights_only=True)
    assert set(loaded) >= ENVELOPE
    assert (loaded["format_version"], loaded["epoch"], loaded["global_step"]) == (1, 1, 3)
    assert values.same(loaded["model_state_dict"], model.state_dict())
    assert "1.running_mean" in loaded["model_state_dict"]
    assert values.same(loaded["optimizer_state_dicts"], [optimizer.state_dict()])
    assert values.same(loaded["scheduler_state_dicts"], [scheduler.state_dict()])
    assert loaded["amp_scaler_state"]["scale"] == 65536.0
    assert (loaded["metrics"]["val"], type(loaded["metrics"]["val"])) == (0.25, float)
    assert (loaded["config_snapshot"], loaded["model_config"]) == ({"lr": 0.1}, {"hidden": 3})
    rng = loaded["rng_states"]
    assert isinstance(rng["python_random"], tuple)
    assert isinstance(rng["numpy_random"][1], torch.Tensor)
    assert rng["torch_cpu"].dtype == torch.uint8
    assert isinstance(loaded["resume_state"], dict)
    assert loaded["dataloader_manager_state"] is loaded["choice_rng_state"] is None
    assert loaded["metrics_history"]["global_step"] == [3]


def test_what_was_not_captured_is_none_and_loads(run: Run) -> None:
    """Regression: a file without optimizers crashed the loader, which iterated over None."""
    manager = CheckpointManager(run, CheckpointConfig(save_random_state=False))
    handle = manager.save_checkpoint(WEIGHTS, state(1))
    assert handle is not None
    plain = torch.load(handle, weights_only=True)
    for key in ("optimizer_state_dicts", "scheduler_state_dicts", "amp_scaler_state", "rng_states"):
        assert plain[key] is None
    loaded = manager.load_checkpoint()
    assert (loaded["optimizer_states"], loaded["scheduler_states"]) == ([], [])
    assert torch.equal(loaded["weights"]["w"], WEIGHTS["w"])


def test_the_marker_tells_all_without_torch(run: Run) -> None:
    manager = CheckpointManager(
        run, CheckpointConfig(save_on_best_metric="m", commit_message_template="{epoch}/{step}: {m:.1f}")
    )
    handle = manager.save_checkpoint(WEIGHTS, state(10, 2, m=0.25, odd=math.inf))
    assert handle is not None
    marker = json.loads(Path(str(handle)).with_suffix(".json").read_text())
    assert marker["id"] == handle.id
    assert (marker["format"], marker["file"], marker["seq"], marker["attempt"]) == (1, "step-000010.pt", 1, 1)
    assert (marker["step"], marker["epoch"], marker["loss"]) == (10, 2, 0.5)
    assert marker["metrics"] == {"m": 0.25, "odd": "Infinity"}
    assert (marker["label"], marker["is_best"], marker["message"]) == ("best", True, "2/10: 0.2")
    assert marker["bytes"] == os.path.getsize(handle)
    assert marker["hash"].startswith("blake3:")
    assert marker["state"]["held"] == []


def test_weights_come_as_module_as_modules_or_as_arrays(run: Run) -> None:
    manager = CheckpointManager(run)
    parts = {"body": torch.nn.Linear(2, 2), "head": torch.nn.Linear(2, 1)}
    manager.save_checkpoint(parts, state(1))
    weights = manager.load_checkpoint()["weights"]
    assert list(weights) == ["body.weight", "body.bias", "head.weight", "head.bias"]
    import ml_dtypes

    arrays = {"a": np.arange(3, dtype=np.int16), "b": np.ones((2, 2), dtype=ml_dtypes.bfloat16), "c": np.array(1.5)}
    manager.save_checkpoint(arrays, state(2))
    weights = manager.load_checkpoint()["weights"]
    assert [(w.dtype, tuple(w.shape)) for w in weights.values()] == [
        (torch.int16, (3,)),
        (torch.bfloat16, (2, 2)),
        (torch.float64, ()),
    ]


def test_wrappers_do_not_show_in_the_names(run: Run) -> None:
    manager = CheckpointManager(run)
    inner = torch.nn.Linear(2, 1)
    manager.save_checkpoint(torch.nn.DataParallel(inner), state(1))
    assert list(manager.load_checkpoint()["weights"]) == ["weight", "bias"]
    assert manager.restore_from_checkpoint(torch.nn.DataParallel(torch.nn.Linear(2, 1))).fully_restored


def test_a_run_json_that_cannot_be_written_is_a_save_error(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    manager = CheckpointManager(tmp_path / "late", CheckpointConfig(keep_last_n_checkpoints=1))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_json", full)
        with pytest.raises(SaveError, match="No space left"):
            manager.save_checkpoint(WEIGHTS, state(1))
    assert manager.save_checkpoint(WEIGHTS, state(1)) is not None
    assert json.loads(manager.run.paths.manifest.read_text())["policy"]["keep_last"] == 1
    manager.run.close()


def test_tied_weights_stay_tied_and_small_views_do_not_drag_their_storage_along(run: Run) -> None:
    manager = CheckpointManager(run)
    shared = torch.randn(1000, 10)
    large = torch.randn(1_000_000)
    handle = manager.save_checkpoint({"in": shared, "out": shared, "row": large[:10]}, state(1))
    assert os.path.getsize(handle) < 80_000  # type: ignore[arg-type]
    weights = manager.load_checkpoint()["weights"]
    assert weights["in"].data_ptr() == weights["out"].data_ptr()
    assert torch.equal(weights["row"], large[:10])


def test_a_save_holds_no_second_copy_of_the_tensors(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: every tensor was copied deeply, which doubled the memory of a save."""
    manager = CheckpointManager(run, CheckpointConfig(background=False))
    weights = {"w": torch.zeros(4_000_000)}
    seen: list[int] = []

    def watching(layout: Any, pickled: Any) -> Any:
        seen.extend(storage.data_ptr() for storage in pickled.storages if storage.nbytes() == 16_000_000)
        return live_image(layout, pickled)

    monkeypatch.setattr(sender, "live_image", watching)
    manager.save_checkpoint(weights, state(1))
    assert seen == [weights["w"].data_ptr()]


class Odd:
    pass


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"weights": {"w": 3}}, r"weights\.w is a int"),
        ({"weights": Odd()}, "weights are a Odd"),
        ({"weights": {"w": torch.zeros(2, device="meta")}}, r"model_state_dict\.w .* on meta"),
        ({"optimizers": Odd()}, "optimizers is a Odd, which has no state_dict"),
        ({"schedulers": {"fn": lambda: 1}}, r"scheduler_state_dicts\[0\]\.fn is a builtins\.function"),
        ({"loaders": [torch.nn.Linear(1, 1), Odd()]}, r"loaders\[1\]"),
    ],
)
def test_what_a_safe_loader_would_refuse_is_refused_before_anything_is_written(
    run: Run, given: dict[str, Any], told: str
) -> None:
    manager = CheckpointManager(run)
    with pytest.raises(StateError, match=told):
        manager.save_checkpoint(**{"weights": WEIGHTS, "state": state(1), **given})
    assert os.listdir(run.paths.checkpoints) == []


def test_scheduler_states_with_arrays_and_odd_containers_come_back(run: Run) -> None:
    from collections import Counter, OrderedDict, defaultdict

    held = {
        "milestones": Counter({30: 1}),
        "lr": np.float64(0.1),
        "table": np.arange(4, dtype=np.float32),
        "nested": OrderedDict(a=(1, None, {2: b"x"})),
        "dd": defaultdict(dict, {1: {}}),
        "fs": frozenset({1}),
        "c": 1 + 2j,
    }
    manager = CheckpointManager(run)
    manager.save_checkpoint(WEIGHTS, state(1), schedulers=held)
    back = manager.load_checkpoint()["scheduler_states"][0]
    assert values.same(back, {**held, "lr": 0.1})


# Switches


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize(
    ("switch", "key"),
    [
        ("save_optimizer_state", "optimizer_state_dicts"),
        ("save_scheduler_state", "scheduler_state_dicts"),
        ("save_random_state", "rng_states"),
    ],
)
def test_switches_decide_what_is_stored(run: Run, switch: str, key: str, on: bool) -> None:
    model, optimizer, scheduler = trained()
    manager = CheckpointManager(run, CheckpointConfig(**{switch: on}))  # type: ignore[arg-type]
    for step, given in enumerate(
        (
            {"optimizers": optimizer, "schedulers": scheduler},
            {},
        )
    ):
        made = state(step)
        made.optimizer_state, made.scheduler_state = optimizer.state_dict(), scheduler.state_dict()
        made.random_state = {"torch": torch.get_rng_state()} if step else None
        handle = manager.save_checkpoint(model, made, **given)
        assert handle is not None
        assert (torch.load(handle, weights_only=True)[key] is not None) == on


def test_a_random_state_that_is_held_is_taken_instead_of_captured(run: Run) -> None:
    manager = CheckpointManager(run)
    torch.manual_seed(1)
    made = state(1)
    made.random_state = {"torch": torch.get_rng_state()}
    expected = torch.rand(3)
    torch.manual_seed(2)
    manager.save_checkpoint(WEIGHTS, made)
    manager.restore_from_checkpoint()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("on", [True, False])
def test_incremental_saves_are_recorded_and_every_file_is_whole(run: Run, on: bool) -> None:
    manager = CheckpointManager(run, CheckpointConfig(use_incremental_saves=on))
    first = manager.save_checkpoint(WEIGHTS, state(1))
    second = manager.save_checkpoint(WEIGHTS, state(2))
    assert json.loads(run.paths.manifest.read_text())["saving"]["use_incremental_saves"] is on
    os.unlink(first)  # type: ignore[arg-type]
    assert torch.equal(torch.load(second, weights_only=True)["model_state_dict"]["w"], WEIGHTS["w"])  # type: ignore[arg-type]


@pytest.mark.parametrize("on", [True, False])
def test_auto_commit(run: Run, on: bool) -> None:
    manager = CheckpointManager(run, CheckpointConfig(auto_commit=on, save_every_n_steps=1))
    told: list[str | None] = []
    manager.register_checkpoint_callback(lambda _, ref: told.append(ref))
    handles = [manager.save_checkpoint(WEIGHTS, state(step)) for step in (1, 2)]
    assert all(handle is not None for handle in handles)
    manager.close()
    if on:
        assert told == [str(handle) for handle in handles]
        assert steps(manager) == [2, 1]
        assert manager.commit() == []
        return
    assert told == [None, None]
    assert steps(manager) == []
    assert [p for p in os.listdir(run.paths.checkpoints) if p.endswith((".pt", ".json"))] == []
    assert handles[0] is not None
    assert handles[0].staged
    with pytest.raises(SaveError, match="staged"):
        handles[0].result()
    assert not manager.should_save_checkpoint(state(2))
    assert manager.commit() == handles
    assert steps(manager) == [2, 1]
    assert handles[0].result().step == 1
    assert os.path.basename(handles[0]) == "step-000001.pt"
    manager.save_checkpoint(WEIGHTS, state(3))
    assert manager.discard() == 1
    assert manager.commit() == []
    assert sorted(p for p in os.listdir(run.paths.checkpoints) if "tmp" in p) == []


@pytest.mark.parametrize("on", [True, False])
def test_tag_best_checkpoints(run: Run, on: bool) -> None:
    manager = CheckpointManager(run, CheckpointConfig(tag_best_checkpoints=on, keep_best_n_checkpoints=2))
    for step, loss in enumerate([0.5, 0.3, 0.4], 1):
        manager.save_checkpoint(WEIGHTS, state(step, loss=loss))
    tags = {c.step: c.tags for c in manager.list_checkpoints()}
    assert tags[2] == (("best", "best-1") if on else ())
    assert [c.step for c in manager.list_checkpoints(only_best=True)] == ([3, 2] if on else [])
    assert manager.load_checkpoint(load_best=True)["checkpoint"].step == 2


# Keeping


def test_the_documented_example_of_50_epochs_keeps_what_it_says(run: Run) -> None:
    """Regression: keep_best_n never worked; the best epochs 19 and 21 were lost."""
    manager = CheckpointManager(
        run,
        CheckpointConfig(
            save_every_n_epochs=1,
            save_on_best_metric="val_loss",
            keep_last_n_checkpoints=5,
            keep_best_n_checkpoints=3,
            keep_checkpoint_every_n_epochs=10,
        ),
    )
    for epoch in range(1, 51):
        manager.save_checkpoint(WEIGHTS, state(epoch * 10, epoch, val_loss=abs(epoch - 20) + epoch / 1000))
    kept = sorted(int(c.epoch or 0) for c in manager.list_checkpoints())
    assert kept == [10, 19, 20, 21, 30, 40, 46, 47, 48, 49, 50]
    best = manager.list_checkpoints(only_best=True)
    assert {t for c in best for t in c.tags if t.startswith("best-")} == {"best-1", "best-2", "best-3"}
    assert manager.load_checkpoint(load_best=True)["state"].epoch == 20
    assert len(Trash(run.paths.trash).entries()) == 39


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ({"keep_last_n_checkpoints": 1}, [6, 2]),
        ({"keep_best_n_checkpoints": 1}, [6, 2]),
        ({"keep_checkpoint_every_n_epochs": 3}, [6, 3, 2]),
        ({"keep_checkpoint_every_n_steps": 40}, [6, 4, 2]),
        ({}, [6, 5, 4, 3, 2, 1]),
    ],
)
def test_each_rule_works_alone_above_newest_and_best(run: Run, rule: dict[str, int], kept: list[int]) -> None:
    manager = CheckpointManager(run, CheckpointConfig(**rule))  # type: ignore[arg-type]
    for epoch, loss in enumerate([0.5, 0.1, 0.4, 0.3, 0.6, 0.7], 1):
        manager.save_checkpoint(WEIGHTS, state(epoch * 10, epoch, loss=loss))
    assert [c.epoch for c in manager.list_checkpoints()] == kept


def test_pins_tags_and_forks_stay_and_what_went_comes_back(run: Run) -> None:
    manager = CheckpointManager(run, CheckpointConfig(keep_last_n_checkpoints=1))
    for step in (1, 2, 3):
        manager.save_checkpoint(WEIGHTS, state(step, loss=step))
        if step == 2:
            run.pin("step:2")
    manager.save_checkpoint(WEIGHTS, state(4, loss=4))
    run.tag("step:4", "talk")
    Run.fork(run, "child", run.paths.directory.parent).close()
    for step in (5, 6, 7):
        manager.save_checkpoint(WEIGHTS, state(step, loss=step))
    assert steps(manager) == [7, 4, 2, 1]
    trash = Trash(run.paths.trash)
    entry = next(e for e in trash.entries() if e.checkpoint["step"] == 3)
    assert entry.reasons or entry.near_misses
    trash.restore(entry.id)
    assert manager.load_checkpoint("step:3")["state"].loss == 3.0


def test_the_trash_is_purged_when_it_is_due(run: Run) -> None:
    manager = CheckpointManager(run, CheckpointConfig(keep_last_n_checkpoints=1, keep_for=0))
    for step in range(1, 5):
        manager.save_checkpoint(WEIGHTS, state(step, loss=-step))
    assert steps(manager) == [4]
    assert len(Trash(run.paths.trash).entries()) <= 1


def test_pointers_stand_for_the_newest_and_the_best(run: Run) -> None:
    manager = CheckpointManager(run, CheckpointConfig(keep_last_n_checkpoints=1))
    for step, loss in ((1, 0.1), (2, 0.5), (3, 0.7)):
        saved = manager.save_checkpoint(WEIGHTS, state(step, loss=loss))
        assert saved is not None and saved.result().step == step
        assert torch.load(run.paths.latest, weights_only=True)["global_step"] == step
        assert torch.load(run.paths.best, weights_only=True)["global_step"] == 1
    assert os.readlink(run.paths.latest) == "step-000003.pt"


def test_the_same_step_twice_overwrites_nothing(run: Run) -> None:
    manager = CheckpointManager(run)
    handles = [manager.save_checkpoint({"w": torch.full((2,), float(i))}, state(10)) for i in range(3)]
    assert [os.path.basename(h) for h in handles if h] == ["step-000010.pt", "step-000010-2.pt", "step-000010-3.pt"]
    assert len({h.id for h in handles if h}) == 3
    assert [float(manager.load_checkpoint(h)["weights"]["w"][0]) for h in handles] == [0.0, 1.0, 2.0]
    assert manager.load_checkpoint("step:10")["path"].endswith("-3.pt")


def test_a_name_that_lies_in_the_trash_is_not_taken(run: Run) -> None:
    manager = CheckpointManager(run, CheckpointConfig(keep_last_n_checkpoints=1))
    manager.save_checkpoint(WEIGHTS, state(1, loss=9.0))
    manager.save_checkpoint(WEIGHTS, state(2, loss=1.0))
    assert steps(manager) == [2]
    again = manager.save_checkpoint(WEIGHTS, state(1, loss=9.0))
    assert os.path.basename(again) == "step-000001-2.pt"  # type: ignore[arg-type]
    trash = Trash(run.paths.trash)
    trash.restore(trash.entries()[0].id)


# The repository argument


def test_a_directory_is_made_a_run_and_opens_again(tmp_path: Path) -> None:
    """Regression: a repository that held a checkpoint could not be opened again."""
    where = tmp_path / "my run"
    manager = CheckpointManager(str(where), None, "net", "exp-1")
    assert json.loads((where / "run.json").read_text())["experiment_name"] == "exp-1"
    handle = manager.save_checkpoint(WEIGHTS, state(1))
    assert manager.run.training
    with pytest.raises(LockedError):
        CheckpointManager(where).save_checkpoint(WEIGHTS, state(2))
    reader = CheckpointManager(where)
    assert reader.get_checkpoint_info(handle).step == 1
    manager.run.close()
    assert CheckpointManager(where).save_checkpoint(WEIGHTS, state(2)) is not None
    assert json.loads((where / "run.json").read_text())["model_name"] == "net"


def test_the_config_of_the_last_time_applies_when_none_is_given(tmp_path: Path) -> None:
    with Run.create("exp", tmp_path) as run:
        CheckpointManager(run, CheckpointConfig(save_on_best_metric="acc", minimize_metric=False))
    with Run.resume("exp", tmp_path) as run:
        manager = CheckpointManager(run)
        assert manager.config.save_on_best_metric == "acc"
        assert manager.should_save_checkpoint(state(1, acc=0.5))
        CheckpointManager(run, CheckpointConfig(keep_last_n_checkpoints=2))
        assert json.loads(run.paths.manifest.read_text())["policy"]["keep_last"] == 2


def test_listing_is_newest_first_with_what_a_table_needs(run: Run) -> None:
    manager = CheckpointManager(run, CheckpointConfig(save_every_n_steps=1))
    for step in (1, 2):
        manager.save_checkpoint(WEIGHTS, state(step, 3, acc=0.5))
    first, second = manager.list_checkpoints()
    assert (first.global_step, second.global_step, first.epoch, first.loss) == (2, 1, 3, 0.5)
    assert (first.metrics, first.label, first.run) == ({"acc": 0.5}, "step", run.id)
    assert first.timestamp >= second.timestamp > datetime(2020, 1, 1, tzinfo=UTC)
    assert Path(first.path).is_file()
    assert manager.list_checkpoints(include_metrics=False)[0].metrics == {}


def test_other_ranks_decide_alike_and_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "2")
    with Run.create(base_dir=tmp_path) as run:
        manager = CheckpointManager(run, CheckpointConfig(save_every_n_epochs=1))
        fired: list[Any] = []
        manager.register_checkpoint_callback(lambda *a: fired.append(a))
        assert manager.should_save_checkpoint(state(1, 1))
        assert manager.save_checkpoint(WEIGHTS, state(1, 1)) is None
        assert not manager.should_save_checkpoint(state(2, 1))
        assert manager.list_checkpoints() == []
        assert fired == []
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_config_is_told(run: Run) -> None:
    with pytest.raises(StateError, match="config is a dict"):
        CheckpointManager(run, {"save_every_n_steps": 1})  # type: ignore[arg-type]
    with pytest.raises(StateError, match="state is a dict"):
        CheckpointManager(run).save_checkpoint(WEIGHTS, {"epoch": 1})  # type: ignore[arg-type]


def test_paths_of_the_run_are_not_littered(run: Run) -> None:
    manager = CheckpointManager(run, CheckpointConfig(keep_last_n_checkpoints=1))
    for step in range(1, 4):
        manager.save_checkpoint(WEIGHTS, state(step, loss=-step))
    manager.close()
    assert sorted(os.listdir(RunPaths(run.paths.directory).checkpoints)) == [
        "best.pt",
        "latest.pt",
        "step-000003.json",
        "step-000003.pt",
    ]
