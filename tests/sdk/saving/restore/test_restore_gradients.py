"""Gradients go back into the parameters that they are of, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import ckpt
from ckpt.saving.restore.gradients import GradientsToSet
from ckpt.saving.restore.loading import read_file
from ckpt.state import values

torch.set_num_threads(1)


def saved(tmp_path: Path) -> tuple[torch.nn.Linear, Path]:
    model = torch.nn.Linear(3, 1)
    model(torch.ones(1, 3)).sum().backward()
    return model, ckpt.save_checkpoint(tmp_path / "a.pt", {"model": model}, gradients=True)


def test_a_restore_gives_those_of_the_checkpoint_and_takes_away_others(tmp_path: Path) -> None:
    model, path = saved(tmp_path)
    other = torch.nn.Linear(3, 1)
    other(torch.ones(1, 3)).pow(3).sum().backward()
    before = other.weight.grad
    ckpt.load_checkpoint(path, {"model": other}, weights_only=True)
    assert other.weight.grad is before
    report = ckpt.load_checkpoint(path, {"model": other})
    assert (report.gradients, report.fully_restored) == (2, True)
    assert values.same(other.weight.grad, model.weight.grad)
    assert values.same(read_file(path).gradients, {"weight": model.weight.grad, "bias": model.bias.grad})
    empty = ckpt.save_checkpoint(tmp_path / "b.pt", {"model": model}, gradients=False)
    ckpt.load_checkpoint(empty, {"model": other})
    assert (other.weight.grad, other.bias.grad) == (None, None)


def test_where_not_all_weights_fit_none_is_touched(tmp_path: Path) -> None:
    _, path = saved(tmp_path)
    other = torch.nn.Linear(4, 1)
    other(torch.ones(1, 4)).sum().backward()
    report = ckpt.load_checkpoint(path, {"model": other}, strict=False)
    assert "the gradients were not restored: not all weights fit" in report.notes
    assert report.gradients == 0
    assert other.bias.grad is not None


def test_tensors_that_nobody_trains_have_none_and_the_report_says_so(tmp_path: Path) -> None:
    _, path = saved(tmp_path)
    report = ckpt.load_checkpoint(path, {"model": {"weight": torch.zeros(1, 3), "bias": torch.zeros(1)}})
    assert report.notes[0] == "the gradient of 'weight' was not restored: no such parameter is trained here"
    assert len(report.loaded) == 2
    assert not report.fully_restored


def test_a_model_of_another_dtype_has_gradients_of_it(tmp_path: Path) -> None:
    model, path = saved(tmp_path)
    other = torch.nn.Linear(3, 1).to(torch.float64)
    ckpt.load_checkpoint(path, {"model": other})
    assert model.weight.grad is not None
    assert values.same(other.weight.grad, model.weight.grad.to(torch.float64))


@pytest.mark.parametrize("shape", [(1,), (1, 1), (2, 3)])
def test_a_zero_that_is_repeated_is_a_gradient_of_its_own(shape: tuple[int, ...]) -> None:
    parameter = torch.nn.Parameter(torch.ones(shape))
    GradientsToSet({"w": parameter}, {"w": torch.zeros(()).expand(shape)}).set()
    assert parameter.grad is not None
    assert parameter.grad.stride() == parameter.stride()
    parameter.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.equal(parameter.grad, torch.ones(shape))


@pytest.mark.parametrize(
    ("gradient", "told"),
    [
        (3, "it is a int"),
        (torch.zeros(2), r"[2] in the checkpoint, [3] in the model"),
        (torch.empty(3, device="meta"), "meta"),
        (torch.ones(3, dtype=torch.complex64), "torch.complex64 in the checkpoint"),
    ],
)
def test_what_does_not_fit_is_told_of_and_changes_nothing(gradient: Any, told: str) -> None:
    own = {"w": torch.nn.Parameter(torch.ones(3))}
    found = GradientsToSet(own, {"w": gradient})
    assert found.count == 0
    assert len(found.notes) == 1
    assert told in found.notes[0]
    assert own["w"].grad is None
