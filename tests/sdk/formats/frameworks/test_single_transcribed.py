"""Single files of frameworks that are not installed here, written as their own save code writes them.

Each builder names the source that it is transcribed from, and its version.
"""

from __future__ import annotations

import datetime
import random
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from ckpt.formats import Inspection, inspect

torch.set_num_threads(1)


def training() -> tuple[torch.nn.Module, torch.optim.Optimizer, Any]:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 10)


def composer() -> dict[str, Any]:
    """Composer 0.32.1: utils/checkpoint.py `_save_checkpoint`, core/state.py, core/time.py, reproducibility.py."""
    model, optimizer, scheduler = training()
    rng = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
    }
    counts = {"iteration": 0, "epoch": 1, "batch": 20, "sample": 640, "token": 0, "batch_in_epoch": 4}
    passed = dict.fromkeys(("total_wct", "iteration_wct", "epoch_wct", "batch_wct"), datetime.timedelta(seconds=3))
    metric = {"state_dict": {}, "_computed": torch.tensor(0.75)}
    return {
        "state": {
            "model": model.state_dict(),
            "optimizers": {"Adam": optimizer.state_dict()},
            "schedulers": {"StepLR": scheduler.state_dict()},
            "algorithms": [],
            "callbacks": {"CheckpointSaver": {"all_saved_checkpoints_to_timestamp": [("ep1-ba20-rank0.pt", counts)]}},
            "timestamp": {"Timestamp": {**counts, **passed}},
            "rank_zero_seed": 17,
            "train_metrics": {"CrossEntropy": {"state_dict": {}, "_computed": torch.tensor(1.5)}},
            "eval_metrics": {"eval": {"MulticlassAccuracy": metric}},
            "run_name": "quiet-fox",
            "dataset_state": {"train": None, "eval": {}},
            "integrations": {},
            "metadata": {
                "composer_env_info": {"composer_version": "0.32.1"},
                "torch_version": "2.6.0",
                "device": "cpu",
                "precision": "fp32",
                "world_size": 2,
                "device_train_microbatch_size": 8,
            },
        },
        "rng": [rng, rng],
    }


def timm() -> dict[str, Any]:
    """timm 1.0.31: utils/checkpoint_saver.py `CheckpointSaver._save`, with a scaler and averages."""
    model, optimizer, _ = training()
    return {
        "epoch": 7,
        "arch": "resnet18",
        "optimizer": optimizer.state_dict(),
        "version": 2,
        "args": Namespace(model="resnet18", eval_metric="top1", lr=0.02, world_size=4),
        "amp_scaler": {"scale": 65536.0},
        "state_dict": model.state_dict(),
        "state_dict_ema": model.state_dict(),
        "metric": 71.5,
        "saver": {"checkpoint_files": [], "best_epoch": None, "best_metric": None, "pending": (7, 71.5)},
    }


def ultralytics() -> dict[str, Any]:
    """Ultralytics 8.4.190: engine/trainer.py `save_model`: weights only as a pickled module of averages."""
    model, optimizer, _ = training()
    return {
        "epoch": 4,
        "best_fitness": np.float64(0.5),
        "stopper": {"best_fitness": 0.5, "best_epoch": 4},
        "model": None,
        "ema": model.half(),
        "updates": 12,
        "modelopt": None,
        "optimizer": optimizer.state_dict(),
        "scaler": {"scale": 1.0},
        "train_args": {"imgsz": 64, "lr0": 0.01},
        "train_metrics": {"metrics/mAP50(B)": 0.4, "val/box_loss": 1.25, "fitness": 0.45},
        "train_results": {"epoch": [1, 2, 3, 4, 5]},
        "date": "2026-01-02T03:04:05+00:00",
        "version": "8.4.190",
        "git": {"root": "/home/user/project", "branch": "main", "commit": "0a1b", "message": "text", "origin": "None"},
        "license": "AGPL-3.0",
        "docs": "",
    }


