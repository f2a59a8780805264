"""What a restore says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ckpt.exceptions import CheckpointError
from ckpt.hook import TrainingHook
from ckpt.saving import RestoreReport
from ckpt.saving.restore import SkippedTensor


def test_a_report_reads_like_a_few_sentences() -> None:
    report = RestoreReport(
        checkpoint="a",
        path="/runs/r/checkpoints/step-000010.pt",
        epoch=2,
        global_step=10,
        epoch_finished=True,
        loaded=("w", "b"),
        skipped=tuple(SkippedTensor(name=f"x{i}", saved=None, expected=(2,)) for i in range(12)),
        optimizers=1,
        registered=("ema",),
        random=True,
        notes=("the loader state was not restored",),
        left_out={"scaler": "none was given", "loaders": "a DataLoader tells no position"},
    )
    missing = "; ".join(f"x{i}: not in the checkpoint" for i in range(10))
    assert str(report).splitlines() == [
        "step-000010.pt: epoch 2, step 10; goes on with epoch 3, step 10",
        "restored: 2 tensors, 1 optimizer, ema, random states",
        f"skipped: {missing} and 2 more",
        "not restored: the loader state was not restored",
        "left out at the save: loaders: a DataLoader tells no position",
    ]


def test_a_long_list_of_what_does_not_fit_is_cut_with_its_count(tmp_path: Path) -> None:
    with TrainingHook({str(i): torch.nn.Linear(2, 2) for i in range(9)}, tmp_path / "r") as hook:
        hook.epoch_end(0, loss=1)
        other = TrainingHook({str(i): torch.nn.Linear(3, 2) for i in range(15)}, hook.run)
        with pytest.raises(CheckpointError) as raised:
            other.resume()
    # Nine weights of another shape, and six modules of two tensors that are not there.
    assert raised.value.message.count(";") == 9
    assert raised.value.message.endswith(" and 11 more")
