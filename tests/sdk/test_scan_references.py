"""Several trainings in one directory: what each of them still needs is held."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ckpt import scan


def lightning(path: Path, epoch: int, age_s: float, **callback: Any) -> None:
    """A file as Lightning's `dump_checkpoint` lays it out, with the state of one ModelCheckpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    monitor, mode = callback.get("monitor"), callback.pop("mode", "min")
    key = f"ModelCheckpoint{{'monitor': {monitor!r}, 'mode': '{mode}', 'every_n_train_steps': 0}}"
    content = {
        "epoch": epoch,
        "global_step": 4 * (epoch + 1),
        "pytorch-lightning_version": "2.6.0",
        "state_dict": {"w": torch.full((2,), float(epoch))},
        "loops": {},
        "callbacks": {key: {"current_score": None, **callback}},
        "optimizer_states": [],
        "lr_schedulers": [],
    }
    torch.save(content, path)
    os.utime(path, (time.time() - age_s,) * 2)


def held(directory: Path) -> dict[str, tuple[str, ...]]:
    view = scan.read_run(directory)
    return {os.path.relpath(c.path, directory): c.held_by for c in view.checkpoints if c.held_by}


def test_every_fold_keeps_its_best(tmp_path: Path) -> None:
    for fold in range(3):
        path = tmp_path / f"fold{fold}-epoch=1.ckpt"
        score = torch.tensor(0.5)
        kept = {str(path): score}
        lightning(path, 1, 300 - fold, monitor="val_loss", best_model_path=str(path), best_k_models=kept)
    found = held(tmp_path)
    assert set(found) == {f"fold{fold}-epoch=1.ckpt" for fold in range(3)}
    for name, wordings in found.items():
        assert f"best_k_models of {name}" in wordings


def test_two_trainings_side_by_side_name_one_best_each(tmp_path: Path) -> None:
    for name, best in (("vit", 0), ("resnet", 1)):
        for epoch in range(3):
            path = tmp_path / f"{name}-epoch={epoch}.ckpt"
            told = str(tmp_path / f"{name}-epoch={min(best, epoch)}.ckpt")
            lightning(path, epoch, 300 - epoch, monitor="val_loss", best_model_path=told)
    assert held(tmp_path) == {
        "vit-epoch=0.ckpt": ("best_model_path of vit-epoch=2.ckpt",),
        "resnet-epoch=1.ckpt": ("best_model_path of resnet-epoch=2.ckpt",),
    }


def test_what_an_older_state_names_and_is_gone_is_no_problem(tmp_path: Path) -> None:
    gone = {str(tmp_path / "epoch=0.ckpt"): torch.tensor(0.5)}
    lightning(tmp_path / "epoch=1.ckpt", 1, 300, monitor="val_loss", best_k_models=gone)
    now = {str(tmp_path / "epoch=2.ckpt"): torch.tensor(0.4)}
    lightning(tmp_path / "epoch=2.ckpt", 2, 200, monitor="val_loss", best_k_models=now)
    assert held(tmp_path) == {"epoch=2.ckpt": ("best_k_models of epoch=2.ckpt",)}
    assert scan.read_run(tmp_path).run.problems == ()


def test_a_metric_with_a_slash_in_it_cuts_no_run_in_pieces(tmp_path: Path) -> None:
    """`ModelCheckpoint(filename="{epoch}-{val/acc:.2f}")` saves into directories that nobody asked for."""
    run = tmp_path / "lightning_logs" / "version_0"
    paths = [run / "checkpoints" / f"epoch={epoch}-val" / f"acc=0.{83 + epoch}.ckpt" for epoch in range(3)]
    for epoch, path in enumerate(paths):
        kept = {str(p): torch.tensor(0.8) for p in paths[: epoch + 1]}
        told = {"monitor": "val/acc", "mode": "max", "best_k_models": kept, "best_model_path": str(path)}
        lightning(path, epoch, 300 - epoch, **told)
    (run / "checkpoints" / "epoch=7-val").mkdir()
    assert scan.find_runs(tmp_path) == [run]
    view = scan.read_run(run)
    assert [(c.epoch, c.metrics["val/acc"], "acc" in c.metrics) for c in view.checkpoints] == [
        (2, 0.85, False),
        (1, 0.84, False),
        (0, 0.83, False),
    ]
    assert len(held(run)) == 3 and view.run.problems == ()
    assert scan.run_of(paths[1]) == (run, paths[1])
    assert scan.survey(tmp_path, below=paths[0].parent).runs == (str(run),)


