"""A writer's own report of what it captured, as a person reads it."""

from __future__ import annotations

from typing import Any

from ckpt_tui.render.resuming import resume_rows

BARE: dict[str, Any] = {"model": True, "rng": {}, "topology": {}}


def test_registered_objects_and_what_was_left_out_have_rows() -> None:
    report = {
        "captured": ["model", "optimizer", "rng.python", "config", "ema", "meter"],
        "left_out": {"scaler": "none was given", "loaders": "train_loader is a DataLoader"},
    }
    rows = dict(resume_rows({**BARE, **report}))
    assert rows["besides"] == "ema, meter"
    assert rows["left out"] == "loaders: train_loader is a DataLoader"


def test_without_a_report_there_are_no_such_rows() -> None:
    assert not {"besides", "left out"} & dict(resume_rows(BARE)).keys()
    assert not {"besides", "left out"} & dict(resume_rows({**BARE, "captured": ["model"], "left_out": {}})).keys()
