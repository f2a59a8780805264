"""A disk without a free byte: room is made there, and what cannot be done says so."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpt.exceptions import OperationError
from ckpt.trash import Trash
from ckptd.keeping import retrying

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
RULES = {"keep_last": 2, "monitor": "none", "min_age": 0, "max_share": 1.0}


@pytest.fixture
def disk(foreign: Any) -> Iterator[Path]:
    """The lab on a disk of its own, of 24 MB, with five checkpoints of 2 MB each."""
    import torch

    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", foreign.base], check=True)
    try:
        for directory in sorted(foreign.transformers().iterdir()):
            moments = {0: {"exp_avg": torch.zeros(1 << 19)}}
            torch.save({"state": moments, "param_groups": [{"lr": 0.1}]}, directory / "optimizer.pt")
            saved_at = time.time() - 60.0 * (5 - int(directory.name.partition("-")[2]) / 10)
            for path in (*directory.iterdir(), directory):
                os.utime(path, (saved_at, saved_at))
        yield foreign.base
    finally:
        subprocess.run(["umount", "-l", foreign.base], check=True)


def fill(disk: Path) -> None:
    """Takes every byte that is free."""
    with (disk / "data.bin").open("ab", buffering=0) as out:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    out.write(bytes(size))
            except OSError:
                continue
    assert free(disk) == 0


def free(disk: Path) -> int:
    stat = os.statvfs(disk)
    return stat.f_bavail * stat.f_frsize


def sweep(world: Any) -> None:
    world.keeper.sweep([view.run.id for view in world.catalog.all()])


def test_room_is_made_at_once_where_not_a_byte_is_free(
    world: Any, disk: Path, enforced: Any, passes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    enforced(keep_last=2)
    sweep(world)
    *_, oldest = world.keeper.entries()
    world.keeper.purge_due()
    passes(601)
    os.utime(disk / ".ckptd" / "owner.json", (1.0, 1.0))
    fill(disk)
    purge = Trash.purge

    def fails(self: Trash, entry_id: str) -> int:
        if entry_id == oldest.entry.id:
            raise OperationError("it cannot be deleted")
        return purge(self, entry_id)

    monkeypatch.setattr(Trash, "purge", fails)
    world.keeper.make_room()
    assert [item.entry.id for item in world.keeper.entries()] == [oldest.entry.id], "others take its place, at once"
    assert free(disk) > 4 << 20
    assert world.scanner.counts.errors == 1
    monkeypatch.setattr(Trash, "purge", purge)
    fill(disk)
    world.keeper.make_room()
    assert world.keeper.entries() == [], "a failure puts nothing off while the disk is full"


def test_what_was_removed_just_now_goes_only_until_the_next_save_fits(world: Any, disk: Path, enforced: Any) -> None:
    enforced(keep_last=2)
    sweep(world)
    (disk / "data.bin").write_bytes(bytes(free(disk) - (3 << 20)))
    world.keeper.make_room()
    assert len(world.keeper.entries()) == 3, "one more save fits"
    fill(disk)
    world.keeper.make_room()
    assert 0 < len(world.keeper.entries()) < 3
    view = world.catalog.all()[0]
    assert free(disk) >= max(checkpoint.bytes for checkpoint in view.checkpoints)


def test_a_disk_without_a_byte_for_the_trash_is_not_enforced_and_is_when_there_are_some(world: Any, disk: Path) -> None:
    world.post("/v1/roots", path=str(disk), mode="enforce", policy=RULES)
    plan = world.get(f"/v1/plan?root={disk}&enforced=1")["id"]
    fill(disk)
    with pytest.raises(OperationError, match="No space left") as caught:
        world.post("/v1/roots", path=str(disk), mode="enforce", plan=plan)
    assert "free a few KB" in str(caught.value.hint)
    assert not world.roots.known(str(disk)).enforced
    assert len(list((disk / "sft").iterdir())) == 5
    os.truncate(disk / "data.bin", os.path.getsize(disk / "data.bin") - (64 << 10))
    done = world.post("/v1/roots", path=str(disk), mode="enforce", plan=plan)
    assert len(done["applied"]["removed"]) == 3
    world.keeper.make_room()
    assert free(disk) > 2 << 20, "and what it removed makes room for the next save"


def test_a_removal_that_a_full_disk_stopped_is_tried_again_soon(
    world: Any, disk: Path, enforced: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    enforced(keep_last=2)
    fill(disk)
    sweep(world)
    sweep(world)
    assert world.keeper.entries() == [] and world.scanner.counts.errors == 1
    os.truncate(disk / "data.bin", os.path.getsize(disk / "data.bin") - (64 << 10))
    seconds = retrying.time.monotonic() + retrying.FULL_S
    monkeypatch.setattr(world.keeper._sweeping._retries, "_clock", lambda: seconds)
    sweep(world)
    assert len(world.keeper.entries()) == 3


def test_a_plain_loop_is_foretold_from_its_third_save_on_and_gets_room(
    world: Any, foreign: Any, disk: Path, enforced: Any
) -> None:
    import torch

    run = disk / "loop"
    run.mkdir()
    began = time.time() - 7.5

    def save(step: int) -> None:
        state = {"model": {"w": torch.zeros(1 << 18)}, "optimizer": {"state": {}, "param_groups": []}, "step": step}
        path = run / f"ckpt_{step:04d}.pt"
        torch.save(state, path)
        os.utime(path, (began + 2.5 * step, began + 2.5 * step))

    enforced(keep_last=2)
    for step in range(1, 4):
        assert world.space.of(str(disk)).full_in_s is None
        save(step)
        world.scanner.full()
        world.space.look([str(disk)], [view for view in world.catalog.all() if view.run.path == str(run)], time.time())
    (view,) = [view for view in world.catalog.all() if view.run.path == str(run)]
    assert (view.run.status, view.run.framework) == ("training", "torch")
    seen = world.space.of(str(disk))
    assert seen.full_in_s is not None and seen.full_in_s < 60 and seen.filling
    for step in range(4, 40):
        save(step)  # raises when the disk is full
        if step % 4 == 0:  # a daemon looks every ten seconds, while the loop saves four times
            world.scanner.full()
            sweep(world)
            world.keeper.make_room()
    assert (run / "ckpt_0039.pt").exists() and len(list(run.iterdir())) < 12
