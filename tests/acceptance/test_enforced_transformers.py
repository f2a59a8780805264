"""A training of the Transformers Trainer goes on, rotates and is resumed while a daemon removes beside it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

POLICY = {"keep_last": 1, "min_age": 0, "max_share": 1}
THERE = {2: {2}, 4: {4}, 6: {4, 6}, 8: {4, 8}, 10: {10}, 12: {10, 12}}
"""Step to what the newest and the best (5, 3, 4, 6, 1, 7) leave; the trainer itself keeps two and the best."""


def test_a_training_that_loads_its_best_at_the_end_is_never_surprised(box: Any, tmp_path: Path) -> None:
    """The directory that is enforced is the one that the trainer lists and rotates in: nothing else may lie there."""
    run = tmp_path / "sft"
    run.mkdir()
    box.enforce(run, POLICY)
    training = box.train("transformers", run, 12)
    while (step := training.saved()) is not None:
        box.becomes(run, {f"checkpoint-{n}" for n in THERE[step]})
        training.go_on()
    assert training.end == {
        "began": 0, "ended": 12, "best": str(run / "checkpoint-10"), "best_value": 1.0, "loaded": True,
    }  # fmt: skip

    again = box.train("transformers", run, 16, resume=True)
    while again.saved() is not None:
        again.go_on()
    assert again.end == {**training.end, "began": 12, "ended": 16}
    box.becomes(run, {"checkpoint-10", "checkpoint-16"})

    assert set(os.listdir(tmp_path / ".ckptd-sft")) >= {"trash"}
    back = box.brought_back(run, {**training.seen, **again.seen})
    # The trainer rotates too: what both would take goes by whoever comes first.
    assert {"checkpoint-2"} <= back <= {f"checkpoint-{n}" for n in (2, 4, 6, 8, 12, 14)}


def test_what_is_younger_than_min_age_stays_while_an_older_run_is_thinned(box: Any, tmp_path: Path) -> None:
    """One training, written twice: under a root that waits an hour nothing goes."""
    hasty, patient = tmp_path / "hasty", tmp_path / "patient"
    for place in (hasty, patient):
        (place / "runs").mkdir(parents=True)
    made = tmp_path / "made"
    training = box.train("transformers", made, 4)
    while training.saved() is not None:
        training.go_on()
    box.enforce(hasty, POLICY)
    box.enforce(patient, {**POLICY, "min_age": 3600})
    for place in (patient, hasty):
        shutil.copytree(made, place / "runs" / "sft")
    box.becomes(hasty / "runs" / "sft", {"checkpoint-4"})

    def told() -> bool:
        verdict, reasons = box.verdicts(patient / "runs" / "sft")["checkpoint-2"]
        return verdict == "keep" and any("min_age" in reason for reason in reasons)

    box.until(told)
    assert set(os.listdir(patient / "runs" / "sft")) == {"checkpoint-2", "checkpoint-4"}
    assert os.listdir(patient) == ["runs"]
