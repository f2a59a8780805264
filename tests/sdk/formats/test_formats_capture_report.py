"""The report in an own checkpoint, read without torch; what a hostile file puts in its place harms nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt.formats import inspect

torch.set_num_threads(1)

DATA = Path(__file__).parents[2] / "data"


def test_the_report_is_in_the_resume_report() -> None:
    resume = inspect(DATA / "v1.pt").resume
    assert "ema" in resume["captured"]
    assert resume["left_out"]["scaler"] == "none was given"
    assert resume["topology"] == {"world_size": 1}
    assert not {"captured", "left_out"} & inspect(DATA / "v1-document.pt").resume.keys()


@pytest.mark.parametrize(
    ("report", "captured", "left_out"),
    [
        (3, None, None),
        ({"captured": 3, "left_out": [1]}, [], {}),
        ({"captured": [1, "a", None], "left_out": {1: "x", "b": 2, "c": "d"}}, ["a"], {"c": "d"}),
        ({"captured": ["x" * 5000, "\x1b[31m"]}, ["x" * 300, None], {}),
    ],
)
def test_reports_of_other_shapes(report: Any, captured: Any, left_out: Any, tmp_path: Path) -> None:
    envelope = {"format_version": 1, "model_state_dict": {}, "rng_states": None, "resume_state": None}
    torch.save({**envelope, "capture_report": report}, tmp_path / "a.pt")
    resume = inspect(tmp_path / "a.pt").resume
    if captured is None:
        assert "captured" not in resume
        return
    assert [a for a in resume["captured"] if "\x1b" in a] == []
    assert len(resume["captured"]) == len(captured)
    assert all(b is None or a == b for a, b in zip(resume["captured"], captured, strict=True))
    assert resume["left_out"] == left_out
