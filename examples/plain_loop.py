"""An ordinary training loop, and the lines that make it watched, kept and resumable: those that say `hook`.

    python examples/plain_loop.py --epochs 10 --lr 0.1
    python examples/plain_loop.py --epochs 20 --name digits     # kill it and run it again: it goes on to the bit

`loaders=` and `hook.resume()` are all that it takes to go on in the midst of an epoch, at the very batch. Learns
scikit-learn's handwritten digits (8 x 8 pixels) with a small network; an epoch takes a few hundredths of a second.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

from ckpt import CheckpointConfig, ResumableLoader, Run, TrainingHook

BATCH = 64


def main() -> None:
    arguments = parse()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, labels = (torch.tensor(part) for part in load_digits(return_X_y=True))
    images, labels = images.float() / 16, labels.long()
    train = ResumableLoader(TensorDataset(images[:1400], labels[:1400]), batch_size=BATCH, shuffle=True)
    test_x, test_y = images[1400:], labels[1400:]

    model = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=arguments.lr, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.5)

    config = CheckpointConfig(
        save_every_n_steps=10,
        save_every_n_epochs=1,
        save_on_best_metric="val_loss",
        keep_last_n_checkpoints=3,
        keep_best_n_checkpoints=2,
        missing_metric="ignore",
    )
    if arguments.name:
        run = Run.at(arguments.runs / arguments.name)
    else:
        run = Run.create(base_dir=arguments.runs, config={"lr": arguments.lr, "batch_size": BATCH})
    with TrainingHook(model, run, config, optimizer, scheduler, loaders=train, batch_size=BATCH) as hook:
        hook.resume()
        for epoch in range(hook.epoch, arguments.epochs):
            model.train()
            for pixels, digits in train:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(pixels), digits)
                loss.backward()
                optimizer.step()
                hook.step(loss)
            model.eval()
            with torch.no_grad():
                scores = model(test_x)
            val_loss = nn.functional.cross_entropy(scores, test_y)
            accuracy = (scores.argmax(1) == test_y).float().mean()
            scheduler.step()
            hook.epoch_end(epoch, val_loss=val_loss, accuracy=accuracy)
            print(f"epoch {epoch}: val_loss {val_loss:.4f}, accuracy {accuracy:.4f}")
        print(f"{run.directory}: {len(hook.manager.list_checkpoints())} checkpoints")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="directory of the runs")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate at the start")
    parser.add_argument("--name", help="name of the run; one that exists goes on (default: the next expN)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
