"""Trains with Lightning's CSVLogger and TensorBoardLogger, and writes what was logged and what is read back.

Usage: python -P lightning_metrics.py DIRECTORY
"""

from __future__ import annotations

import csv
import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, TensorDataset


class Line(lightning.LightningModule):
    """A linear model that logs its loss at every step, its validation at every epoch, and a late metric."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        """One step."""
        loss: torch.Tensor = self.layer(batch[0]).pow(2).mean()
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        if self.current_epoch:
            self.log("late", float(self.global_step))
        return loss

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        """One step of the validation."""
        self.log("val_loss", self.layer(batch[0]).abs().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain descent."""
        return torch.optim.SGD(self.parameters(), lr=0.05)


def train(directory: Path, epochs: int, *, resume: str | None = None) -> Any:
    """A training of eight steps an epoch; its checkpoints lie in its version directory."""
    lightning.seed_everything(7)
    data = DataLoader(TensorDataset(torch.randn(32, 4)), batch_size=4)
    loggers = [CSVLogger(directory, flush_logs_every_n_steps=3), TensorBoardLogger(directory, name="events")]
    trainer = lightning.Trainer(
        max_epochs=epochs,
        logger=loggers,
        log_every_n_steps=2,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(save_top_k=-1)],
    )
    trainer.fit(Line(), data, data, ckpt_path=resume)
    return trainer


def table(path: Path) -> dict[str, list[tuple[int, float]]]:
    """The columns of a metrics table as its own library would read them: by a dictionary a row."""
    found: dict[str, list[tuple[int, float]]] = {}
    with path.open(newline="") as stream:
        for row in csv.DictReader(stream):
            for name, cell in row.items():
                if name not in ("step", "epoch") and cell:
                    found.setdefault(name, []).append((int(row["step"]), float(cell)))
    return found


def main(directory: Path) -> None:
    """Two versions: one whole training, and one that goes on from its first epoch."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    first = train(directory, 3)
    saved = sorted((directory / "lightning_logs" / "version_0" / "checkpoints").glob("epoch=0*.ckpt"))[0]
    train(directory, 2, resume=str(saved))
    versions = {path.name: table(path / "metrics.csv") for path in (directory / "lightning_logs").iterdir()}
    events = directory / "events" / "version_0"
    accumulator = EventAccumulator(str(events), size_guidance={"scalars": 0}).Reload()
    scalars = {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}
    told = {"tables": versions, "events": scalars, "global_step": first.global_step, "epoch": first.current_epoch}
    (directory / "expected.json").write_text(json.dumps(told))
    shutil.rmtree(directory / "checkpoints", ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
