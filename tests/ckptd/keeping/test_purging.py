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
            saved_at = time.time() - 60.0 * (5 - int(directory.name.partition("-")[2]) / 10)
            for path in (*directory.iterdir(), directory):
                os.utime(path, (saved_at, saved_at))
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


def test_a_trash_whose_root_was_swapped_is_not_purged(
    world: Any, foreign: Any, enforced: Any, passes: Any, tmp_path: Path
) -> None:
    import shutil

    foreign.transformers()
    enforced(keep_last=2)
    sweep(world)
    world.keeper.purge_due()
    foreign.base.rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", foreign.base)
    passes(86401)
    world.keeper.purge_due()
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


def fill(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every disk look as if more had to be free than there is."""
    monkeypatch.setattr("ckptd.keeping.purging.wanted_free", lambda total, needed: 1 << 60)
    monkeypatch.setattr("ckptd.space.pressure.wanted_free", lambda total, needed: 1 << 60)


def test_an_owner_file_that_is_torn_keeps_no_other_trash_from_making_room(
    world: Any, foreign: Any, enforced: Any, passes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = type(foreign)(tmp_path / "other")
    for base in (foreign, other):
        base.transformers()
        enforced(base.base, keep_last=2)
    sweep(world)
    assert len(world.keeper.entries()) == 6
    (foreign.base / ".ckptd" / "owner.json").write_text("{")
    fill(world, monkeypatch)
    world.keeper.purge_due()
    passes(601)
    world.keeper.purge_due()
    left = [Path(item.entry.path) for item in world.keeper.entries()]
    assert len(left) == 3 and all(path.is_relative_to(foreign.base) for path in left)
    assert "cannot be understood" in world.scanner.counts.last_error


def test_room_is_made_without_asking_disks_that_no_training_writes_to(
    world: Any, foreign: Any, enforced: Any, passes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ckptd.keeping import purging

    run = foreign.transformers()
    for path in [run, *run.rglob("*")]:
        os.utime(path, (1e9, 1e9))
    enforced(keep_last=2)
    sweep(world)
    assert {view.run.status for view in world.catalog.all()} & {"training", "stalled"} == set()
    world.keeper.purge_due()
    passes(601)
    fill(world, monkeypatch)
    asked: list[str] = []
    real = purging.room_at
    monkeypatch.setattr(purging, "room_at", lambda path: asked.append(path) or real(path))
    world.keeper.make_room()
    assert set(asked) == {str(foreign.base / ".ckptd" / "trash")}, "one that hangs would keep everything waiting"
    assert world.keeper.entries() == []


def test_making_room_again_and_again_writes_nothing_where_nothing_goes(world: Any, foreign: Any, enforced: Any) -> None:
    foreign.transformers()
    enforced(keep_last=2)
    sweep(world)
    world.keeper.purge_due()
    owner = foreign.base / ".ckptd" / "owner.json"
    before = owner.stat()
    for _ in range(3):
        world.keeper.make_room()
        world.keeper.purge_due()
    assert (owner.stat().st_ino, owner.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    os.utime(owner, (1.0, 1.0))
    world.keeper.purge_due()
    assert owner.stat().st_mtime > time.time() - 3600, "but now and then it says that it is at work"


def test_a_file_system_that_answers_with_zeros_is_not_full(
    world: Any, foreign: Any, enforced: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ckptd.keeping import purging
    from ckptd.space import samples

    foreign.transformers()
    enforced(keep_last=2)
    sweep(world)
    assert len(world.keeper.entries()) == 3
    real = os.statvfs(foreign.base)
    zeros = os.statvfs_result([0 if number < 8 else value for number, value in enumerate(real)])
    monkeypatch.setattr(samples.os, "statvfs", lambda path: zeros)
    monkeypatch.setattr(purging, "written_soon", lambda views: 1 << 30)
    world.keeper.make_room()
    assert len(world.keeper.entries()) == 3
    assert world.space.look([str(foreign.base)], world.catalog.all(), time.time()) is False
    assert "disk.filling" not in world.kinds()


def test_what_is_purged_before_its_time_says_so_and_nothing_else_does(
    world: Any, foreign: Any, enforced: Any, passes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign.transformers()
    enforced(keep_last=2)
    sweep(world)
    world.post("/v1/trash/purge", ids=[world.keeper.entries()[0].entry.id])
    world.keeper.purge_due()
    passes(601)
    fill(world, monkeypatch)
    world.keeper.make_room()
    lines = [act for act in world.journal.acts() if act["kind"] == "purge"]
    assert [("early" in line, "why" in line) for line in lines] == [(False, False), (True, True), (True, True)]
