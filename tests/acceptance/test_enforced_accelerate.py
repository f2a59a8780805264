"""A loop with Accelerate's automatic names goes on, rotates and is resumed while a daemon removes beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

POLICY = {"keep_last": 1, "monitor": "none", "min_age": 0, "max_share": 1}


def test_a_loop_with_automatic_names_is_never_surprised(box: Any, tmp_path: Path) -> None:
    """Anything without a number among its checkpoints would end it, and one too many would be rotated out."""
    root = tmp_path / "experiments"
    run = root / "loop"
    place = run / "checkpoints"
    root.mkdir()
    box.enforce(root, POLICY)
    training = box.train("accelerate", run, 4, 6)
    while (number := training.saved()) is not None:
        if number == 1:
            # A pin holds the daemon back, not the trainer, whose own limit of two lets the oldest go.
            box.becomes(place, {"checkpoint_0", "checkpoint_1"})
        else:
            box.becomes(place, {f"checkpoint_{number}"})
        if number == 0:
            (first,) = box.until(lambda: [c for c in box.view(run)["checkpoints"] if c["state"] == "complete"])
            box.client.post("/v1/marks", {"ref": first["id"], "kind": "pin"})
        training.go_on()
    assert training.end == {"began": 0, "ended": 4}

    while training.saved() is not None:
        training.go_on()
    training.finish()
    assert training.end == {"began": 4, "ended": 6}
    box.becomes(place, {"checkpoint_5"})

    assert set(os.listdir(run)) == {"checkpoints"} and set(os.listdir(root)) == {"loop", ".ckptd"}
    back = box.brought_back(run, training.seen)
    assert "checkpoints/checkpoint_1" in back and "checkpoints/checkpoint_0" not in back