def trainer(directory: Path, step: int, age_s: float, best: int) -> None:
    """A directory as the Trainer of transformers lays it out."""
    directory.mkdir(parents=True)
    save_file({"w": torch.full((8,), float(step))}, directory / "model.safetensors")
    (directory / "config.json").write_text("{}")
    torch.save({"state": {}, "param_groups": []}, directory / "optimizer.pt")
    named = str(directory.parent / f"checkpoint-{best}")
    state = {"global_step": step, "epoch": 1.0, "log_history": [], "best_model_checkpoint": named}
    (directory / "trainer_state.json").write_text(json.dumps(state))
    for path in directory.iterdir():
        os.utime(path, (time.time() - age_s,) * 2)


def test_a_training_that_went_back_keeps_its_best_beside_higher_steps(tmp_path: Path) -> None:
    """The one that runs is the one that wrote last, though another goes on from the highest number."""
    for step, age_s, best in ((2, 500, 2), (8, 400, 8), (4, 200, 4), (6, 100, 4)):
        trainer(tmp_path / f"checkpoint-{step}", step, age_s, best)
    assert held(tmp_path) == {
        "checkpoint-8": ("best_model_checkpoint of checkpoint-8",),
        "checkpoint-4": ("best_model_checkpoint of checkpoint-6",),
    }
    assert scan.read_run(tmp_path).run.problems == ()


def test_a_stale_pointer_does_not_hide_the_state_that_was_written_last(tmp_path: Path) -> None:
    for epoch in range(3):
        best = str(tmp_path / f"epoch={min(epoch, 1)}.ckpt")
        lightning(tmp_path / f"epoch={epoch}.ckpt", epoch, 300 - epoch, monitor="val_loss", best_model_path=best)
    (tmp_path / "latest").write_text("epoch=0.ckpt")
    assert held(tmp_path) == {
        "epoch=0.ckpt": ("named by latest", "best_model_path of epoch=0.ckpt"),
        "epoch=1.ckpt": ("best_model_path of epoch=2.ckpt",),
    }


def test_a_job_that_is_requeued_goes_on_from_the_highest_of_its_saves(tmp_path: Path) -> None:
    """As Lightning chooses on a cluster, whatever was saved later."""
    for number, epoch in ((2, 2), (10, 5), (9, 4)):
        lightning(tmp_path / f"hpc_ckpt_{number}.ckpt", epoch, 500 - epoch, monitor=None)
    lightning(tmp_path / "epoch=7.ckpt", 7, 100, monitor=None)
    assert held(tmp_path) == {"hpc_ckpt_10.ckpt": ("where a requeued job goes on",)}
    assert scan.read_run(tmp_path).checkpoints[0].epoch == 7


def test_what_a_newer_state_names_is_of_the_same_training(tmp_path: Path) -> None:
    """Two callbacks of one training give their files different names; the older file's word is out of date."""
    each = [tmp_path / f"each-epoch={epoch}.ckpt" for epoch in range(4)]
    top = tmp_path / "top-epoch=2.ckpt"
    best = {str(top): torch.tensor(0.5)}
    lightning(each[1], 1, 300, monitor="val_loss", best_k_models={}, best_model_path=str(each[1]))
    lightning(top, 2, 200, monitor="val_loss", best_k_models=best, best_model_path=str(each[1]))
    lightning(each[2], 2, 190, monitor="val_loss", best_k_models=best, best_model_path=str(each[2]))
    lightning(each[3], 3, 100, monitor="val_loss", best_k_models=best, best_model_path=str(each[3]))
    assert held(tmp_path) == {
        "each-epoch=3.ckpt": ("best_model_path of each-epoch=3.ckpt",),
        "top-epoch=2.ckpt": ("best_k_models of each-epoch=3.ckpt",),
    }


