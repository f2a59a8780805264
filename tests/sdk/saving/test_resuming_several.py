"""A training on several loaders goes on to the bit whoever is stopped where: or its caveats say that it may not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import RandomSampler

from ckpt.config import CheckpointConfig
from ckpt.hook import TrainingHook
from ckpt.loaders import LoaderSchedule, ResumableLoader

torch.set_num_threads(1)
EPOCHS = 4
HELD = "its iterator is kept"
Epoch = Callable[["Loop"], Iterator[Any]]


class Loop:
    """Two loaders of other lengths, and what is seen of them at each step."""

    def __init__(self, kind: str) -> None:
        torch.manual_seed(3)
        self.long, self.short = (self._loader(kind, batches, seed) for batches, seed in ((11, 1), (3, 2)))
        self.held: Iterator[Any] | None = None
        self.seen: list[Any] = []
        self.step = 0

    def _loader(self, kind: str, batches: int, seed: int) -> Any:
        data = list(range(2 * batches))
        if kind == "schedule":
            return LoaderSchedule([ResumableLoader(data, batch_size=2, shuffle=True, seed=seed)], "sequential")
        sampler = RandomSampler(data, generator=torch.Generator().manual_seed(seed)) if kind == "sampler" else None
        return ResumableLoader(data, batch_size=2, shuffle=sampler is None, sampler=sampler, seed=seed)


def holdout_within(loop: Loop) -> Iterator[Any]:
    for batch in loop.long:
        yield batch, list(loop.short) if loop.step % 4 == 1 else []


def holdout_first(loop: Loop) -> Iterator[Any]:
    """Looks at the holdout behind each epoch."""
    for batch in loop.long:
        yield batch, []
    loop.seen.append(list(loop.short))


def one_behind_the_other(loop: Loop) -> Iterator[Any]:
    yield from loop.long
    yield from loop.short


def short_zip(loop: Loop) -> Iterator[Any]:
    for pair in zip(loop.short, loop.long, strict=False):
        yield list(pair)


def long_zip(loop: Loop) -> Iterator[Any]:
    for pair in zip(loop.long, loop.short, strict=False):
        yield list(pair)


def equal_zip(loop: Loop) -> Iterator[Any]:
    for pair in zip(loop.long, loop.long_too, strict=False):  # type: ignore[attr-defined]
        yield list(pair)


def short_around(loop: Loop) -> Iterator[Any]:
    """The short one is gone through again and again within the other's epoch."""
    loop.held = loop.held or iter(loop.short)
    for batch in loop.long:
        try:
            more = next(loop.held)
        except StopIteration:
            loop.held = iter(loop.short)
            more = next(loop.held)
        yield batch, more


def long_kept(loop: Loop) -> Iterator[Any]:
    """One iterator of the long one over all epochs, as long as it has batches."""
    loop.held = loop.held or iter(loop.long)
    for batch in loop.short:
        try:
            more = next(loop.held)
        except StopIteration:
            loop.held = iter(loop.long)
            more = next(loop.held)
        yield batch, more


def long_anew(loop: Loop) -> Iterator[Any]:
    """An iterator of the long one for each epoch."""
    loop.held = iter(loop.long)
    for batch in loop.short:
        yield batch, next(loop.held)


def train(directory: Path, epoch_of: Epoch, kind: str, names: bool, *, every: str, stop: int = 0) -> Any:
    """Trains to the end, or stops behind a step as if it were killed; what was seen, and the report of the resume."""
    loop = Loop(kind)
    if epoch_of is equal_zip:
        loop.long_too = loop._loader(kind, 11, 9)  # type: ignore[attr-defined]
    loaders = [item for item in (loop.long, loop.short, getattr(loop, "long_too", None)) if item is not None]
    if epoch_of is equal_zip:
        loaders.remove(loop.short)
    config = CheckpointConfig(save_every_n_epochs=1 if every == "epoch" else 1000, background=False)
    given = {f"part{i}": item for i, item in enumerate(loaders)} if names else loaders
    hook = TrainingHook(torch.nn.Linear(1, 1), directory, config, loaders=given)
    with hook:
        report = hook.resume()
        loop.step = hook.global_step
        for epoch in range(hook.epoch, EPOCHS):
            for batch in epoch_of(loop):
                hook.step(0.0)
                loop.step = hook.global_step
                loop.seen.append((hook.global_step, repr(batch), torch.rand(1).item() if every == "step" else 0))
                if hook.global_step == stop:
                    if every == "step":
                        hook.save()
                    return loop.seen, report
            hook.epoch_end(epoch)
    return loop.seen, report


EXACT = [holdout_within, one_behind_the_other, short_zip, long_zip, equal_zip, short_around, long_kept, long_anew]


