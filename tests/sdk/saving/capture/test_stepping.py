"""Watching an optimizer's steps changes nothing in it and keeps nothing alive."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest
import torch

from ckpt.saving.capture.stepping import parameters_of, watch, watch_of

torch.set_num_threads(1)


def trained() -> tuple[torch.nn.Linear, torch.optim.AdamW]:
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    return model, optimizer


def backward(model: torch.nn.Linear) -> torch.Tensor:
    model(torch.ones(1, 3)).sum().backward()
    assert model.weight.grad is not None
    return model.weight.grad


def test_a_gradient_is_judged_by_what_became_of_it() -> None:
    model, optimizer = trained()
    before = backward(model)
    found = watch_of(optimizer)
    assert found is not None
    assert found.judging()(before) == "unknown"
    assert found.judging()(torch.ones(3)) == "added"
    optimizer.step()
    assert found.judging()(before) == "kept"
    optimizer.zero_grad()
    fresh = backward(model)
    assert found.judging()(fresh) == "added"
    optimizer.step()
    assert found.judging()(fresh) == "used"
    fresh.mul_(2)
    assert found.judging()(fresh) == "added"


def test_an_optimizer_is_watched_once_and_forgotten_with_its_last_use() -> None:
    model, optimizer = trained()
    watch([optimizer, optimizer])
    watch({"a": optimizer})
    assert watch_of(optimizer) is watch_of(optimizer)
    assert len(optimizer._optimizer_step_post_hooks) == 1
    backward(model)
    optimizer.step()
    gradient, kept = weakref.ref(model.weight.grad), weakref.ref(optimizer)  # type: ignore[arg-type]
    optimizer.zero_grad()
    gc.collect()
    assert gradient() is None
    del optimizer
    gc.collect()
    assert kept() is None


def test_copies_and_pickles_of_an_optimizer_are_as_before() -> None:
    model, optimizer = trained()
    watch(optimizer)
    backward(model)
    optimizer.step()
    assert model.weight.grad is not None
    assert not model.weight.grad.__dict__
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        other.step()
        assert other.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]


@pytest.mark.parametrize("item", [None, {}, {"state": {}, "param_groups": []}, object()])
def test_what_cannot_be_watched_is_left_alone(item: Any) -> None:
    assert watch_of(item) is None
    watch(item)
    assert parameters_of(item) == []


def test_groups_that_are_added_later_are_watched_too() -> None:
    model, optimizer = trained()
    watch(optimizer)
    late = torch.nn.Linear(3, 1)
    optimizer.add_param_group({"params": late.parameters()})
    backward(model)
    gradient = backward(late)
    found = watch_of(optimizer)
    assert found is not None
    assert found.judging()(gradient) == "added"
    optimizer.step()
    assert found.judging()(gradient) == "used"
