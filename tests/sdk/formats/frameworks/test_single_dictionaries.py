"""Single files of systems that publish no package: dictionaries as their own documents list them, and anybody's."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.formats import inspect

torch.set_num_threads(1)


def training() -> tuple[torch.nn.Module, torch.optim.Optimizer, Any]:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 10)


def mnist_helloworld() -> dict[str, Any]:
    """The dictionary that the system's own document lists."""
    model, optimizer, _ = training()
    return {
        "epoch": 10,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "loss": 0.25,
        "accuracy": 97.5,
        "model_config": {"hidden": 3},
    }


def stack_wise() -> dict[str, Any]:
    """`progressive_stack_{i}.pt`, its keys as the system writes them."""
    model, optimizer, _ = training()
    return {
        "stack_idx": 1,
        "timestamp": "2026-01-02T03:04:05+00:00",
        "epoch": 2,
        "loss": 0.5,
        "trunk_strategy": "frozen",
        "new_stack_precision": "half",
        "training_history": [{"loss": 0.5}],
        "config": {"hidden": 4},
        "rack_builder": {"stacks": [model.state_dict()], "current_stacks": 1, "precision_settings": {}},
        "optimizer_state_dict": optimizer.state_dict(),
        "activation_cache": {},
    }


def mlmanager() -> dict[str, Any]:
    """ml/utils/checkpoint_manager.py `save_checkpoint`."""
    model, optimizer, scheduler = training()
    return {
        "model_state_dict": model.state_dict(),
        "epoch": 12,
        "metrics": {"val_dice": 0.85, "val_loss": 0.23},
        "best_metric": 0.85,
        "monitor_metric": "val_dice",
        "checkpoint_type": "best",
        "timestamp": "20260102_030405",
        "pytorch_version": "2.6.0",
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": scheduler.state_dict(),
        "training_args": {"lr": 0.02},
    }


def first_format() -> dict[str, Any]:
    """A file of format v1's first writer: one optimizer, no version, positions inside of `resume_state`."""
    model, optimizer, _ = training()
    return {
        "epoch": 1,
        "global_step": 100,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "resume_state": {"epoch": 1, "dataloader_manager_state": {"schedule_position": 3}, "timestamp": 1.7e9},
        "metrics": {"val_loss": 0.5},
        "experiment_name": "exp",
        "config": {"save_rng": True},
    }


MOMENT = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC).timestamp()
LOCAL = datetime.datetime(2026, 1, 2, 3, 4, 5).timestamp()

CASES: list[tuple[Callable[[], dict[str, Any]], str, dict[str, Any], set[str]]] = [
    (
        mnist_helloworld,
        "mnist-helloworld",
        {"epoch": 10, "loss": 0.25, "metrics": {"accuracy": 97.5}, "monitor": "accuracy", "mode": "max"},
        {"model", "optimizer"},
    ),
    (
        stack_wise,
        "stack-wise",
        {"epoch": 2, "loss": 0.5, "saved_at": MOMENT, "config": {"hidden": 4}},
        {"model", "optimizer"},
    ),
    (
        mlmanager,
        "mlmanager",
        {
            "epoch": 12,
            "saved_at": LOCAL,
            "monitor": "val_dice",
            "mode": None,
            "metrics": {"val_dice": 0.85, "val_loss": 0.23, "best_metric": 0.85},
        },
        {"model", "optimizer", "scheduler"},
    ),
    (
        first_format,
        "ckpt",
        {"epoch": 1, "step": 100, "metrics": {"val_loss": 0.5}, "saved_at": 1.7e9},
        {"model", "optimizer", "data"},
    ),
]


@pytest.mark.parametrize(("build", "framework", "facts", "states"), CASES, ids=[c[0].__name__ for c in CASES])
def test_a_dictionary_tells_what_its_system_put_in(
    tmp_path: Path, build: Callable[[], dict[str, Any]], framework: str, facts: dict[str, Any], states: set[str]
) -> None:
    torch.save(build(), tmp_path / "a.pt")
    found = inspect(tmp_path / "a.pt")
    assert (found.framework, found.state, found.from_name, found.parameter_count) == (framework, "complete", (), 8)
    assert {name: getattr(found, name) for name in facts} == facts
    assert {name for name, held in found.resume.items() if held is True} == states
    assert found.resume["topology"] == {}


@pytest.mark.parametrize("build", [c[0] for c in CASES])
def test_a_dictionary_with_values_of_a_wrong_kind_does_no_harm(
    tmp_path: Path, build: Callable[[], dict[str, Any]]
) -> None:
    content = build()
    for name in content:
        torch.save({**content, name: "text"}, tmp_path / "a.pt")
        assert inspect(tmp_path / "a.pt").state == "complete"


@pytest.mark.parametrize(
    "content",
    [
        {"state": {}, "rng": []},
        {"trainer": {"iteration": 3}, "model": {}},
        {"arch": "x", "version": 2},
        {"model": {}, "iteration": 3},
        {"model": {}, "optimizer": {}, "epoch": 1, "loss": 0.5},
        {"meta": {}, "state_dict": {}},
    ],
)
def test_files_of_nobody_in_particular(tmp_path: Path, content: dict[str, Any]) -> None:
    torch.save(content, tmp_path / "a.pt")
    assert inspect(tmp_path / "a.pt").framework == "torch"
