"""A writer's own report of what it captured, as a person reads it."""

from __future__ import annotations

from typing import Any

from ckpt_tui.render.resuming import resume_rows, resume_text

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


def test_how_each_loader_comes_back_and_where_it_was_saved() -> None:
    report = {"data": True, "phase": "val_batch", "resumes_by": {"train": "position", "web": "skipping"}}
    rows = dict(resume_rows({**BARE, **report}))
    assert rows["data position"] == "train at once, web by skipping, which takes the longer the later it stopped"
    assert rows["saved"] == "in an epoch's validation, which begins anew"
    assert "saved" not in dict(resume_rows({**BARE, "phase": "strange"}))
    assert dict(resume_rows({**BARE, "data": True}))["data position"] == "yes"


def test_what_speaks_against_an_exact_resume_is_in_the_verdict() -> None:
    rng = {"python": True, "numpy": True, "torch": True}
    report = {"model": True, "optimizer": True, "rng": rng, "data": True, "caveats": ["train: seeded anew"]}
    assert resume_text(report) == "resumes, but train: seeded anew"