def fairseq() -> dict[str, Any]:
    """fairseq 0.12.2: trainer.py `state_dict`, checkpoint_utils.py `save_checkpoint`: at the end of the third epoch."""
    model, optimizer, scheduler = training()
    return {
        "args": None,
        "cfg": {
            "checkpoint": {"best_checkpoint_metric": "bleu", "maximize_best_checkpoint_metric": True},
            "distributed_training": {"distributed_world_size": 8},
        },
        "model": model.state_dict(),
        "criterion": None,
        "optimizer_history": [
            {"criterion_name": "CrossEntropyCriterion", "num_updates": 10},
            {
                "criterion_name": "CrossEntropyCriterion",
                "optimizer_name": "FairseqAdam",
                "lr_scheduler_state": scheduler.state_dict(),
                "num_updates": 1500,
            },
        ],
        "task_state": {},
        "extra_state": {
            "metrics": {"default": [], "train": []},
            "previous_training_time": 1.0,
            "train_iterator": {"version": 2, "epoch": 4, "iterations_in_epoch": 0, "shuffle": True},
            "val_loss": 27.5,
            "best": 28.0,
        },
        "last_optimizer_state": optimizer.state_dict(),
    }


def nanogpt() -> dict[str, Any]:
    """karpathy/nanoGPT at e222131: train.py."""
    model, optimizer, _ = training()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "model_args": {"n_layer": 2},
        "iter_num": 2000,
        "best_val_loss": torch.tensor(1.5),
        "config": {"learning_rate": 0.02},
    }


def nnunet() -> dict[str, Any]:
    """nnU-Net 2.8.1: training/nnUNetTrainer/nnUNetTrainer.py `save_checkpoint`, training/logging/nnunet_logger.py."""
    model, optimizer, _ = training()
    return {
        "network_weights": model.state_dict(),
        "optimizer_state": optimizer.state_dict(),
        "grad_scaler_state": None,
        "logging": {
            "mean_fg_dice": [0.1, 0.2],
            "ema_fg_dice": [0.1, np.float64(0.125)],
            "dice_per_class_or_region": [[0.1], [np.float64(0.2)]],
            "train_losses": [0.5, np.float32(0.25)],
            "val_losses": [0.75, 0.5],
            "lrs": [0.01, 0.009],
            "epoch_start_timestamps": [1.7e9 - 60, 1.7e9],
            "epoch_end_timestamps": [1.7e9, 1.7e9 + 60],
        },
        "_best_ema": 0.125,
        "current_epoch": 2,
        "init_args": {"fold": 0},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1),
    }


def torchtune() -> dict[str, Any]:
    """torchtune 0.6.1: `recipe_state.pt` of recipes/ppo_full_finetune_single_device.py."""
    _, optimizer, _ = training()
    return {
        "seed": 5,
        "epochs_run": 2,
        "total_epochs": 4,
        "max_steps_per_epoch": 600,
        "steps_run": 120,
        "rng_state": torch.get_rng_state(),
        "optimizer": optimizer.state_dict(),
    }


def deepspeed() -> dict[str, Any]:
    """deepspeed/runtime/engine.py `_save_checkpoint`: `mp_rank_00_model_states.pt`, alone."""
    model, optimizer, scheduler = training()
    return {
        "module": model.state_dict(),
        "buffer_names": [],
        "optimizer": optimizer.state_dict(),
        "param_shapes": [{"weight": torch.Size([2, 3])}],
        "lr_scheduler": scheduler.state_dict(),
        "data_sampler": None,
        "skipped_steps": 0,
        "global_steps": 500,
        "global_samples": 8000,
        "dp_world_size": 4,
        "mp_world_size": 2,
        "ds_config": {"train_batch_size": 16},
        "ds_version": "0.16.0",
        "epoch": 1,
        "val_loss": 0.5,
    }


