"""The trainings that are killed, each an ordinary loop with a TrainingHook: `train("dense", "ours", run, diary)`.

    dense       MLP with dropout and batch normalisation, shuffled
    convolving  small CNN, augmented at random in two workers
    gpt         two layers of causal attention, four batches a step, cosine schedule with warm-up, RandomSampler
    mixed       two loaders in a weighted schedule, one of them with two workers
    stream      an iterable data set with a state in two lasting workers, saved in the midst of validation too

The data comes from loaders of ours, of torchdata (`StatefulDataLoader`), or of torch (`DataLoader`), which tell no
place. A schedule is ours alone.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diary import Diary, bits, generators, told
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from ckpt import CheckpointConfig, LoaderSchedule, ResumableLoader, Run, TrainingHook
from parts import GPT, Augmented, Stream, Windows, convolving, dense, digits

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass
class Training:
    """What a loop needs. `accumulate`: batches a step."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    train: Any
    val: Any
    epochs: int
    accumulate: int = 1
    clip: float = math.inf
    saves_in_window: bool = False
    saves_in_validation: bool = False


class Window:
    """How many batches of a step are done: a state that the user keeps himself."""

    def __init__(self) -> None:
        self.done = 0

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.done = state["done"]


def loader_of(kind: str, data: Any, **options: Any) -> Any:
    """A loader of that kind."""
    if kind == "torchdata":
        from torchdata.stateful_dataloader import StatefulDataLoader

        return StatefulDataLoader(data, **options)
    return {"ours": ResumableLoader, "plain": DataLoader}[kind](data, **options)


def random_sampler(kind: str, data: Any) -> Any:
    """Torch's RandomSampler; of torchdata its own, which has a state."""
    if kind == "torchdata":
        from torchdata.stateful_dataloader.sampler import RandomSampler as Stateful

        return Stateful(data)
    return RandomSampler(data)


def _dense(kind: str) -> Training:
    model = dense()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return Training(
        model,
        optimizer,
        torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5),
        loader_of(kind, digits(0, 720), batch_size=32, shuffle=True),
        loader_of(kind, digits(1400, 1600), batch_size=64),
        epochs=4,
    )


def _convolving(kind: str) -> Training:
    model = convolving()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    pictures = Augmented(digits(0, 500, square=True))
    return Training(
        model,
        optimizer,
        torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
        loader_of(kind, pictures, batch_size=24, shuffle=True, num_workers=2, drop_last=True),
        loader_of(kind, digits(1400, 1600, square=True), batch_size=64),
        epochs=3,
    )


def _gpt(kind: str) -> Training:
    data = Windows(0, 5200)
    model = GPT(len(data.letters))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    steps = 4 * len(data) // 32
    return Training(
        model,
        optimizer,
        torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda at: (at + 1) / 5 if at < 5 else 0.5 + 0.5 * math.cos(math.pi * min(1.0, at / steps))
        ),
        loader_of(kind, data, batch_size=8, sampler=random_sampler(kind, data)),
        loader_of(kind, Windows(6000, 7000), batch_size=32),
        epochs=4,
        accumulate=4,
        clip=1.0,
        saves_in_window=True,
    )


def _mixed(kind: str) -> Training:
    model = dense()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    first = loader_of(kind, digits(0, 400), batch_size=16, shuffle=True)
    second = loader_of(kind, Augmented(digits(400, 600)), batch_size=16, shuffle=True, num_workers=2)
    return Training(
        model,
        optimizer,
        torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.7),
        LoaderSchedule({"plain": first, "augmented": second}, "weighted", 30, weights=[0.7, 0.3], seed=5),
        loader_of(kind, digits(1400, 1600), batch_size=64),
        epochs=3,
    )


def _stream(kind: str) -> Training:
    model = convolving()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    return Training(
        model,
        optimizer,
        torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
        loader_of(kind, Stream(digits(0, 500, square=True)), batch_size=16, num_workers=2, persistent_workers=True),
        loader_of(kind, digits(1400, 1600, square=True), batch_size=32),
        epochs=3,
        saves_in_validation=True,
    )


TRAININGS: dict[str, Callable[[str], Training]] = {
    "dense": _dense,
    "convolving": _convolving,
    "gpt": _gpt,
    "mixed": _mixed,
    "stream": _stream,
}


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Cross entropy of what a model says of a batch."""
    said = model(x)
    return nn.functional.cross_entropy(said.flatten(0, -2), y.flatten())


def train(name: str, kind: str, directory: str, diary_path: str, final: str) -> None:
    """Trains from where the run is to the end, whose weights go into the file `final`."""
    logging.getLogger("ckpt.saving").setLevel(logging.ERROR)
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    diary, training, window = Diary(diary_path), TRAININGS[name](kind), Window()
    model, optimizer, scheduler = training.model, training.optimizer, training.scheduler
    config = CheckpointConfig(
        save_every_n_steps=3,
        save_every_n_epochs=1,
        keep_last_n_checkpoints=3,
        keep_best_n_checkpoints=1,
        keep_checkpoint_every_n_epochs=1,
        keep_for=0,
        background="thread",
    )
    loaders = {"train": training.train, "val": training.val}
    with TrainingHook(model, Run.at(directory), config, optimizer, scheduler, loaders=loaders) as hook:
        hook.register("window", window)
        report = hook.resume()
        if report is None:
            diary.write("began", 0, 0, "-")
        else:
            diary.write("began", hook.global_step, 0, report.path)
        for epoch in range(hook.epoch, training.epochs):
            model.train()
            for batch in training.train:
                # A schedule gives the loader's name as well.
                data, target = batch[1] if name == "mixed" else batch
                loss = loss_of(model, data, target)
                (loss / training.accumulate).backward()
                window.done += 1
                diary.write("batch", hook.global_step, window.done, bits(loss), told([data, target]))
                if window.done == training.accumulate:
                    nn.utils.clip_grad_norm_(model.parameters(), training.clip)
                    optimizer.step()
                    optimizer.zero_grad()
                    window.done = 0
                    if training.accumulate > 1:
                        scheduler.step()
                    states = (told(model.state_dict()), told(optimizer.state_dict()), generators())
                    diary.write("step", hook.global_step + 1, 0, *states)
                    hook.step(loss)
                elif training.saves_in_window and window.done == 2 and hook.global_step % 4 == 1:
                    hook.save()
            model.eval()
            losses = []
            with torch.no_grad():
                for number, (data, target) in enumerate(training.val, 1):
                    losses.append(loss_of(model, data, target))
                    diary.write("val", hook.global_step, number, bits(losses[-1]), told([data, target]))
                    if training.saves_in_validation and number == 3:
                        hook.save()
            # Behind the validation: a save in the midst of it begins it again.
            if training.accumulate == 1:
                scheduler.step()
            diary.write("epoch", hook.global_step, 0, told(scheduler.state_dict()), generators())
            hook.epoch_end(epoch, val_loss=torch.stack(losses).mean())
    states = (told(model.state_dict()), told(optimizer.state_dict()), told(scheduler.state_dict()), generators())
    torch.save(model.state_dict(), final)
    diary.write("end", hook.global_step, 0, *states)
