"""A training that stops in any phase of an epoch goes on to the bit: a loop with the hook, and one with the manager."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from ckpt.config import CheckpointConfig
from ckpt.hook import TrainingHook
from ckpt.loaders import LoaderSchedule, ResumableLoader
from ckpt.runs import Run
from ckpt.saving import CheckpointManager
from ckpt.state import TrainingState

torch.set_num_threads(1)
# Torch warns of a first epoch that goes on behind its last step.
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of", "ignore:'set_vital' is deprecated")
EPOCHS = 3
Fingerprint = tuple[Any, ...]


class Stop(Exception):
    """Ends a training on purpose."""


class Loop:
    """A training with dropout, a scheduler, shuffled data, and a validation that draws random numbers."""

    def __init__(self, loaders: str = "ours") -> None:
        torch.manual_seed(7)
        random.seed(7)
        np.random.seed(7)
        data = TensorDataset(torch.arange(30.0).reshape(10, 3), torch.arange(10.0))
        val_data = TensorDataset(torch.arange(12.0).reshape(4, 3), torch.arange(4.0))
        self.model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 1, gamma=0.7)
        self.val: Any = ResumableLoader(val_data, batch_size=2, shuffle=True, seed=5)
        self.given: Any
        if loaders == "schedule":
            parts = {name: ResumableLoader(data, batch_size=4, shuffle=True, seed=i) for i, name in enumerate("ab")}
            self.train: Any = LoaderSchedule(parts, "weighted", weights={"a": 2.0, "b": 1.0}, seed=3)
        elif loaders == "sampler":
            drawing = RandomSampler(data, generator=torch.Generator().manual_seed(9))
            self.train = ResumableLoader(data, batch_size=4, sampler=drawing)
        else:
            self.train = ResumableLoader(data, batch_size=4, shuffle=True, seed=3)
        self.given = {"train": self.train, "val": self.val}
        if loaders == "plain validation":
            self.val = DataLoader(val_data, batch_size=2, shuffle=True)
            self.given = self.train
        self.seen: list[Fingerprint] = []

    def steps(self) -> Iterator[float]:
        for batch in self.train:
            samples, target = batch[1] if isinstance(batch[0], str) else batch
            self.optimizer.zero_grad()
            loss = (self.model(samples).squeeze(1) - target).pow(2).mean()
            loss.backward()
            self.optimizer.step()
            self.seen.append(("train", tuple(target.tolist()), loss.item(), random.random(), float(np.random.rand())))
            yield loss.item()

    def validate(self) -> Iterator[None]:
        for _, target in self.val:
            self.seen.append(("val", tuple(target.tolist()), torch.rand(1).item()))
            yield

    def fingerprint(self) -> Fingerprint:
        weights = [value.clone() for value in self.model.state_dict().values()]
        moments = [m["exp_avg"].clone() for m in self.optimizer.state.values()]
        return tuple(tensor.tolist() for tensor in (*weights, *moments)), torch.rand(2).tolist(), random.random()


def with_hook(loop: Loop, run: Path, stop: Callable[[str, int], str | None]) -> None:
    """A loop with the hook. `stop(place, step)` says whether to `save` there, or to `raise`, and then it ends."""
    hook = TrainingHook(
        loop.model, run, CheckpointConfig(save_on_exception=True), loop.optimizer, loop.scheduler, loaders=loop.given
    )

    def at(place: str) -> None:
        act = stop(place, hook.global_step)
        if act == "save":
            hook.save()
            loop.seen.append(("stopped",))
        if act:
            raise Stop("save" if act == "raise" else "no")

    with hook:
        hook.manager.config = CheckpointConfig(save_on_exception=True)
        hook.resume()
        for epoch in range(hook.epoch, EPOCHS):
            at("begin")
            for loss in loop.steps():
                hook.step(loss)
                at("train")
            at("trained")
            for _ in loop.validate():
                at("val")
            at("validated")
            loop.scheduler.step()
            hook.epoch_end(epoch)
            at("end")


def with_manager(loop: Loop, run: Path, stop: Callable[[str, int], str | None]) -> None:
    """A plain loop with the manager alone, which says nothing of where it is."""
    with closing(Run.at(run)) as opened, CheckpointManager(opened, CheckpointConfig()) as manager:
        manager.resume(loop.model, loop.optimizer, loop.scheduler, loaders=loop.given)
        step = manager.next_step

        def at(place: str, epoch: int) -> None:
            if stop(place, step):
                state = TrainingState(epoch=epoch, global_step=step, learning_rate=0.1, loss=0.0)
                manager.save_checkpoint(
                    loop.model, state, optimizers=loop.optimizer, schedulers=loop.scheduler, loaders=loop.given
                )
                raise Stop

        for epoch in range(manager.next_epoch, EPOCHS):
            for _ in loop.steps():
                step += 1
                at("train", epoch)
            at("trained", epoch)
            for _ in loop.validate():
                at("val", epoch)
            loop.scheduler.step()
            at("end", epoch)


def never(place: str, step: int) -> None:
    return None


def at_the(count: int, wanted: str, act: str = "save") -> Callable[[str, int], str | None]:
    """Stops the `count`th time that a loop comes by a place."""
    times = 0

    def stop(place: str, step: int) -> str | None:
        nonlocal times
        times += place == wanted
        return act if place == wanted and times == count else None

    return stop


def whole(make: Callable[..., None], directory: Path, loaders: str) -> tuple[list[Fingerprint], Fingerprint]:
    loop = Loop(loaders)
    make(loop, directory / "whole", never)
    return loop.seen, loop.fingerprint()


def stopped(
    make: Callable[..., None], directory: Path, loaders: str, stop: Callable[[str, int], str | None]
) -> tuple[list[Fingerprint], Fingerprint, list[Fingerprint]]:
    first = Loop(loaders)
    with pytest.raises(Stop):
        make(first, directory / "r", stop)
    second = Loop(loaders)
    torch.manual_seed(1)  # what a resume does not restore shows itself
    make(second, directory / "r", never)
    return second.seen, second.fingerprint(), first.seen


def rest(seen: list[Fingerprint], first: list[Fingerprint], place: str) -> list[Fingerprint]:
    """What a training that was stopped at a place has to see again: nothing but a validation that was not over."""
    done = [kind for kind, *_ in first if kind != "stopped"]
    while place in ("val", "validated") and done[-1] == "val":
        done.pop()
    return seen[len(done) :]


PLACES = [("train", 2), ("train", 3), ("train", 5), ("val", 1), ("val", 2), ("val", 3), ("end", 1), ("end", 2)]
MORE = [("trained", 1), ("trained", 2), ("validated", 1), ("validated", 2), ("begin", 1), ("begin", 2)]


@pytest.mark.parametrize("loaders", ["ours", "plain validation", "sampler", "schedule"])
@pytest.mark.parametrize(("place", "count"), [*PLACES, *MORE])
def test_the_hook_goes_on_from_every_phase(tmp_path: Path, loaders: str, place: str, count: int) -> None:
    seen, end = whole(with_hook, tmp_path, loaders)
    again, end_again, first = stopped(with_hook, tmp_path, loaders, at_the(count, place))
    assert again == rest(seen, first, place)
    assert end_again == end


@pytest.mark.parametrize("loaders", ["ours", "schedule"])
@pytest.mark.parametrize(("place", "count"), [*PLACES, ("trained", 1), ("trained", 2)])
def test_a_plain_loop_goes_on_from_every_phase(tmp_path: Path, loaders: str, place: str, count: int) -> None:
    seen, end = whole(with_manager, tmp_path, loaders)
    again, end_again, first = stopped(with_manager, tmp_path, loaders, at_the(count, place))
    assert again == rest(seen, first, place)
    assert end_again == end


@pytest.mark.parametrize("loaders", ["ours", "schedule"])
@pytest.mark.parametrize(("place", "count"), [("val", 1), ("val", 3), ("trained", 1), ("train", 1), ("train", 5)])
def test_an_exception_is_saved_where_it_came(tmp_path: Path, loaders: str, place: str, count: int) -> None:
    seen, end = whole(with_hook, tmp_path, loaders)
    again, end_again, first = stopped(with_hook, tmp_path, loaders, at_the(count, place, "raise"))
    assert again[0][0] == ("train" if place == "train" else "val")
    assert (again, end_again) == (rest(seen, first, place), end)


@pytest.mark.parametrize("loaders", ["ours", "schedule"])
@pytest.mark.parametrize("stepped", [True, False])
def test_only_a_batch_that_was_under_way_is_told_of(tmp_path: Path, loaders: str, stepped: bool) -> None:
    loop = Loop(loaders)
    config = CheckpointConfig(save_on_exception=True)
    hook = TrainingHook(loop.model, tmp_path / "r", config, loop.optimizer, loaders=loop.given)
    with pytest.raises(Stop), hook:
        for number, loss in enumerate(loop.steps()):
            if number == 1 and not stepped:
                raise Stop
            hook.step(loss)
            if number == 1:
                raise Stop
    with TrainingHook(loop.model, tmp_path / "r", config, loop.optimizer, loaders=loop.given) as hook:
        report = hook.resume()
    assert report is not None
    assert report.phase == "training"
    lost = ("it was saved on Stop: a batch that was under way is not repeated",)
    assert report.caveats == (() if stepped else lost)


def test_a_loop_that_is_left_by_break_is_over(tmp_path: Path) -> None:
    def run(directory: Path, stop_at: str | None) -> tuple[list[Fingerprint], Fingerprint]:
        loop = Loop()
        with TrainingHook(loop.model, directory, None, loop.optimizer, loop.scheduler, loaders=loop.given) as hook:
            hook.resume()
            for epoch in range(hook.epoch, EPOCHS):
                for number, loss in enumerate(loop.steps()):
                    hook.step(loss)
                    if number == 1:
                        break
                for number, _ in enumerate(loop.validate()):
                    if (stop_at, epoch, number) == ("val", 1, 0):
                        hook.save()
                        return loop.seen, ()
                loop.scheduler.step()
                hook.epoch_end(epoch)
                if (stop_at, epoch) == ("end", 1):
                    return loop.seen, ()
        return loop.seen, loop.fingerprint()

    seen, end = run(tmp_path / "whole", None)
    for place in ("val", "end"):
        first, _ = run(tmp_path / place, place)
        again, end_again = run(tmp_path / place, None)
        assert again == rest(seen, first, place)
        assert end_again == end
        assert again[0][0] == ("val" if place == "val" else "train")


def test_the_report_names_the_phase_and_the_epoch_to_go_on_with(tmp_path: Path) -> None:
    for place, count, phase, next_epoch in (
        ("train", 5, "training", 1),
        ("val", 3, "validation", 1),
        ("trained", 2, "validation", 1),
        ("end", 2, "between", 2),
        ("begin", 2, "between", 1),
    ):
        run = tmp_path / f"{place}{count}"
        loop = Loop()
        with pytest.raises(Stop):
            with_hook(loop, run, at_the(count, place))
        with CheckpointManager(run) as manager:
            report = manager.resume(loop.model, loop.optimizer, loop.scheduler, loaders=loop.given)
            assert report is not None
            assert (report.phase, report.next_epoch) == (phase, next_epoch), place
            assert manager.load_checkpoint()["phase"] == phase
            assert manager.load_checkpoint()["resume_state"]["epoch"] == next_epoch


def test_a_manager_that_saves_at_once_goes_on_with_the_same_epoch(tmp_path: Path) -> None:
    loop = Loop()
    with pytest.raises(Stop):
        with_manager(loop, tmp_path / "r", at_the(1, "end"))
    for _ in range(2):
        with closing(Run.at(tmp_path / "r")) as run, CheckpointManager(run, CheckpointConfig()) as manager:
            manager.resume(loop.model, loop.optimizer, loop.scheduler, loaders=loop.given)
            assert (manager.next_epoch, manager.next_step) == (1, 3)
            state = TrainingState(epoch=1, global_step=3, learning_rate=0.1, loss=0.0)
            manager.save_checkpoint(
                loop.model, state, optimizers=loop.optimizer, schedulers=loop.scheduler, loaders=loop.given
            )


def test_a_loader_of_another_kind_is_as_it_was_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torchdata = pytest.importorskip("torchdata.stateful_dataloader")
    loader = torchdata.StatefulDataLoader(list(range(10)), batch_size=2)
    model = torch.nn.Linear(2, 2)
    batches = iter(loader)
    next(batches)
    with CheckpointManager(tmp_path / "r") as manager:
        state = TrainingState(epoch=0, global_step=1, learning_rate=0.1, loss=0.0)
        manager.save_checkpoint(model, state, loaders={"train": loader}, at_epoch_end=False)
        caplog.set_level(logging.WARNING, "ckpt.saving")
        report = manager.resume(model, loaders={"train": loader})
    assert report is not None
    assert report.phase == "training"
    assert next(batch.tolist() for batch in loader) == [2, 3]
    assert any("torchdata seeds anew" in caveat for caveat in report.caveats)