def megatron() -> dict[str, Any]:
    """NVIDIA/Megatron-LM at 0032978: training/checkpointing.py `generate_state_dict`: `model_optim_rng.pt`, alone."""
    model, optimizer, _ = training()
    sizes = {"world_size": 8, "tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2}
    state = {
        "random_rng_state": random.getstate(),
        "np_rng_state": np.random.get_state(),
        "torch_rng_state": torch.get_rng_state(),
        "cuda_rng_state": torch.zeros(16, dtype=torch.uint8),
        "rng_tracker_states": {"model-parallel-rng": torch.zeros(16, dtype=torch.uint8)},
    }
    return {
        "args": Namespace(**sizes, data_parallel_size=2, lr=0.02),
        "checkpoint_version": 3.0,
        "iteration": 100,
        "model": model.state_dict(),
        "optimizer": {"optimizer": optimizer.state_dict()},
        "opt_param_scheduler": {"max_lr": 0.02, "num_steps": 100},
        "rerun_state_machine": {"mode": "disabled", "sharded": {}},
        "rng_state": [state],
        "num_floating_point_operations_so_far": 1e12,
    }


def nemo() -> dict[str, Any]:
    """NeMo 1 through Lightning: core/classes/modelPT.py, still so in 3.0.0, keeps its configuration under `cfg`."""
    model, optimizer, _ = training()
    return {
        "epoch": 0,
        "global_step": 100,
        "pytorch-lightning_version": "2.0.7",
        "state_dict": model.state_dict(),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hparams_name": "cfg",
        "hyper_parameters": OmegaConf.create({"cfg": {"nemo_version": "1.23.0", "target": "nemo.x.GPT"}}),
        "hparams_type": DictConfig,
    }


def detectron() -> dict[str, Any]:
    """facebookresearch/detectron2 at 056c4c7: engine/train_loop.py `state_dict`, in fvcore's file as `trainer`."""
    model, optimizer, _ = training()
    trainer = {"iteration": 999, "hooks": {"LRScheduler": {"last_epoch": 1000}}}
    return {
        "model": model.state_dict(),
        "trainer": {**trainer, "_trainer": {"iteration": 999, "optimizer": optimizer.state_dict()}},
        "iteration": 999,
    }


MOMENT = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC).timestamp()
STATES = {"model", "optimizer", "scheduler", "scaler", "data"}

CASES: list[tuple[Callable[[], dict[str, Any]], str, dict[str, Any], set[str], dict[str, int]]] = [
    (
        composer,
        "composer",
        {
            "epoch": 1,
            "step": 20,
            "learning_rate": 0.02,
            "metrics": {"metrics/train/CrossEntropy": 1.5, "metrics/eval/MulticlassAccuracy": 0.75},
        },
        {"model", "optimizer", "scheduler", "data"},
        {"world_size": 2},
    ),
    (
        timm,
        "timm",
        {"epoch": 7, "step": None, "metrics": {"metric": 71.5}, "monitor": "metric", "mode": "max"},
        {"model", "optimizer", "scaler"},
        {"world_size": 4},
    ),
    (
        ultralytics,
        "ultralytics",
        {
            "epoch": 4,
            "saved_at": MOMENT,
            "monitor": "fitness",
            "mode": "max",
            "config": {"imgsz": 64, "lr0": 0.01},
            "metrics": {"metrics/mAP50(B)": 0.4, "val/box_loss": 1.25, "fitness": 0.45, "best_fitness": 0.5},
        },
        {"model", "optimizer", "scaler"},
        {},
    ),
    (
        fairseq,
        "fairseq",
        {
            "epoch": 3,
            "step": 1500,
            "learning_rate": 0.02,
            "monitor": "val_loss",
            "mode": "max",
            "metrics": {"val_loss": 27.5, "best": 28.0},
        },
        {"model", "optimizer", "scheduler", "data"},
        {"world_size": 8},
    ),
    (
        nanogpt,
        "nanogpt",
        {"epoch": None, "step": 2000, "metrics": {"best_val_loss": 1.5}, "monitor": "best_val_loss", "mode": "min"},
        {"model", "optimizer"},
        {},
    ),
    (
        nnunet,
        "nnunet",
        {
            "epoch": 2,
            "loss": 0.25,
            "saved_at": 1.7e9 + 60,
            "monitor": "ema_fg_dice",
            "mode": "max",
            "metrics": {
                "train_loss": 0.25,
                "val_loss": 0.5,
                "mean_fg_dice": 0.2,
                "ema_fg_dice": 0.125,
                "_best_ema": 0.125,
            },
        },
        {"model", "optimizer"},
        {},
    ),
    (torchtune, "torchtune", {"epoch": 2, "step": 120}, {"optimizer"}, {}),
    (
        deepspeed,
        "deepspeed",
        {"epoch": 1, "step": 500, "learning_rate": 0.02, "metrics": {"val_loss": 0.5}},
        {"model", "optimizer", "scheduler"},
        {"world_size": 8, "data_parallel": 4, "tensor_parallel": 2},
    ),
    (
        megatron,
        "megatron",
        {"epoch": None, "step": 100, "learning_rate": 0.02},
        {"model", "optimizer", "scheduler"},
        {"world_size": 8, "tensor_parallel": 2, "pipeline_parallel": 2, "data_parallel": 2},
    ),
    (nemo, "nemo", {"epoch": 0, "step": 100}, {"model", "optimizer", "data"}, {}),
    (detectron, "fvcore", {"step": 999, "learning_rate": 0.02}, {"model", "optimizer", "scheduler"}, {}),
]


