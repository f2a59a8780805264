"""A training that can be killed and resumed to the same bits, forked, and stopped early.

    python examples/train.py --epochs 20 --lr 0.1
    python examples/train.py --resume exp1 --epochs 40
    python examples/train.py --fork exp1@best --lr 0.02         # also exp1, exp1@epoch:7
    python examples/train.py --patience 5

Learns scikit-learn's handwritten digits. The order of the samples follows from the seed and the epoch, so a training
that is resumed in the middle of an epoch goes on with the very batch that comes next.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from ckpt import CheckpointConfig, Run, TrainingHook

BATCH = 64
SEED = 7


def main() -> None:
    arguments = parse()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    with start(arguments) as run:
        train(run, arguments)


def start(arguments: argparse.Namespace) -> Run:
    """The run to train: a new one, an old one, or a fork of an old one."""
    if arguments.resume:
        return Run.resume(arguments.resume, arguments.base_dir)
    config = {"lr": arguments.lr or 0.1, "batch_size": BATCH, "seed": SEED, "dropout": 0.1}
    if arguments.fork:
        return Run.fork(arguments.fork, arguments.name, arguments.base_dir, config=config)
    return Run.create(arguments.name, arguments.base_dir, config=config)


def train(run: Run, arguments: argparse.Namespace) -> None:
    lr = arguments.lr or run.config["lr"]
    data = Digits()
    model = nn.Sequential(
        nn.Linear(64, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Dropout(run.config["dropout"]), nn.Linear(48, 10)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr / 10)
    config = CheckpointConfig(
        save_every_n_epochs=1,
        save_every_n_steps=arguments.save_steps,
        save_on_best_metric="val_loss",
        keep_last_n_checkpoints=3,
        keep_best_n_checkpoints=2,
        early_stopping_patience=arguments.patience,
    )
    hook = TrainingHook(model, run, config, optimizer, model_name="digits", batch_size=BATCH)
    report = hook.resume()
    if report is not None:
        print(f"{'forked' if report.start_of_fork else 'resumed'} at epoch {hook.epoch}, step {hook.global_step}")
        for group in optimizer.param_groups:  # the restored optimizer brought the rate of its own time
            group["lr"] = lr / 10
    print(f"run {run.directory}", flush=True)

    for epoch in range(hook.epoch, arguments.epochs):
        if hook.should_stop:
            break
        model.train()
        done = hook.global_step - epoch * data.steps
        for images, labels in data.batches(epoch, skip=done):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            hook.step(loss)
            time.sleep(arguments.slow)
        val_loss, accuracy = data.evaluate(model)
        hook.epoch_end(epoch, val_loss=val_loss, accuracy=accuracy)
        print(f"epoch {epoch}: val_loss {val_loss:.4f}, accuracy {accuracy:.4f}", flush=True)
    if hook.should_stop:
        print(f"stopped early: no better val_loss in {hook.manager.no_improvement_count} epochs")
    best = hook.manager.get_checkpoint_info("best")
    print(f"best: {Path(best.path).name}, val_loss {best.metrics['val_loss']:.4f}")


class Digits:
    """1797 images of 8 x 8 pixels, [N, 64] in 0 to 1, and their labels; the last 397 are for validation."""

    def __init__(self) -> None:
        images, labels = (torch.tensor(part) for part in load_digits(return_X_y=True))
        self.images, self.labels = images.float() / 16, labels.long()
        self.train = 1400
        self.steps = -(-self.train // BATCH)

    def batches(self, epoch: int, skip: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch, in an order of its own, from number `skip` on."""
        order = torch.randperm(self.train, generator=torch.Generator().manual_seed(SEED * 1_000_003 + epoch))
        for picked in order.split(BATCH)[skip:]:
            yield self.images[picked], self.labels[picked]

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> tuple[float, float]:
        """Mean cross entropy and accuracy over the validation images."""
        model.eval()
        images, labels = self.images[self.train :], self.labels[self.train :]
        scores = model(images)
        loss = nn.functional.cross_entropy(scores, labels)
        return float(loss), float((scores.argmax(1) == labels).float().mean())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--resume", metavar="EXP", help="go on with a run")
    source.add_argument("--fork", metavar="EXP[@SELECTOR]", help="start a new run from another's checkpoint")
    parser.add_argument("--name", help="name of a new run (default: the next expN)")
    parser.add_argument("--base-dir", type=Path, default=Path("runs"), help="directory of the runs")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--lr", type=float, help="learning rate (default: the run's own, else 0.1)")
    parser.add_argument("--patience", type=int, metavar="N", help="stop after N epochs without a better val_loss")
    parser.add_argument("--save-steps", type=int, metavar="N", help="save every N steps, besides every epoch")
    parser.add_argument("--slow", type=float, default=0.0, metavar="SECONDS", help="sleep that long after each step")
    return parser.parse_args()


if __name__ == "__main__":
    main()