@pytest.mark.parametrize("kind", ["loader", "sampler", "schedule"])
@pytest.mark.parametrize("epoch_of", EXACT)
def test_a_save_at_each_step_goes_on_to_the_bit(tmp_path: Path, epoch_of: Epoch, kind: str) -> None:
    whole, _ = train(tmp_path / "whole", epoch_of, kind, names=True, every="step")
    for number, stop in enumerate(range(2, len(whole) - 1, len(whole) // 6 if kind == "loader" else len(whole) // 2)):
        run = tmp_path / f"{stop}"
        train(run, epoch_of, kind, names=number % 2 == 0, every="step", stop=stop)
        # Twice: what is known of the first part of the epoch is known behind a resume too.
        again = min(stop + 1 + number % 2, len(whole) - 1)
        first, _ = train(run, epoch_of, kind, names=number % 2 == 0, every="step", stop=again)
        rest, _ = train(run, epoch_of, kind, names=number % 2 == 0, every="step")
        assert [pair[:2] for pair in first] == [pair[:2] for pair in whole[stop:again]], stop
        assert [pair[:2] for pair in rest] == [pair[:2] for pair in whole[again:]], (stop, again)


@pytest.mark.parametrize("kind", ["loader", "sampler", "schedule"])
@pytest.mark.parametrize("epoch_of", EXACT)
def test_a_save_at_each_epoch_goes_on_to_the_bit_or_says_that_it_may_not(
    tmp_path: Path, epoch_of: Epoch, kind: str
) -> None:
    whole, _ = train(tmp_path / "whole", epoch_of, kind, names=True, every="epoch")
    per_epoch = len(whole) // EPOCHS
    for epochs in (1, 2, 3):
        run = tmp_path / f"{epochs}"
        train(run, epoch_of, kind, names=True, every="epoch", stop=epochs * per_epoch + 1)
        rest, report = train(run, epoch_of, kind, names=True, every="epoch")
        told = [caveat for caveat in report.caveats if HELD in caveat]
        assert told or rest == whole[epochs * per_epoch :]
        nobody_knows = epochs == 1 or kind != "loader"
        length = {long_kept: 11, short_around: 3}.get(epoch_of)
        is_open = epoch_of is long_anew or (length is not None and epochs * per_epoch % length)
        assert bool(told) is bool(is_open and (nobody_knows if epoch_of is long_anew else epochs == 1))


def test_a_holdout_behind_the_training_is_looked_at_again(tmp_path: Path) -> None:
    """Its loader is called neither val nor test, and it is over before the epoch is."""
    loop = Loop("loader")
    hook = TrainingHook(torch.nn.Linear(1, 1), tmp_path / "r", loaders=[loop.long, loop.short])
    for _ in holdout_first(loop):
        hook.step(0.0)
    hook.save()
    hook.close()
    loop = Loop("loader")
    with TrainingHook(torch.nn.Linear(1, 1), tmp_path / "r", loaders=[loop.long, loop.short]) as hook:
        hook.resume()
        assert list(holdout_first(loop)) == []
    assert len(loop.seen[-1]) == 3


def test_a_metric_that_was_reported_before_the_resume_is_not_missed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    config = CheckpointConfig(save_every_n_steps=1, save_on_best_metric="val_loss", background=False)
    for metrics in ({"val_loss": 1.0}, {}):
        hook = TrainingHook(torch.nn.Linear(1, 1), tmp_path / "r", config)
        hook.resume()
        hook.step(0.5, **metrics)
        if not metrics:
            hook.epoch_end(0)
        hook.close()
    assert not [record for record in caplog.records if "val_loss" in record.getMessage()]


@pytest.mark.parametrize("stop", [11, 22, 33])
def test_a_save_behind_the_training_s_loop_goes_on_to_the_bit_beside_a_held_iterator(tmp_path: Path, stop: int) -> None:
    """Whose pass began in an earlier epoch: the training's loop is over, and is not one within it."""

    def rest(directory: Path, until: int) -> list[Any]:
        loop = Loop("loader")
        loop.long_too = loop._loader("loader", 50, 9)  # type: ignore[attr-defined]
        with TrainingHook(torch.nn.Linear(1, 1), directory, loaders=[loop.long, loop.long_too]) as hook:  # type: ignore[attr-defined]
            hook.resume()
            for epoch in range(hook.epoch, EPOCHS):
                loop.held = loop.held or iter(loop.long_too)  # type: ignore[attr-defined]
                for batch in loop.long:
                    loop.seen.append((epoch, repr(batch), repr(next(loop.held))))
                    hook.step(0.0)
                if hook.global_step == until:
                    hook.save()
                    return loop.seen
                loop.seen.append(torch.rand(1).item())
                hook.epoch_end(epoch)
        return loop.seen

    whole = rest(tmp_path / "whole", 0)
    begun = rest(tmp_path / "r", stop)
    assert begun + rest(tmp_path / "r", 0) == whole
