"""Small trainings with real frameworks that go step by step: after each save one waits for a line on its input.

Each says in one line of JSON what it has written, and at its end what its library makes of it.

After the first number of epochs, steps or saves it ends, and is then resumed until the next.

Usage: python enforced_trainings.py lightning|lightning-all|transformers|accelerate DIRECTORY UNTIL…
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

MARK = ">>> "


def tell(**said: Any) -> None:
    """One line for the test, among whatever the libraries print."""
    print(MARK + json.dumps(said), flush=True)


def written(directory: Path) -> dict[str, tuple[str, int, int]]:
    """What lies below a directory now: path to hash, size and time of change (ns)."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and ".ckptd" not in path.parts:
            info = path.stat()
            found[str(path)] = (hashlib.sha256(path.read_bytes()).hexdigest(), info.st_size, info.st_mtime_ns)
    return found


def saved(directory: Path, number: int) -> None:
    """Says what is there after a save, and waits for the test."""
    tell(saved=number, files=written(directory))
    if not sys.stdin.readline():
        sys.exit("the test has gone")


def value(curve: Sequence[float], place: int) -> float:
    return curve[min(place, len(curve) - 1)]


def with_lightning(directory: Path, until: int, *, resume: bool, bounded: bool = True) -> None:
    """Epochs of two steps: the best two, the last, and one file an epoch, by two callbacks in one directory.

    Where nothing is `bounded`, one callback that monitors saves all and the last.
    """
    import lightning
    from lightning.pytorch.callbacks import Callback, ModelCheckpoint
    from torch.utils.data import DataLoader

    curve = (5.0, 4.0, 6.0, 3.0, 7.0, 8.0)

    class Small(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(4, 1)

        def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
            return self.net(batch).square().mean()  # type: ignore[no-any-return]

        def validation_step(self, batch: torch.Tensor, index: int) -> None:
            self.log("val_loss", value(curve, self.current_epoch))

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=0.1)

        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            # So that no two files of one step are of the same time: the newer of equals is the best.
            time.sleep(0.03)

    class Wait(Callback):  # type: ignore[misc]
        began = -1

        def on_train_start(self, trainer: Any, module: Any) -> None:
            self.began = trainer.global_step

        def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
            if trainer.current_epoch and trainer.global_step != self.began:
                saved(directory, trainer.current_epoch - 1)

        def on_train_end(self, trainer: Any, module: Any) -> None:
            saved(directory, trainer.current_epoch - 1)

    lightning.seed_everything(0)
    place = directory / "checkpoints"
    name, number = ("top-{epoch}", 2) if bounded else ("all-{epoch}", -1)
    top = ModelCheckpoint(place, name, monitor="val_loss", save_top_k=number, save_last=True)
    each = [ModelCheckpoint(place, "each-{epoch}", save_top_k=-1, every_n_epochs=1)] if bounded else []
    wait = Wait()
    trainer = lightning.Trainer(
        max_epochs=until,
        accelerator="cpu",
        logger=False,
        default_root_dir=directory,
        callbacks=[top, *each, wait],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data, module = torch.randn(4, 4), Small()
    loaders = DataLoader(data, batch_size=2), DataLoader(data[:1])
    going_on: dict[str, Any] = {"ckpt_path": "last", "weights_only": False} if resume else {}
    trainer.fit(module, *loaders, **going_on)
    (best,) = trainer.validate(module, loaders[1], ckpt_path="best", verbose=False, weights_only=False)
    tell(
        began=wait.began,
        ended=trainer.global_step,
        best=top.best_model_path,
        best_value=best and float(top.best_model_score),
        kept=sorted(top.best_k_models),
        last=top.last_model_path,
    )


def with_transformers(directory: Path, until: int, *, resume: bool) -> None:
    """A save every second step, of which two and the best stay; at the end the best is loaded."""
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments, set_seed

    curve = (5.0, 3.0, 4.0, 6.0, 1.0, 7.0)
    began: list[int] = []

    class Measured(Trainer):  # type: ignore[misc]
        def evaluation_loop(self, *given: Any, **options: Any) -> Any:
            found = super().evaluation_loop(*given, **options)
            found.metrics["eval_loss"] = value(curve, self.state.global_step // 2 - 1)
            return found

    class Wait(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            began.append(state.global_step)

        def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            saved(directory, state.global_step)

    set_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "max_position_embeddings": 16}
    config = LlamaConfig(**sizes, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2)
    rows = [{"input_ids": row, "labels": row} for row in torch.randint(0, 64, (16, 8))]
    arguments = TrainingArguments(
        output_dir=str(directory),
        per_device_train_batch_size=2,
        max_steps=until,
        save_steps=2,
        save_total_limit=2,
        eval_strategy="steps",
        eval_steps=2,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        load_best_model_at_end=True,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Measured(
        LlamaForCausalLM(config), arguments, train_dataset=rows, eval_dataset=rows[:2], callbacks=[Wait()]
    )
    trainer.train(resume_from_checkpoint=True if resume else None)
    best = trainer.state.best_model_checkpoint
    loaded = LlamaForCausalLM.from_pretrained(best)
    same = all(torch.equal(a, b) for a, b in zip(loaded.parameters(), trainer.model.parameters(), strict=True))
    tell(began=began[0], ended=trainer.state.global_step, best=best, best_value=trainer.state.best_metric, loaded=same)


def with_accelerate(directory: Path, until: int, *, resume: bool) -> None:
    """Saves with automatic names, of which two stay; a step of the schedule between."""
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    settings = ProjectConfiguration(str(directory), automatic_checkpoint_naming=True, total_limit=2)
    accelerator = Accelerator(cpu=True, project_config=settings)
    network = torch.nn.Linear(4, 1)
    optimizer = torch.optim.AdamW(network.parameters())
    network, optimizer, schedule = accelerator.prepare(
        network, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 10)
    )
    if resume:
        accelerator.load_state()
        settings.iteration = schedule.scheduler.last_epoch
    began = schedule.scheduler.last_epoch
    while schedule.scheduler.last_epoch < until:
        accelerator.backward(network(torch.randn(2, 4)).square().mean())
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        accelerator.save_state()
        saved(directory, accelerator.save_iteration - 1)
    tell(began=began, ended=schedule.scheduler.last_epoch)


if __name__ == "__main__":
    trainings = {
        "transformers": with_transformers,
        "lightning": with_lightning,
        "lightning-all": partial(with_lightning, bounded=False),
        "accelerate": with_accelerate,
    }
    for place, until in enumerate(sys.argv[3:]):
        trainings[sys.argv[1]](Path(sys.argv[2]), int(until), resume=place > 0)
