"""What leaves the trash for good before its time, and what cannot go."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and file attributes")


def sweep(world: Any) -> None:
    world.keeper.sweep([view.run.id for view in world.catalog.all()])


@needs_root
def test_a_disk_that_fills_takes_the_oldest_before_their_time(world: Any, foreign: Any, enforced: Any) -> None:
    import torch

    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", foreign.base], check=True)
    try:
        run = foreign.transformers()
        for directory in sorted(run.iterdir()):
            moments = {0: {"exp_avg": torch.zeros(1 << 19)}}
            torch.save({"state": moments, "param_groups": [{"lr": 0.1}]}, directory / "optimizer.pt")
        enforced(keep_last=2)
        sweep(world)
        assert len(world.keeper.entries()) == 3
        world.keeper.purge_due()
        assert len(world.keeper.entries()) == 3, "there is room"
        stat = os.statvfs(foreign.base)
        (foreign.base / "data.bin").write_bytes(bytes(stat.f_bavail * stat.f_frsize - (100 << 10)))
        world.keeper.purge_due()
        left = world.keeper.entries()
        assert 0 < len(left) < 3, "only as many as are needed"
        assert all("checkpoint-10" not in item.entry.path for item in left), "the oldest first"
        purged = [event for event in world.events.since(None) if event["kind"] == "checkpoint.purged"]
        assert purged and all(event["early"] is True for event in purged)
        (line, *_) = [act for act in world.journal.acts() if act["kind"] == "purge"]
        assert "nearly full" in line["why"]
    finally:
        subprocess.run(["umount", foreign.base], check=True)


@needs_root
def test_a_directory_that_may_not_be_moved_stays_and_the_others_go(world: Any, foreign: Any, enforced: Any) -> None:
    run = foreign.transformers()
    fixed = run / "checkpoint-20"
    if subprocess.run(["chattr", "+i", fixed], capture_output=True).returncode:
        pytest.skip("this file system knows no immutable files")
    try:
        enforced(keep_last=2)
        answer = world.post("/v1/apply", plan=world.get(f"/v1/plan?run={run}")["id"])
        assert len(answer["removed"]) == 2
        (skip,) = answer["skipped"]
        assert skip["path"] == str(fixed) and "not permitted" in skip["reason"]
        assert [act["kind"] for act in world.journal.acts()].count("stayed") == 1
        assert fixed.is_dir()
        sweep(world)
        sweep(world)
        assert world.scanner.counts.errors == 1, "it is tried again later, and not at once"
    finally:
        subprocess.run(["chattr", "-i", fixed], check=True)


def test_a_trash_whose_root_was_swapped_is_not_purged(world: Any, foreign: Any, enforced: Any, tmp_path: Path) -> None:
    import shutil

    foreign.transformers()
    enforced(keep_last=2)
    sweep(world)
    foreign.base.rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", foreign.base)
    world.keeper.purge_due(time.time() + 86401)
    assert len(list((foreign.base / ".ckptd" / "trash").glob("*/entry.json"))) == 3


def test_time_alone_makes_a_plan_that_is_carried_out(world: Any, foreign: Any, enforced: Any, later: Any) -> None:
    run = foreign.transformers()
    later(0.0)
    enforced(keep_last=2)
    sweep(world)
    assert len(list(run.iterdir())) == 5, "all of it was written just now"
    looks = world.scanner.counts.full, world.scanner.counts.partial
    later(7200.0)
    sweep(world)
    assert len(list(run.iterdir())) == 2
    assert (world.scanner.counts.full, world.scanner.counts.partial) == looks
