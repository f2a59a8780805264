"""A training of the Transformers Trainer goes on, rotates and is resumed while a daemon removes beside it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

POLICY = {"keep_last": 1, "monitor": "none", "min_age": 0, "max_share": 1}
"""No best by our own account: what the trainer calls its best is kept on its word alone."""
THERE = {2: {2}, 4: {4}, 6: {4, 6}, 8: {4, 8}, 10: {10}, 12: {10, 12}}
"""Step to what the newest and the best (5, 3, 4, 6, 1, 7) leave; the trainer itself keeps two and the best."""


def test_a_training_that_loads_its_best_at_the_end_is_never_surprised(box: Any, tmp_path: Path) -> None:
    """The directory that is enforced is the one that the trainer lists and rotates in: nothing else may lie there."""
    run = tmp_path / "sft"
    run.mkdir()
    box.enforce(run, POLICY)
    training = box.train("transformers", run, 12, 16)
    while (step := training.saved()) is not None:
        box.becomes(run, {f"checkpoint-{n}" for n in THERE[step]})
        training.go_on()
    first = training.end
    assert first == {
        "began": 0, "ended": 12, "best": str(run / "checkpoint-10"), "best_value": 1.0, "loaded": True,
    }  # fmt: skip

    while training.saved() is not None:
        training.go_on()
    training.finish()
    assert training.end == {**first, "began": 12, "ended": 16}
    box.becomes(run, {"checkpoint-10", "checkpoint-16"})

    assert set(os.listdir(tmp_path / ".ckptd-sft")) >= {"trash"}
    back = box.brought_back(run, training.seen)
    # The trainer rotates too: what both would take goes by whoever comes first.
    assert {"checkpoint-2"} <= back <= {f"checkpoint-{n}" for n in (2, 4, 6, 8, 12, 14)}

    # The same again, copied just now: where the policy waits an hour nothing goes, and elsewhere it does.
    kept = set(os.listdir(run))
    hasty, patient = tmp_path / "hasty", tmp_path / "patient"
    for root, min_age in ((patient, 3600), (hasty, 0)):
        root.mkdir()
        box.enforce(root, {**POLICY, "min_age": min_age})
        shutil.copytree(run, root / "sft")
    box.becomes(hasty / "sft", {"checkpoint-10", "checkpoint-16"})

    def waits() -> bool:
        verdict, reasons = box.verdicts(patient / "sft").get("checkpoint-2", ("", []))
        return verdict == "keep" and any("min_age" in reason for reason in reasons)

    box.until(waits)
    assert set(os.listdir(patient / "sft")) == kept and os.listdir(patient) == ["sft"]
