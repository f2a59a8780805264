"""What a removal says that it frees, and what it leaves."""

from __future__ import annotations

import os
from typing import Any

import pytest


def test_twins_that_go_together_free_their_bytes_in_the_plan_and_in_its_answer(
    world: Any, foreign: Any, enforced: Any
) -> None:
    run = foreign.transformers()
    for step in (20, 30):
        (run / f"checkpoint-{step}" / "model.safetensors").unlink()
        os.link(run / "checkpoint-10" / "model.safetensors", run / f"checkpoint-{step}" / "model.safetensors")
    blob = os.urandom(1 << 20)
    (run / "checkpoint-10" / "notes.txt").write_bytes(blob)
    os.link(run / "checkpoint-10" / "notes.txt", run / "checkpoint-20" / "notes.txt")
    for number, step in enumerate((10, 20, 30, 40, 50)):
        for path in (run / f"checkpoint-{step}").iterdir():
            os.utime(path, (1.7e9 + number, 1.7e9 + number))
    enforced(keep_last=2)
    plan = world.get(f"/v1/plan?run={run}")
    assert plan["freed_at_purge"] > 1 << 20
    answer = world.post("/v1/apply", plan=plan["id"])
    assert len(answer["removed"]) == 3
    assert answer["freed_at_purge"] == plan["freed_at_purge"] and answer["may_go_early"] is False


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_directory_that_is_empty_after_a_removal_stays_and_what_was_in_it_comes_back(
    world: Any, foreign: Any, enforced: Any, is_gone: bool
) -> None:
    import torch

    run = foreign.base / "loop"
    for step in range(1, 6):
        directory = run / f"step-{step}"
        directory.mkdir(parents=True)
        state = {"model": {"w": torch.full((4, 3), float(step))}, "optimizer": {"state": {}, "param_groups": []}}
        torch.save({**state, "step": step}, directory / "model.pt")
    before = {path: path.read_bytes() for path in run.rglob("*.pt")}
    enforced(keep_last=2)
    world.keeper.sweep([view.run.id for view in world.catalog.all()])
    entries = world.keeper.entries()
    assert len(entries) == 3
    left = [directory for directory in run.iterdir() if not any(directory.iterdir())]
    whole = [directory for directory in run.iterdir() if any(directory.iterdir())]
    assert len(whole) == 2
    if is_gone:
        for directory in left:
            directory.rmdir()
    answer = world.post("/v1/trash/restore", ids=[item.entry.id for item in entries])
    assert answer["left"] == []
    assert {path: path.read_bytes() for path in run.rglob("*.pt")} == before
