"""Trains a small module with Lightning on two processes and saves it sharded; writes what the libraries read back.

`python lightning_sharded.py DIRECTORY` makes `checkpoints/epoch=1-step=8.ckpt` and `last.ckpt` (the Trainer with
ModelParallelStrategy) and `fabric.ckpt` (Fabric), each a directory, and `expected.json`.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

# Other scripts here bear the names of libraries: this directory must not be where those are looked for.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import torch
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from lightning.fabric import Fabric
from lightning.fabric.strategies import ModelParallelStrategy as FabricStrategy
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict
from torch.distributed.fsdp import fully_shard
from torch.nn import Linear, Module, Sequential
from torch.utils.data import DataLoader, TensorDataset


class Small(LightningModule):
    """Two layers whose shards are uneven."""

    def __init__(self, width: int = 7) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = Sequential(Linear(5, width), Linear(width, 3))

    def configure_model(self) -> None:
        """Shards the layers over all processes."""
        fully_shard(self.net, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        """One step's loss."""
        return self.net(batch[0]).square().mean()

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        """Logs the monitored metric."""
        self.log("val_loss", self.net(batch[0]).square().mean(), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """An optimizer and a schedule of its rate."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01, foreach=False)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]


def trained(directory: Path) -> None:
    """A fit of two epochs by the Trainer."""
    rows = TensorDataset(torch.linspace(-1, 1, 160).view(32, 5))
    keeper = ModelCheckpoint(directory / "checkpoints", monitor="val_loss", mode="min", save_last=True)
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy=ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1),
        max_epochs=2,
        callbacks=[keeper],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Small(), DataLoader(rows, batch_size=4), DataLoader(rows, batch_size=8))


def by_hand(directory: Path) -> None:
    """A loop of one's own with Fabric."""

    def shard(model: Module, mesh: Any) -> Module:
        fully_shard(model, mesh=mesh["data_parallel"])
        return model

    fabric = Fabric(accelerator="cpu", devices=2, strategy=FabricStrategy(shard, 2, 1))
    fabric.launch()
    model = fabric.setup(Sequential(Linear(5, 7), Linear(7, 3)))
    optimizer = fabric.setup_optimizers(torch.optim.AdamW(model.parameters(), lr=0.03, foreach=False))
    fabric.backward(model(torch.ones(2, 5)).sum())
    optimizer.step()
    state = {"model": model, "optimizer": optimizer, "global_step": 5, "epoch": 1, "metrics": {"val_loss": 0.25}}
    fabric.save(directory / "fabric.ckpt", state)


def process(rank: int, port: int, directory: Path) -> None:
    """One of two processes that the launcher of a cluster would have started."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GROUP_RANK": "0"}
    os.environ |= {"LOCAL_RANK": str(rank), "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"TORCHELASTIC_RUN_ID": "test"}
    torch.set_num_threads(1)
    torch.manual_seed(0)
    trained(directory)
    by_hand(directory)


def read_back(path: Path) -> dict[str, Any]:
    """Tensors by name as torch's loader gives them, and the facts in `meta.pt`."""
    state: dict[str, Any] = {}
    planner = _EmptyStateDictLoadPlanner()
    _load_state_dict(state, storage_reader=dcp.FileSystemReader(path), planner=planner, no_dist=True)
    tensors: dict[str, Any] = {}
    _flatten("", state, tensors)
    meta = torch.load(path / "meta.pt", weights_only=False)
    callbacks = meta.get("callbacks", {})
    kept = next((state for key, state in callbacks.items() if key.startswith("ModelCheckpoint")), {})
    return {
        "tensors": tensors,
        "parts": sorted(state),
        "epoch": meta["epoch"],
        "global_step": meta["global_step"],
        "hyper_parameters": dict(meta.get("hyper_parameters", {})),
        "monitor": kept.get("monitor"),
        "score": float(kept["current_score"]) if kept else None,
        "best_model_path": kept.get("best_model_path"),
        "metrics": meta.get("metrics", {}),
    }


def _flatten(prefix: str, value: Any, tensors: dict[str, Any]) -> None:
    if isinstance(value, torch.Tensor):
        raw = value.contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b""
        shape, dtype = list(value.shape), str(value.dtype).removeprefix("torch.")
        tensors[prefix] = [shape, dtype, hashlib.sha256(raw).hexdigest()]
    elif isinstance(value, dict):
        for key, item in value.items():
            _flatten(f"{prefix}.{key}" if prefix else str(key), item, tensors)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _flatten(f"{prefix}.{index}", item, tensors)


def main(directory: Path) -> None:
    """Makes them all."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.start_processes(process, (port, directory), nprocs=2, start_method="fork")
    found = sorted(path.parent for path in directory.rglob("meta.pt"))
    expected = {str(path.relative_to(directory)): read_back(path) for path in found}
    (directory / "expected.json").write_text(json.dumps(expected, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
