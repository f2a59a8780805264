"""Epoch, step, loss, metrics, configuration and resume states, as trainings really write them."""

from __future__ import annotations

import json
import math
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ckpt.formats import Inspection, inspect, inspection_to_json
from ckpt.formats.meanings.roles import role

torch.set_num_threads(1)


def saved(path: Path, **content: Any) -> Inspection:
    torch.save(content, path)
    found = inspect(path)
    assert found.state == "complete", found.problems
    return found


def model_and_optimizer() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def envelope() -> dict[str, Any]:
    model, optimizer = model_and_optimizer()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)
    return {
        "format_version": 1,
        "is_multi_dataloader_only": True,
        "save_timestamp": 1700000000.5,
        "epoch": 2,
        "global_step": 1200,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dicts": [optimizer.state_dict()],
        "scheduler_state_dicts": [scheduler.state_dict()],
        "amp_scaler_state": None,
        "rng_states": {
            "python_random": random.getstate(),
            "numpy_random": {"key": torch.zeros(624, dtype=torch.int64), "pos": 3},
            "torch_cpu": torch.get_rng_state(),
            "torch_cuda": None,
        },
        "dataloader_manager_state": None,
        "choice_rng_state": None,
        "resume_state": {"epoch": 2, "global_step": 1200, "loss": 0.75},
        "metrics_history": {"val_loss": [1.0, 0.5]},
        "config_snapshot": {"lr": 0.02, "layers": [1, 2]},
        "metrics": {"val_loss": 0.5, "accuracy": np.float64(0.9), "nan": math.nan, "groups": {"a": 1}},
        "model_config": {"hidden": 3},
    }


def test_our_own_envelope(tmp_path: Path) -> None:
    found = saved(tmp_path / "a.pt", **envelope())
    assert found.framework == "ckpt"
    assert (found.epoch, found.step, found.loss, found.saved_at) == (2, 1200, 0.75, 1700000000.5)
    assert found.learning_rate == 0.02
    assert math.isnan(found.metrics["nan"])
    assert {name: value for name, value in found.metrics.items() if name != "nan"} == {
        "val_loss": 0.5,
        "accuracy": 0.9,
        "groups.a": 1.0,
    }
    assert found.config == {"lr": 0.02, "layers": [1, 2], "model_config": {"hidden": 3}}
    assert found.resume == {
        "model": True,
        "optimizer": True,
        "scheduler": True,
        "scaler": False,
        "rng": {"python": True, "numpy": True, "torch": True, "cuda": False, "ranks": 1},
        "data": False,
        "topology": {},
    }
    assert found.parameter_count == 8
    names = [info.name for info in found.tensors]
    assert names[:2] == ["model_state_dict.weight", "model_state_dict.bias"]
    assert "optimizer_state_dicts.0.state.0.exp_avg" in names and "rng_states.torch_cpu" in names


def test_an_envelope_with_everything(tmp_path: Path) -> None:
    content = envelope()
    content["amp_scaler_state"] = {"scale": 65536.0}
    content["dataloader_manager_state"] = {"train_iterator_state": {"schedule_position": 3}}
    content["rng_states"]["torch_cuda"] = [torch.zeros(16, dtype=torch.uint8)]
    found = saved(tmp_path / "a.pt", **content)
    assert found.resume["scaler"] and found.resume["data"] and found.resume["rng"]["cuda"]


def test_an_envelope_without_one_of_its_keys_is_a_plain_file(tmp_path: Path) -> None:
    content = envelope()
    del content["resume_state"]
    assert saved(tmp_path / "a.pt", **content).framework == "torch"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"epoch": 3, "step": 7, "loss": 0.5}, {"epoch": 3, "step": 7, "loss": 0.5}),
        ({"global_step": 9, "step": 7}, {"step": 9}),
        ({"iter_num": 2000, "best_val_loss": torch.tensor(1.5)}, {"step": 2000, "metrics": {"best_val_loss": 1.5}}),
        ({"iteration": np.int64(5), "train_loss": np.float32(0.25)}, {"step": 5, "loss": 0.25}),
        ({"epoch": 1.5, "loss": torch.tensor(0.5, dtype=torch.bfloat16)}, {"epoch": 1.5, "loss": 0.5}),
        ({"loss": torch.tensor(0.5, dtype=torch.float16)}, {"loss": 0.5}),
        ({"loss": torch.tensor([0.5], dtype=torch.float64)}, {"loss": 0.5}),
        ({"step": torch.tensor(12)}, {"step": 12}),
        ({"step": 3.0}, {"step": 3}),
        ({"epochs": 100}, {"epoch": None}),
        ({"epoch": 3, "epochs": 100}, {"epoch": 3}),
        ({"step": 3.5}, {"step": None}),
        ({"step": math.inf, "epoch": True}, {"step": None, "epoch": None}),
        ({"step": 1 << 70}, {"step": None}),
        ({"epoch": "7", "loss": torch.zeros(3)}, {"epoch": None, "loss": None}),
        (
            {"val_acc": 0.5, "top1": 3, "lr": 0.1, "note": "x"},
            {"metrics": {"val_acc": 0.5, "top1": 3.0}, "learning_rate": 0.1},
        ),
        ({"args": {"lr": 1}, "config": {"b": 2}}, {"config": {"b": 2, "args": {"lr": 1}}}),
        ({"save_timestamp": 5.0}, {"saved_at": 5.0}),
        ({}, {"epoch": None, "step": None, "loss": None, "metrics": {}, "config": {}}),
    ],
)
def test_plain_files(tmp_path: Path, content: dict[str, Any], expected: dict[str, Any]) -> None:
    found = saved(tmp_path / "a.pt", **content)
    assert found.framework == "torch"
    assert {name: getattr(found, name) for name in expected} == expected


