"""Trains a small module with Lightning in one process; writes what torch reads back of every file.

`python -P lightning.py DIRECTORY` makes `run/` (two monitoring callbacks, `last.ckpt`, files of the middle of an
epoch), `conf/` (an omegaconf configuration, mixed precision), `fabric.ckpt`, and `expected.json`.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins.precision import MixedPrecision
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, TensorDataset


class Small(LightningModule):
    """Two layers."""

    def __init__(self, width: int = 7, options: Any = None, deep: Any = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(5, width), torch.nn.Linear(width, 3))

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        """One step's loss."""
        return self.net(batch[0]).square().mean()

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        """Logs both monitored metrics."""
        self.log("val_loss", self.net(batch[0]).square().mean())
        self.log("val_acc", 1.0 - self.current_epoch * 0.25)

    def configure_optimizers(self) -> Any:
        """An optimizer and a schedule of its rate."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]


class Configured(Small):
    """The same, its hyper-parameters a configuration of omegaconf."""

    def __init__(self, conf: Any) -> None:
        LightningModule.__init__(self)
        self.save_hyperparameters(conf)
        self.net = torch.nn.Sequential(torch.nn.Linear(5, conf.net.width), torch.nn.Linear(conf.net.width, 3))


def data() -> DataLoader[Any]:
    """Four batches."""
    return DataLoader(TensorDataset(torch.randn(16, 5)), batch_size=4)


def train(base: Path, module: LightningModule, epochs: int, **options: Any) -> dict[int, dict[str, float]]:
    """Fits and gives what was measured by step."""
    truth = Truth()
    callbacks = [
        ModelCheckpoint(base, "{epoch}-{step}-{val_loss:.3f}", "val_loss", save_last=True, save_top_k=2),
        ModelCheckpoint(base, "acc-{epoch}-{step}", "val_acc", mode="max", save_top_k=1),
        ModelCheckpoint(base, "part-{epoch}-{step}", every_n_train_steps=3, save_top_k=-1),
        EarlyStopping("val_loss", patience=9),
        truth,
    ]
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=epochs, callbacks=callbacks, default_root_dir=base, **quiet, **options)
    trainer.fit(module, data(), data())
    return truth.measured


class Truth(Callback):
    """Notes what was measured at which step."""

    def __init__(self) -> None:
        self.measured: dict[int, dict[str, float]] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After a validation."""
        self.measured[trainer.global_step] = {name: float(value) for name, value in trainer.callback_metrics.items()}


def told(path: Path, measured: dict[int, dict[str, float]]) -> dict[str, Any]:
    """What torch reads in a file."""
    content = torch.load(path, weights_only=False)
    callbacks = [state for state in content["callbacks"].values() if "current_score" in state]
    hyper = content["hyper_parameters"]
    return {
        "epoch": content["epoch"],
        "step": content["global_step"],
        "measured": measured.get(content["global_step"], {}),
        "lr": content["optimizer_states"][0]["param_groups"][0]["lr"],
        "best_model_path": [state["best_model_path"] for state in callbacks if state["best_model_path"]],
        "best_k_models": [name for state in callbacks for name in state["best_k_models"]],
        "last_model_path": [state["last_model_path"] for state in callbacks if state["last_model_path"]],
        "scaler": "MixedPrecision" in content,
        "hyper": OmegaConf.to_container(hyper) if OmegaConf.is_config(hyper) else {**hyper, "options": 0, "deep": 0},
        "tensors": {f"state_dict.{name}": list(tensor.shape) for name, tensor in content["state_dict"].items()},
    }


def main(base: Path) -> None:
    """Writes everything below `base`."""
    torch.set_num_threads(1)
    seed_everything(1, verbose=False)
    deep = OmegaConf.create({"layers": [1, {"name": "x"}], "rate": "${base}", "base": 0.5})
    truth = {"run": train(base / "run", Small(7, Namespace(a=1, b=[2.5, "c"]), deep), 2)}
    scaler = torch.amp.GradScaler("cpu")
    precision = MixedPrecision("16-mixed", "cpu", scaler)
    conf = OmegaConf.create({"net": {"width": 4}, "tags": ["a"]})
    truth["conf"] = train(base / "conf", Configured(conf), 1, plugins=[precision])
    paths = sorted(base.glob("*/*.ckpt"))
    found = {str(path.relative_to(base)): told(path, truth[path.parent.name]) for path in paths}
    fabric = Fabric(accelerator="cpu", devices=1)
    model, optimizer = fabric.setup(net := torch.nn.Linear(3, 2), torch.optim.SGD(net.parameters(), lr=0.1))
    fabric.save(base / "fabric.ckpt", {"model": model, "optimizer": optimizer, "step": 17, "epoch": 3})
    (base / "expected.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
