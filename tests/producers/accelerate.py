"""Saves the state of tiny trainings with accelerate and writes what torch and safetensors read back.

Usage: python -P accelerate.py DIRECTORY
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.data_loader import SeedableRandomSampler
from accelerate.utils import ProjectConfiguration, save, set_seed
from safetensors.torch import load_file
from torch.utils.data import DataLoader, TensorDataset


class Counter:
    """An object that accelerate saves beside the training's own states."""

    def __init__(self) -> None:
        self.seen = 0

    def state_dict(self) -> dict[str, Any]:
        """What is saved of it."""
        return {"epoch": 1, "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes it back."""
        self.seen = state["seen"]


def described(tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Shapes and dtypes by name."""
    return {name: [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")] for name, tensor in tensors.items()}


def train(accelerator: Accelerator, steps: int, *, models: int = 1, scheduled: bool = True) -> None:
    """A few steps of one model or two, everything prepared by the library."""
    set_seed(5)
    data = TensorDataset(torch.randn(16, 6))
    loader = accelerator.prepare(DataLoader(data, batch_size=2, shuffle=True))
    networks = [torch.nn.Linear(6, 3 + number) for number in range(models)]
    optimizers = [torch.optim.AdamW(network.parameters(), lr=0.1) for network in networks]
    schedulers = [torch.optim.lr_scheduler.StepLR(one, 2, 0.5) for one in optimizers] if scheduled else []
    prepared = accelerator.prepare(*networks, *optimizers, *schedulers)
    networks, optimizers, schedulers = (
        list(prepared[:models]),
        list(prepared[models : 2 * models]),
        list(prepared[2 * models :]),
    )
    for _, (rows,) in zip(range(steps), loader, strict=False):
        for index, network in enumerate(networks):
            accelerator.backward(network(rows).square().mean())
            optimizers[index].step()
            if schedulers:
                schedulers[index].step()
            optimizers[index].zero_grad()


def read_back(directory: Path) -> dict[str, Any]:
    """What the libraries find in a checkpoint."""
    loaded = {
        path.name: torch.load(path, weights_only=False)
        for path in sorted(directory.iterdir())
        if path.suffix in (".bin", ".pkl", ".pt")
    }
    tensors = {path.stem: described(load_file(path)) for path in sorted(directory.glob("*.safetensors"))}
    if "pytorch_model.bin" in loaded:
        tensors["pytorch_model"] = described(loaded["pytorch_model.bin"])
    optimizer = loaded["optimizer.bin"]
    return {
        "files": sorted(path.name for path in directory.iterdir()),
        "weights": tensors,
        "parameters": sum(torch.Size(shape).numel() for group in tensors.values() for shape, _ in group.values()),
        "step": int(optimizer["state"][0]["step"]),
        "lr": optimizer["param_groups"][0]["lr"],
        "last_epoch": loaded["scheduler.bin"]["last_epoch"] if "scheduler.bin" in loaded else None,
        "moments": {
            f"{index}.{name}": list(value.shape)
            for index, kept in optimizer["state"].items()
            for name, value in kept.items()
        },
        "rng": sorted(loaded["random_states_0.pkl"]),
        "custom": loaded.get("custom_checkpoint_0.pkl"),
    }


def started(base: Path) -> list[subprocess.Popen[bytes]]:
    """Two processes that train and save together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    command = [sys.executable, "-P", __file__, str(base), "together"]
    return [subprocess.Popen(command, env={**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]


def together(base: Path) -> None:
    """What each of them does."""
    accelerator = Accelerator(cpu=True)
    train(accelerator, 3)
    accelerator.save_state(str(base / "together" / "state"))
    accelerator.end_training()


def main(base: Path) -> None:
    """States by two processes, with automatic and with given names, of two models, and as they were before."""
    torch.set_num_threads(1)
    both = started(base)
    settings = ProjectConfiguration(project_dir=str(base / "project"), automatic_checkpoint_naming=True, total_limit=2)
    automatic = Accelerator(cpu=True, project_config=settings, gradient_accumulation_steps=1)
    automatic.register_for_checkpointing(Counter())
    for steps in (1, 2, 3):
        automatic._models.clear()
        automatic._optimizers.clear()
        automatic._schedulers.clear()
        automatic._dataloaders.clear()
        train(automatic, steps)
        automatic.save_state()
    named = Accelerator(cpu=True)
    train(named, 4)
    named.save_state(str(base / "diffusion" / "checkpoint-4"))
    two = Accelerator(cpu=True)
    train(two, 5, models=2, scheduled=False)
    two.save_state(str(base / "two" / "kept"))
    older = Accelerator(cpu=True)
    train(older, 3)
    older.save_state(str(base / "older" / "state"), safe_serialization=False)
    # Earlier versions saved the sampler of every shuffled data loader, as this one does for some of them only.
    sampler = SeedableRandomSampler(range(8), generator=torch.Generator().manual_seed(1))
    save(sampler, base / "older" / "state" / "sampler.bin", safe_serialization=False)
    failed = [process.returncode for process in both if process.wait(120)]
    if failed:
        raise SystemExit(f"processes ended with {failed}")
    found = {
        str(path.parent.relative_to(base)): read_back(path.parent) for path in sorted(base.rglob("random_states_0.pkl"))
    }
    (base / "expected.json").write_text(json.dumps(found))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        together(Path(sys.argv[1]))
    else:
        main(Path(sys.argv[1]))
