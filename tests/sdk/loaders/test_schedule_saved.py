"""Schedules in a checkpoint: the generator of choices stands once, at the top, and is read from both places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ckpt

DATA = Path(__file__).parents[2] / "data"


def schedule(seed: int = 3) -> ckpt.LoaderSchedule:
    loaders = {"a": range(100), "b": range(100, 150)}
    return ckpt.LoaderSchedule(loaders, "weighted", 12, weights=[3, 1], seed=seed)


def model() -> torch.nn.Module:
    return torch.nn.Linear(2, 1)


def choices(state: Any) -> int:
    """How often a random generator's state stands in what a file holds."""
    if isinstance(state, dict):
        return sum(
            key in ("choice_rng", "choice_rng_state") and value is not None for key, value in state.items()
        ) + sum(choices(value) for key, value in state.items() if key != "at_start")
    return sum(choices(item) for item in state) if isinstance(state, list) else 0


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("form", ["alone", "named", "several"])
def test_the_choices_are_written_once_and_go_on(tmp_path: Path, form: str) -> None:
    def loaders(given: ckpt.LoaderSchedule) -> Any:
        loader = ckpt.ResumableLoader(list(range(9)), batch_size=2)
        return {"alone": given, "named": {"train": given, "val": loader}, "several": [loader, given]}[form]

    first = schedule()
    batches = iter(first)
    for _ in range(5):
        next(batches)
    path = tmp_path / "a.pt"
    ckpt.save_checkpoint(path, {"model": model(), "loaders": loaders(first)})
    rest = list(batches)
    plain = torch.load(path, weights_only=True)
    assert plain["choice_rng_state"][0] == "MT19937"
    assert choices(plain) == 1
    again = schedule(seed=99)
    ckpt.load_checkpoint(path, {"model": model(), "loaders": loaders(again)})
    assert list(again) == rest
    assert next(iter(again)) == next(iter(first))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_second_schedule_keeps_its_own(tmp_path: Path) -> None:
    both = {"train": schedule(), "val": schedule(seed=8)}
    walks = {name: iter(loader) for name, loader in both.items()}
    for _ in range(4):
        next(walks["train"])
        next(walks["val"])
    path = tmp_path / "a.pt"
    ckpt.save_checkpoint(path, {"model": model(), "loaders": both, "epoch": 0})
    again = {"train": schedule(), "val": schedule()}
    ckpt.load_checkpoint(path, {"model": model(), "loaders": again})
    assert list(again["train"]) == list(walks["train"])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_choices_of_the_document_s_layout_are_taken_from_its_manager() -> None:
    manager = {
        "choice_rng_state": np.random.RandomState(5).get_state(legacy=False),
        "choice_rng": None,
        "train_iterator_state": {
            "schedule_position": 3,
            "loader_states": [{"batch_idx": 2, "exhausted": False}, {"batch_idx": 1, "exhausted": False}],
            "total_batches": 3,
            "loader_cycles": {0: 0, 1: 0},
            "prefetched_batches": 0,
        },
        "val_iterator_state": None,
    }
    again = schedule()
    again.load_state_dict(manager)
    expected = np.random.RandomState(5)
    names = [name for name, _ in again]
    assert names == ["a" if expected.random_sample() * 4 < 3 else "b" for _ in range(9)]