def test_the_learning_rate_is_that_of_the_first_optimizer(tmp_path: Path) -> None:
    _, optimizer = model_and_optimizer()
    state = optimizer.state_dict()
    path = tmp_path / "a.pt"
    for content in ({"optimizer": state}, {"optimizer_states": [state]}, {"optimizers": {"g": state}}):
        assert saved(path, **content).learning_rate == 0.02
    state["param_groups"][0]["lr"] = torch.tensor(0.5)
    assert saved(path, optimizer=state).learning_rate == 0.5


def test_lightning_is_a_row_of_the_table(tmp_path: Path) -> None:
    model, optimizer = model_and_optimizer()
    content = {
        "epoch": 1,
        "global_step": 8,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": model.state_dict(),
        "loops": {"fit_loop": {}},
        "callbacks": {
            "ModelCheckpoint{'monitor': 'val_loss'}": {
                "monitor": "val_loss",
                "current_score": torch.tensor(0.25),
                "best_k_models": {},
            }
        },
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"width": 3},
    }
    found = saved(tmp_path / "last.ckpt", **content)
    assert (found.framework, found.epoch, found.step, found.config) == ("lightning", 1, 8, {"width": 3})
    assert found.metrics == {"val_loss": 0.25}
    assert found.parameter_count == 8
    assert found.resume["optimizer"] and not found.resume["scheduler"]


def test_json_follows_the_contract(tmp_path: Path) -> None:
    content = {"epoch": 1, "loss": math.inf, "metrics": {"a": math.nan, "b": 1.0}, "config": {"x": [-math.inf, 1]}}
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.pt"))
    with open(path, "wb") as stream:
        torch.save({**content, "w": torch.zeros(2)}, stream)
    shown = json.loads(json.dumps(inspection_to_json(inspect(path)), allow_nan=False))
    assert shown["path"].endswith("bad\\xff.pt") and "path_b64" in shown
    assert shown["metrics"] == {"a": None, "b": 1.0} and shown["config"] == {"x": [None, 1]}
    assert set(shown["nonfinite"]) == {"a", "loss", "config.x.0"}
    assert shown["tensors"] == [{"name": "w", "shape": [2], "dtype": "float32", "bytes": 8}]
    assert {"path", "framework", "format", "state", "step", "epoch", "metrics", "nonfinite", "config"} <= set(shown)
    assert {"parameter_count", "tensor_count", "bytes", "bytes_read", "resume", "problems"} <= set(shown)
    assert shown["unknown_globals"] == []


def test_a_configuration_is_bounded(tmp_path: Path) -> None:
    found = saved(tmp_path / "a.pt", config={"list": list(range(100_000)), "text": "x" * 100_000})
    assert len(json.dumps(found.config)) < 500_000
    nested: Any = 1
    for _ in range(100):
        nested = [nested]
    assert "…" in json.dumps(saved(tmp_path / "a.pt", config={"deep": nested}).config, ensure_ascii=False)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("model_state_dict", "model"),
        ("state_dict", "model"),
        ("net", "model"),
        ("generator", "model"),
        ("model_config", "other"),
        ("hparams_name", "other"),
        ("optimizer_state_dicts", "optimizer"),
        ("opt", "optimizer"),
        ("opt_G", "optimizer"),
        ("options", "other"),
        ("lr_scheduler", "scheduler"),
        ("amp_scaler_state", "scaler"),
        ("MixedPrecision", "scaler"),
        ("rng_states", "rng"),
        ("choice_rng_state", "rng"),
        ("dataloader_manager_state", "data"),
        ("state_dict_ema", "ema"),
        ("epoch", "other"),
        (3, "other"),
    ],
)
def test_roles_of_keys(key: Any, expected: str) -> None:
    assert role(key) == expected


@pytest.mark.parametrize("name", ["checkpoint-40.pth", "checkpoint_0040.pth", "ckpt_40.pt"])
def test_a_bare_number_is_no_step_where_the_content_counts_epochs(tmp_path: Path, name: str) -> None:
    found = saved(tmp_path / name, epoch=40, model={"w": torch.ones(2)})
    assert (found.epoch, found.step, found.from_name) == (40, None, ())
    found = saved(tmp_path / name, model={"w": torch.ones(2)})
    assert (found.epoch, found.step, found.from_name) == (None, 40, ("step",))


def test_settings_are_no_metrics(tmp_path: Path) -> None:
    settings = {
        "best_epoch": 3, "best_step": 7, "best_val_epoch": 2, "precision": 32, "loss_weight": 0.5, "kl_weight": 0.1,
        "loss_scale": 65536.0, "eval_every": 100, "val_freq": 5, "num_eval_samples": 9, "n_val": 3,
        "max_eval_batches": 4, "min_lr": 1e-6, "eval_batch_size": 8, "val_split": 0.1, "eval_steps": 500,
    }  # fmt: skip
    metrics = {
        "best_loss": 0.5, "max_accuracy": 0.9, "min_val_loss": 0.25, "train_loss_epoch": 0.5, "val_acc_step": 0.75,
        "best_acc1": 71.0, "recall": 0.5, "val_precision": 0.5,
    }  # fmt: skip
    assert saved(tmp_path / "a.pt", **settings, **metrics).metrics == metrics
    assert saved(tmp_path / "b.pt", precision=0.75).metrics == {"precision": 0.75}


def test_few_numbers_are_fetched_from_tensors(tmp_path: Path) -> None:
    torch.save({"metrics": {f"m{index}": torch.tensor(float(index)) for index in range(300)}}, tmp_path / "a.pt")
    found = inspect(tmp_path / "a.pt")
    assert found.state == "complete" and found.metrics == {f"m{index}": float(index) for index in range(256)}