def series(directory: Path, k: int, scores: list[float], *, name: str = "epoch", then: int | None = None) -> None:
    """What a ModelCheckpoint with `save_top_k=k` leaves: its arithmetic as in lightning 2.6, and its removals.

    After two saves the training is resumed with `then`, where that is given.
    """
    kept: dict[str, Any] = {}
    kth = ""
    for epoch, score in enumerate(scores):
        if then is not None and epoch == 2:
            k = then
        most = len(kept) + 1 if k == -1 else k
        path = directory / f"{name}={epoch}.ckpt"
        gone = None
        if len(kept) == most:
            if score >= float(kept[kth]):
                continue
            gone = kth
            kept.pop(gone)
        kept[str(path)] = torch.tensor(score)
        if len(kept) == most:
            kth = max(kept, key=lambda kept_path: float(kept[kept_path]))
        best = min(kept, key=lambda kept_path: float(kept[kept_path]))
        told = {"best_k_models": kept, "kth_best_model_path": kth, "best_model_path": best}
        lightning(path, epoch, 900 - epoch, monitor="val_loss", **told)
        if gone is not None:
            Path(gone).unlink()


@pytest.mark.parametrize("scores", [[5, 4, 6, 3, 7], [5, 4, 3, 2, 1], [1, 2, 3, 4, 5], [1, 1, 1]])
def test_a_list_without_a_bound_holds_the_best_alone(tmp_path: Path, scores: list[float]) -> None:
    """With `save_top_k=-1` the list of every state is full, however long: Lightning never removes anything of it."""
    series(tmp_path, -1, scores)
    best, newest = scores.index(min(scores)), len(scores) - 1
    assert held(tmp_path) == {f"epoch={best}.ckpt": (f"best_model_path of epoch={newest}.ckpt",)}


@pytest.mark.parametrize("k", [1, 2, 3, 9])
@pytest.mark.parametrize("scores", [[5, 4, 6, 3, 7], [5, 4, 3, 2, 1], [1, 2, 3, 4, 5]])
def test_a_list_with_a_bound_holds_all_of_it(tmp_path: Path, k: int, scores: list[float]) -> None:
    series(tmp_path, k, scores)
    assert len(held(tmp_path)) == min(k, len(scores)) == len(os.listdir(tmp_path))


def test_one_state_alone_proves_nothing(tmp_path: Path) -> None:
    series(tmp_path, -1, [5, 4, 3])
    for epoch in range(2):
        os.truncate(tmp_path / f"epoch={epoch}.ckpt", 0)
    view = scan.read_run(tmp_path)
    assert [c.held_by for c in view.checkpoints if c.epoch == 2] == [
        ("best_model_path of epoch=2.ckpt", "best_k_models of epoch=2.ckpt")
    ]
    (tmp_path / "epoch=1.ckpt").unlink()
    lightning(tmp_path / "epoch=1.ckpt", 1, 600, monitor="val_loss")
    assert "best_k_models of epoch=2.ckpt" in held(tmp_path)["epoch=1.ckpt"]


def test_a_training_resumed_with_a_higher_number_still_has_a_bound(tmp_path: Path) -> None:
    """The path of the shorter list's worst is of no list that is full."""
    series(tmp_path, 2, [5, 4, 3, 2], then=5)
    assert set(held(tmp_path)) == set(os.listdir(tmp_path)) == {f"epoch={epoch}.ckpt" for epoch in range(4)}
    series(tmp_path / "one", 1, [5, 6, 7, 8], then=5)
    assert set(held(tmp_path / "one")) == set(os.listdir(tmp_path / "one"))
    # Here all lists look full, and each has all of the shorter ones: but the first is not that of the first save.
    series(tmp_path / "falling", 1, [5, 4, 3, 2], then=5)
    assert set(held(tmp_path / "falling")) == {f"epoch={epoch}.ckpt" for epoch in (1, 2, 3)}


def test_each_training_of_a_directory_is_judged_by_its_own_lists(tmp_path: Path) -> None:
    series(tmp_path, -1, [5, 4, 6], name="all-epoch")
    series(tmp_path, 3, [5, 4, 6, 3], name="top-epoch")
    assert set(held(tmp_path)) == {"all-epoch=1.ckpt", *(f"top-epoch={epoch}.ckpt" for epoch in (0, 1, 3))}
