"""Small trainings with real frameworks, as a person would start them; none of them knows of the daemon.

Usage: python foreign_trainings.py transformers|lightning|accelerate DIRECTORY
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch

PAUSE_S = 1.0  # so that a save takes as long as one of a real model


def with_transformers(directory: Path) -> None:
    """Eight steps, a save every second one, of which the last two and the best stay."""
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

    class Slow(Trainer):  # type: ignore[misc]
        def _save_rng_state(self, output_dir: str) -> None:
            time.sleep(PAUSE_S)
            super()._save_rng_state(output_dir)

    set_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "max_position_embeddings": 16}
    config = LlamaConfig(**sizes, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2)
    rows = [{"input_ids": row, "labels": row} for row in torch.randint(0, 64, (16, 8))]
    arguments = TrainingArguments(
        output_dir=str(directory / "finetune"),
        per_device_train_batch_size=2,
        max_steps=8,
        save_steps=2,
        save_total_limit=2,
        eval_strategy="steps",
        eval_steps=2,
        logging_steps=1,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        learning_rate=1e-2,
    )
    Slow(LlamaForCausalLM(config), arguments, train_dataset=rows, eval_dataset=rows[:4]).train()


def with_lightning(directory: Path) -> None:
    """Four epochs; the best two and the last are kept."""
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger
    from torch.utils.data import DataLoader

    class Small(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(4, 1)

        def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
            loss: torch.Tensor = self.net(batch).square().mean()
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: torch.Tensor, index: int) -> None:
            self.log("val_loss", self.net(batch).square().mean() - self.current_epoch)
            time.sleep(PAUSE_S)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=0.1)

    lightning.seed_everything(0)
    trainer = lightning.Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=CSVLogger(directory, flush_logs_every_n_steps=1),
        callbacks=[ModelCheckpoint(monitor="val_loss", save_top_k=2, save_last=True)],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    data = torch.randn(8, 4)
    trainer.fit(Small(), DataLoader(data, batch_size=4), DataLoader(data[:1], batch_size=1))


def with_accelerate(directory: Path) -> None:
    """Three saves with automatic names, of which two stay."""
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    class Slow:
        def state_dict(self) -> dict[str, Any]:
            time.sleep(PAUSE_S)
            return {"seen": 1}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            del state

    settings = ProjectConfiguration(str(directory / "loop"), automatic_checkpoint_naming=True, total_limit=2)
    accelerator = Accelerator(cpu=True, project_config=settings)
    network = torch.nn.Linear(4, 1)
    optimizer = torch.optim.AdamW(network.parameters())
    network, optimizer = accelerator.prepare(network, optimizer)
    accelerator.register_for_checkpointing(Slow())
    for _ in range(3):
        accelerator.backward(network(torch.randn(2, 4)).square().mean())
        optimizer.step()
        accelerator.save_state()


if __name__ == "__main__":
    {"transformers": with_transformers, "lightning": with_lightning, "accelerate": with_accelerate}[sys.argv[1]](
        Path(sys.argv[2])
    )