@pytest.mark.parametrize(
    ("build", "framework", "facts", "states", "topology"), CASES, ids=[c[0].__name__ for c in CASES]
)
def test_a_file_as_the_framework_writes_it(
    tmp_path: Path,
    build: Callable[[], dict[str, Any]],
    framework: str,
    facts: dict[str, Any],
    states: set[str],
    topology: dict[str, int],
) -> None:
    torch.save(build(), tmp_path / "a.pt")
    found = inspect(tmp_path / "a.pt")
    assert (found.framework, found.state, found.from_name) == (framework, "complete", ())
    assert {name: getattr(found, name) for name in facts} == facts
    assert {name for name in STATES if found.resume[name]} == states
    assert found.resume["topology"] == topology
    if "model" in states:
        assert found.parameter_count == 8


def saved(path: Path, content: Any) -> Inspection:
    torch.save(content, path)
    return inspect(path)


def test_composers_weights_alone_have_no_time(tmp_path: Path) -> None:
    state = composer()["state"]
    found = saved(tmp_path / "a.pt", {"state": {key: state[key] for key in ("model", "integrations", "metadata")}})
    assert (found.framework, found.epoch, found.step, found.parameter_count) == ("composer", None, None, 8)
    assert found.resume["model"] and not found.resume["data"] and found.resume["topology"] == {"world_size": 2}


def test_fairseq_within_an_epoch(tmp_path: Path) -> None:
    content = fairseq()
    content["extra_state"]["train_iterator"] |= {"epoch": 3, "iterations_in_epoch": 7}
    found = saved(tmp_path / "checkpoint_3_1500.pt", content)
    assert (found.epoch, found.step) == (3, 1500)


def test_detectrons_loop_may_be_saved_by_itself_and_with_a_scaler(tmp_path: Path) -> None:
    content = detectron()
    inner = content["trainer"].pop("_trainer")
    content["trainer"] |= {"optimizer": inner["optimizer"], "grad_scaler": {"scale": 65536.0}}
    found = saved(tmp_path / "model_0000999.pth", content)
    assert (found.framework, found.step, found.learning_rate) == ("fvcore", 999, 0.02)
    assert found.resume["optimizer"] and found.resume["scheduler"] and found.resume["scaler"]


def test_a_recipe_of_torchtune_without_a_bound_on_steps(tmp_path: Path) -> None:
    content = {key: value for key, value in torchtune().items() if key not in ("max_steps_per_epoch", "steps_run")}
    found = saved(tmp_path / "recipe_state.pt", content)
    assert (found.framework, found.epoch, found.step) == ("torchtune", 2, None)


def test_generators_of_every_rank(tmp_path: Path) -> None:
    rng = saved(tmp_path / "a.pt", composer()).resume["rng"]
    assert rng == {"python": True, "numpy": True, "torch": True, "cuda": False, "ranks": 2}
    rng = saved(tmp_path / "a.pt", megatron()).resume["rng"]
    assert rng == {"python": True, "numpy": True, "torch": True, "cuda": True, "ranks": 1}


