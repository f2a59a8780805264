"""Trains a tiny network with DeepSpeed on two processes of the CPU, once for each ZeRO stage.

Usage: python -P deepspeed.py DIRECTORY. Writes what torch and DeepSpeed's own consolidation read back.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ["DS_ACCELERATOR"] = "cpu"

STAGES = (0, 2, 3)
PROCESSES = 2
STEPS = 3


def settings(stage: int) -> dict[str, Any]:
    """DeepSpeed's configuration for a stage."""
    return {
        "train_batch_size": 2 * PROCESSES,
        "train_micro_batch_size_per_gpu": 2,
        "bf16": {"enabled": True},
        "zero_optimization": {"stage": stage, "reduce_bucket_size": 1000, "allgather_bucket_size": 1000},
        "optimizer": {"type": "Adam", "params": {"lr": 0.01, "torch_adam": True}},
        "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 10}},
    }


def train(base: Path) -> None:
    """What each of the processes does."""
    import deepspeed
    import torch

    torch.set_num_threads(1)
    deepspeed.ops.__compatible_ops__ = {}  # else it compiles C++ of its own for the talk between processes: a minute
    deepspeed.init_distributed("gloo")
    for stage in STAGES:
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
        engine, *_ = deepspeed.initialize(model=network, model_parameters=network.parameters(), config=settings(stage))
        for _ in range(STEPS):
            engine.backward(engine(torch.randn(2, 7, dtype=torch.bfloat16)).float().sum())
            engine.step()
        engine.save_checkpoint(str(base / f"stage{stage}"), client_state={"epoch": 1, "val_loss": 0.5})


def described(tensors: dict[str, Any]) -> dict[str, Any]:
    """Shapes, dtypes and values by name."""
    return {
        name: [list(tensor.shape), str(tensor.dtype).removeprefix("torch."), tensor.double().flatten().tolist()]
        for name, tensor in tensors.items()
    }


def read_back(base: Path, stage: int) -> dict[str, Any]:
    """What is in a checkpoint by torch and, where the weights are spread, by DeepSpeed's own consolidation."""
    import torch
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    directory = base / f"stage{stage}" / f"global_step{STEPS}"
    first = sorted(directory.glob("*_model_states.pt"))[0]
    state = torch.load(first, weights_only=False)
    if stage == 3:
        weights = get_fp32_state_dict_from_zero_checkpoint(str(base / f"stage{stage}"))
    else:
        weights = state["module"]
    optimizers = sorted(directory.glob("*_optim_states.pt"))
    owned = torch.load(optimizers[0], weights_only=False)["optimizer_state_dict"] if optimizers else state["optimizer"]
    held = owned.get("base_optimizer_state") or owned["optimizer_state_dict"]
    return {
        "directory": str(directory.relative_to(base)),
        "files": sorted(path.name for path in directory.iterdir()),
        "latest": (base / f"stage{stage}" / "latest").read_text(),
        "weights": described(weights),
        "lr": held["param_groups"][0]["lr"],
        **{
            key: state[key]
            for key in ("global_steps", "dp_world_size", "mp_world_size", "epoch", "val_loss", "ds_config")
        },
    }


def convert(base: Path, stage: int) -> None:
    """Brings a checkpoint into the universal form, which knows no ranks."""
    from deepspeed.checkpoint.ds_to_universal import main as rewrite

    directory = base / f"stage{stage}" / f"global_step{STEPS}"
    options = {"num_extract_workers": 1, "num_merge_workers": 1, "keep_temp_folder": False, "strict": True}
    folders = {"input_folder": str(directory), "output_folder": f"{directory}_universal"}
    rewrite(argparse.Namespace(**folders, **options, inject_missing_state=True))


def main(base: Path) -> None:
    """Starts the processes and reads their checkpoints back."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(PROCESSES), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    running = [
        subprocess.Popen(
            [sys.executable, "-P", __file__, str(base), "train"],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(PROCESSES)
    ]
    failed = [process.returncode for process in running if process.wait(120)]
    if failed:
        raise SystemExit(f"processes ended with {failed}")
    expected = [read_back(base, stage) for stage in STAGES]
    for stage in (2, 3):
        convert(base, stage)
    (base / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        train(Path(sys.argv[1]))
    else:
        main(Path(sys.argv[1]))
