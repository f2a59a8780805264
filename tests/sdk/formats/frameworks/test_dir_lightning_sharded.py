"""Sharded checkpoints that Lightning's Trainer and Fabric write on two processes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpt.formats import inspect
from ckpt.formats.reading import opened

TRAINED = ("checkpoints/epoch=1-step=8.ckpt", "checkpoints/last.ckpt")


@pytest.fixture(scope="module")
def made(produced: Callable[[str], Path]) -> Path:
    return produced("lightning_sharded")


def expected(made: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made / "expected.json").read_text())[name]
    return found


@pytest.mark.parametrize("name", [*TRAINED, "fabric.ckpt"])
def test_tensors_are_those_that_torch_loads(made: Path, name: str) -> None:
    found = {}
    with opened(made / name) as checkpoint:
        assert checkpoint.inspection.state == "complete", checkpoint.inspection.problems
        for placed in checkpoint.tensors:
            if placed.info.name.startswith("callbacks."):
                continue  # of meta.pt
            assert placed.home is not None and placed.tensor.storage is not None
            raw = placed.home.bytes_of(placed.tensor.storage, placed.start, placed.span)
            found[placed.info.name] = [list(placed.info.shape), placed.info.dtype, hashlib.sha256(raw).hexdigest()]
    assert found == expected(made, name)["tensors"]


@pytest.mark.parametrize("name", TRAINED)
def test_the_trainer_s_facts_are_those_in_meta(made: Path, name: str) -> None:
    meta = expected(made, name)
    found = inspect(made / name)
    assert (found.framework, found.format) == ("lightning", "dcp")
    assert (found.epoch, found.step) == (meta["epoch"], meta["global_step"]) == (1, 8)
    assert found.config == meta["hyper_parameters"] == {"width": 7}
    assert (found.monitor, found.mode) == (meta["monitor"], "min")
    assert found.metrics["val_loss"] == pytest.approx(meta["score"], abs=0)
    assert found.references["best_model_path"] == (meta["best_model_path"],)
    assert found.parameter_count == 66
    assert found.from_name == ()
    assert [part for part in ("model", "optimizer", "scheduler", "data") if found.resume[part]] == [
        "model",
        "optimizer",
        "scheduler",
        "data",
    ]
    assert found.resume["topology"] == {"world_size": 2}
    assert found.learning_rate == pytest.approx(0.0025)


def test_a_loop_of_one_s_own_with_fabric_is_read_by_its_own_names(made: Path) -> None:
    meta = expected(made, "fabric.ckpt")
    found = inspect(made / "fabric.ckpt")
    assert (found.framework, found.epoch, found.step) == ("lightning", meta["epoch"], meta["global_step"])
    assert found.metrics == meta["metrics"] == {"val_loss": 0.25}
    assert found.learning_rate == 0.03
    assert found.resume["model"] and found.resume["optimizer"] and not found.resume["scheduler"]


def test_it_is_complete_when_meta_is_there_in_full(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "epoch=1-step=8.ckpt"
    shutil.copytree(made / TRAINED[0], copy)
    raw = (copy / "meta.pt").read_bytes()
    (copy / "meta.pt").write_bytes(raw[: len(raw) // 2])
    assert inspect(copy).state == "incomplete"
    (copy / "meta.pt").unlink()
    found = inspect(copy)
    assert (found.framework, found.state) == ("lightning", "incomplete")
    assert "meta.pt is missing" in found.problems[0]
    (copy / "meta.pt").write_bytes(raw)
    assert inspect(copy).state == "complete"
    (copy / "__1_0.distcp").unlink()
    assert inspect(copy).state == "incomplete"


def test_a_distributed_checkpoint_of_that_suffix_alone_is_no_broken_one_of_lightning(
    made: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "mine.ckpt"
    shutil.copytree(made / TRAINED[0], copy)
    (copy / "meta.pt").unlink()
    found = inspect(copy)
    assert (found.framework, found.state) == ("dcp", "complete")
