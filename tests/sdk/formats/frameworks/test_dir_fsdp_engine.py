"""What FSDP leaves in checkpoints of a Trainer and of accelerate.

Written with torch's own distributed saving under the names and keys of `save_fsdp_model` and `save_fsdp_optimizer` in
`accelerate/utils/fsdp_utils.py`, since real FSDP needs devices.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp

from ckpt.formats import inspect
from ckpt.formats.reading import opened

Produced = Callable[[str], Path]

WEIGHTS = {"fc.weight": torch.arange(12.0).reshape(3, 4), "fc.bias": torch.ones(3)}
OPTIMIZER = {
    "state": {name: {"step": torch.tensor(6.0), "exp_avg": torch.zeros_like(value)} for name, value in WEIGHTS.items()},
    "param_groups": [{"lr": 0.125, "params": list(WEIGHTS)}],
}
REPLACED = ("model.safetensors", "optimizer.pt", "optimizer.bin")


@pytest.fixture(params=["transformers", "accelerate"])
def checkpoint(request: pytest.FixtureRequest, produced: Produced, tmp_path: Path) -> Path:
    name = "best/checkpoint-6" if request.param == "transformers" else "diffusion/checkpoint-4"
    directory = tmp_path / Path(name).name
    shutil.copytree(produced(request.param) / name, directory)
    for member in REPLACED:
        (directory / member).unlink(missing_ok=True)
    return directory


def test_sharded_by_torch(checkpoint: Path) -> None:
    framework = inspect(checkpoint).framework
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": WEIGHTS}, checkpoint_id=checkpoint / "pytorch_model_fsdp_0", no_dist=True)
        dcp.save({"optimizer": OPTIMIZER}, checkpoint_id=checkpoint / "optimizer_0", no_dist=True)
    found = inspect(checkpoint)
    assert (found.framework, found.state, found.problems) == (framework, "complete", ())
    assert (found.parameter_count, found.learning_rate) == (15, 0.125)
    assert found.resume["model"] and found.resume["optimizer"]
    with opened(checkpoint) as read:
        placed = next(one for one in read.tensors if one.info.name == "model.fc.weight")
        assert placed.home is not None and placed.tensor.storage is not None
        raw = placed.home.bytes_of(placed.tensor.storage, placed.start, placed.span)
    assert raw == WEIGHTS["fc.weight"].numpy().tobytes()
    (checkpoint / "optimizer_0" / ".metadata").unlink()
    found = inspect(checkpoint)
    assert found.state == "incomplete" and "optimizer_0/.metadata" in found.problems[0]


def test_gathered_into_one_file(checkpoint: Path) -> None:
    torch.save(WEIGHTS, checkpoint / "pytorch_model_fsdp.bin")
    found = inspect(checkpoint)
    assert (found.state, found.parameter_count) == ("complete", 15)


def test_a_file_for_each_rank(checkpoint: Path) -> None:
    for rank in range(2):
        torch.save({"_flat_param": torch.ones(8)}, checkpoint / f"pytorch_model_fsdp_0_rank{rank}.bin")
        torch.save(OPTIMIZER, checkpoint / f"optimizer_0_rank{rank}.bin")
    found = inspect(checkpoint)
    assert (found.state, found.parameter_count, found.learning_rate) == ("complete", 16, 0.125)


def test_no_weights_at_all(checkpoint: Path) -> None:
    found = inspect(checkpoint)
    assert (found.state, found.problems) == ("incomplete", ("it holds no weights",))
