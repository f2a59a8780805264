"""Checkpoints of frameworks that put a torch distributed checkpoint into a layout of their own, transcribed.

Composer 0.32.1: `get_save_filename`, `_save_checkpoint` in utils/checkpoint.py, `State.state_dict`,
`Timestamp.state_dict`, `get_rng_state`. OLMo-core 3.0.0: `Checkpointer.save` in train/checkpoint.py,
`Trainer.state_dict` in train/trainer.py, `EnvRngStates` in train/utils.py.
"""

from __future__ import annotations

import datetime
import json
import random
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.formats import inspect


def save(state: dict[str, Any], path: Path) -> None:
    """What `dcp.save` writes in a process by itself."""
    import torch.distributed.checkpoint as dcp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state, checkpoint_id=path)


def model_and_optimizer() -> tuple[dict[str, Any], dict[str, Any]]:
    """States by parameters' names, as FSDP keeps them."""
    names = ("blocks.0.weight", "blocks.0.bias")
    weights = {names[0]: torch.ones(4, 3), names[1]: torch.zeros(4)}
    state = {name: {"step": torch.tensor(3.0), "exp_avg": torch.ones_like(weights[name])} for name in names}
    return weights, {"state": state, "param_groups": [{"params": list(names), "lr": 0.004}]}


@pytest.fixture(scope="module")
def composer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    weights, optimizer = model_and_optimizer()
    timestamp = {
        "epoch": 2,
        "batch": 40,
        "sample": 640,
        "token": 0,
        "batch_in_epoch": 4,
        "epoch_wct": datetime.timedelta(seconds=3),
        "total_wct": datetime.timedelta(seconds=9),
    }
    state = {
        "state": {
            "model": weights,
            "optimizers": {"DecoupledAdamW": optimizer},
            "schedulers": {"LambdaLR": {"last_epoch": 40}},
            "timestamp": {"Timestamp": timestamp},
            "run_name": "small-run",
            "metadata": {"torch_version": "2.6.0", "world_size": 1, "precision": "amp_bf16"},
            "eval_metrics": {"eval": {"LanguageCrossEntropy": {"_computed": torch.tensor(2.5)}}},
        },
        "rng": [{"python": random.getstate(), "torch": torch.get_rng_state()}],
    }
    path = tmp_path_factory.mktemp("composer") / "ep2-ba40"
    save(state, path)
    return path


def test_composer_s_sharded_state(composer: Path) -> None:
    found = inspect(composer)
    assert (found.framework, found.format, found.state, found.problems) == ("composer", "dcp", "complete", ())
    assert (found.epoch, found.step, found.from_name) == (2, 40, ())
    assert found.metrics == {"metrics/eval/LanguageCrossEntropy": 2.5}
    assert found.config["precision"] == "amp_bf16"
    assert found.parameter_count == 16
    assert found.learning_rate == 0.004
    assert [part for part in ("model", "optimizer", "scheduler") if found.resume[part]] == [
        "model",
        "optimizer",
        "scheduler",
    ]
    assert found.resume["rng"]["python"] and found.resume["rng"]["torch"]
    assert found.resume["topology"] == {"world_size": 1}


def test_composer_s_is_known_while_it_is_written(composer: Path, tmp_path: Path) -> None:
    copy = tmp_path / "ep2-ba40"
    shutil.copytree(composer, copy)
    (copy / ".metadata").unlink()
    found = inspect(copy)
    assert (found.framework, found.state) == ("composer", "incomplete")


@pytest.fixture(scope="module")
def olmo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("olmo") / "step300"
    weights, optimizer = model_and_optimizer()
    save({"model": weights, "optim": optimizer}, path / "model_and_optim")
    (path / "train").mkdir()
    for rank in range(2):
        trainer = {
            "global_step": 300,
            "global_train_tokens_seen": 1 << 20,
            "global_train_petaflops": 0.5,
            "max_steps": 1000,
            "data_loader": {"dataset_type": "fsl", "batches_processed": 300, "seed": 1, "epoch": 1},
            "epoch": 1,
            "world_size": 2,
            "rng": {
                "python": {"version": (3, 11), "state": random.getstate()},
                "numpy": {"version": (2, 0), "state": ("MT19937", [1, 2, 3], 624, 0, 0.0)},
                "torch": {"version": (2, 6), "state": torch.get_rng_state()},
                "cuda": None,
            },
            "callbacks": {},
        }
        torch.save(trainer, path / "train" / f"rank{rank}.pt")
    (path / "config.json").write_text(json.dumps({"run_name": "small", "model": {"d_model": 4}}))
    (path / ".metadata.json").write_text(json.dumps({"ephemeral": False, "version": "3.0.0"}))
    return path


def test_olmo_core_s_step(olmo: Path) -> None:
    found = inspect(olmo)
    assert (found.framework, found.format, found.state, found.problems) == ("olmo-core", "dcp", "complete", ())
    assert (found.step, found.epoch, found.from_name) == (300, 1, ())
    assert found.parameter_count == 16
    assert found.learning_rate == 0.004
    assert found.config == {"run_name": "small", "model": {"d_model": 4}}
    assert [part for part in ("model", "optimizer", "scheduler", "data") if found.resume[part]] == [
        "model",
        "optimizer",
        "data",
    ]
    rng = found.resume["rng"]
    assert rng["python"] and rng["numpy"] and rng["torch"] and rng["ranks"] == 2
    assert found.resume["topology"] == {"world_size": 2}


@pytest.mark.parametrize("missing", [".metadata.json", "train/rank0.pt", "model_and_optim/.metadata"])
def test_olmo_core_s_step_needs_all_three_of_its_marks(olmo: Path, tmp_path: Path, missing: str) -> None:
    copy = tmp_path / "step300"
    shutil.copytree(olmo, copy)
    (copy / missing).unlink()
    found = inspect(copy)
    assert (found.framework, found.state) == ("olmo-core", "incomplete")
    assert f"{missing} is missing" in found.problems[0]