def test_a_stripped_file_of_ultralytics_has_no_epoch(tmp_path: Path) -> None:
    """As utils/torch_utils.py `strip_optimizer` leaves it: the averages become the model."""
    content = ultralytics()
    content["model"] = content["ema"]
    content |= dict.fromkeys(("optimizer", "best_fitness", "stopper", "ema", "updates", "scaler"))
    found = saved(tmp_path / "best.pt", {**content, "epoch": -1})
    assert (found.framework, found.epoch, found.resume["optimizer"]) == ("ultralytics", None, False)
    assert found.resume["model"] and found.parameter_count == 8 and found.metrics["fitness"] == 0.45


@pytest.mark.parametrize(
    ("ranks", "mode"),
    [((71.5, 71.0), "max"), ((0.5, 0.75, None), "min"), ((71.5,), "max"), ((), "max"), ((None,), "max")],
)
def test_timms_saver_names_what_it_keeps_from_better_to_worse(
    tmp_path: Path, ranks: tuple[float | None, ...], mode: str
) -> None:
    kept = [(f"checkpoint-{number}.pth.tar", rank) for number, rank in enumerate(ranks)]
    found = saved(tmp_path / "a.pth.tar", {**timm(), "saver": {"checkpoint_files": kept, "best_epoch": 0}})
    assert found.references == ({"checkpoint_files": tuple(name for name, _ in kept)} if kept else {})
    assert (found.monitor, found.mode) == ("metric", mode)


@pytest.mark.parametrize(
    ("ranks", "most", "named"),
    [((80.0, 70.0), 2, 1), ((80.0, 72.0), 2, 2), ((80.0, 70.0), 3, 2), ((80.0, None), 2, 1), ((0.5, 90.0), 2, 1)],
)
def test_timms_saver_names_the_worst_before_it_removes_it(
    tmp_path: Path, ranks: tuple[float | None, ...], most: int, named: int
) -> None:
    kept = [(f"checkpoint-{number}.pth.tar", rank) for number, rank in enumerate(ranks)]
    content = {**timm(), "saver": {"checkpoint_files": kept, "best_epoch": 0}}
    content["args"].checkpoint_hist = most
    assert len(saved(tmp_path / "a.pth.tar", content).references["checkpoint_files"]) == named


@pytest.mark.parametrize(("build", "key"), [(c[0], key) for c in CASES for key in ("state", "optimizer_history")])
def test_values_of_a_wrong_kind_do_no_harm(tmp_path: Path, build: Callable[[], dict[str, Any]], key: str) -> None:
    content = {name: [] if name == key else value for name, value in build().items()}
    for name in list(content):
        found = saved(tmp_path / "a.pt", {**content, name: "text" if name != key else 3})
        assert found.state == "complete"


def test_mmcvs_files_are_those_of_its_runner(tmp_path: Path) -> None:
    """mmcv 1.7: runner/checkpoint.py `save_checkpoint`, runner/epoch_based_runner.py, runner/hooks/evaluation.py."""
    model, optimizer, _ = training()
    meta = {
        "epoch": 2,
        "iter": 200,
        "config": "lr = 0.02\nlayers = 3",
        "hook_msgs": {"best_score": 0.75, "best_ckpt": "work/best_mIoU_epoch_2.pth", "last_ckpt": "work/epoch_2.pth"},
        "mmcv_version": "1.7.1",
        "time": "Fri Jan  2 03:04:05 2026",
    }
    state = {"meta": meta, "state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}
    found = saved(tmp_path / "latest.pth", state)
    assert (found.framework, found.epoch, found.step, found.learning_rate) == ("mmengine", 2, 200, 0.02)
    assert found.saved_at == datetime.datetime(2026, 1, 2, 3, 4, 5).timestamp()
    assert found.metrics == {"best_score": 0.75}
    assert found.references == {"best_ckpt": (meta["hook_msgs"]["best_ckpt"],), "last_ckpt": ("work/epoch_2.pth",)}
    assert found.config == {"config": ["lr = 0.02", "layers = 3"]}
