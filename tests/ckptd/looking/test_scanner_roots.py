"""What a scanner does when a root, a part of it or a disk is not what it was."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpt import files
from ckptd.roots.advice import MANY_DIRECTORIES, root_warnings

AS_ROOT = pytest.mark.skipif(
    os.getuid() != 0 or not sys.platform.startswith("linux"), reason="mounting needs root's rights on Linux"
)


def names(world: Any) -> list[str]:
    return sorted(view.run.name for view in world.catalog.all())


def status(world: Any) -> dict[str, Any]:
    roots: list[dict[str, Any]] = world.get("/v1/roots")["roots"]
    return roots[0]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Mounts an empty tmpfs on a directory for the life of the test; skips where that is not allowed."""
    mounted: list[Path] = []

    def act(directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(directory)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
        mounted.append(directory)

    yield act
    for directory in reversed(mounted):
        subprocess.run(["umount", str(directory)], capture_output=True)


def unmount(directory: Path) -> None:
    subprocess.run(["umount", str(directory)], check=True)


def test_a_renamed_root_says_its_new_name_and_adding_that_follows_it(world: Any, runs: Any) -> None:
    import torch

    runs.run("exp1", checkpoints=1)
    (runs.base / "theirs").mkdir()
    torch.save({"w": torch.zeros(3)}, runs.base / "theirs" / "m.pt")
    world.post("/v1/roots", path=str(runs.base), exclude=["scratch"])
    for name in ("exp1", "theirs"):
        world.post("/v1/marks", ref=str(runs.base / name), kind="pin")
    own = world.catalog.at(str(runs.base / "exp1")).run.id
    new = runs.base.rename(runs.base.with_name("renamed"))
    world.scanner.full()
    assert status(world)["state"] == "degraded"
    assert f"renamed to {new}" in status(world)["problem"]
    assert f"ckpt watch add {new}" in status(world)["problem"]
    assert names(world) == ["exp1", "theirs"]
    answer = world.post("/v1/roots", path=str(new))
    assert answer["moved_from"] == str(runs.base)
    assert [root["path"] for root in world.get("/v1/roots")["roots"]] == [str(new)]
    assert (status(world)["state"], status(world)["exclude"]) == ("ok", ["scratch"])
    assert world.catalog.at(str(new / "exp1")).run.id == own
    assert {view.run.path for view in world.catalog.all()} == {str(new / "exp1"), str(new / "theirs")}
    assert all(view.checkpoints[0].pinned for view in world.catalog.all())


def test_another_directory_in_its_place_is_told_over_a_restart(make_world: Callable[[], Any], runs: Any) -> None:
    runs.run("exp1", checkpoints=1)
    first = make_world()
    first.post("/v1/roots", path=str(runs.base))
    first.catalog.flush()
    aside = runs.base.rename(runs.base.with_name("aside"))
    runs.run("exp2", checkpoints=1)
    second = make_world()
    second.scanner.full()
    assert names(second) == ["exp1"]
    assert "another directory" in status(second)["problem"]
    assert str(aside) in status(second)["problem"]


def test_a_root_of_config_is_remembered_too(make_world: Callable[[], Any], runs: Any) -> None:
    from ckptd.config.values import Root

    runs.run("exp1", checkpoints=1)
    configured = [Root(path=str(runs.base), origin="config.toml")]
    first = make_world()
    first.roots.load(configured)
    first.scanner.full()
    first.catalog.flush()
    runs.base.rename(runs.base.with_name("aside"))
    runs.run("exp2", checkpoints=1)
    second = make_world()
    second.roots.load(configured)
    second.scanner.full()
    assert status(second)["state"] == "degraded"
    assert names(second) == ["exp1"]


def test_after_a_reboot_what_is_in_a_root_tells_whether_it_is_the_same(
    make_world: Callable[[], Any], runs: Any
) -> None:
    for name in ("exp1", "exp2"):
        runs.run(name, checkpoints=1)
    first = make_world()
    first.post("/v1/roots", path=str(runs.base))
    first.catalog.flush()
    stored = files.read_json(first.state.roots)
    stored["seen"][0].update(boot="an earlier one", device=1, inode=2, file_system=3)
    files.write_json(first.state.roots, stored)
    second = make_world()
    second.scanner.full()
    assert (status(second)["state"], names(second)) == ("ok", ["exp1", "exp2"])
    files.write_json(first.state.roots, stored)
    shutil.move(runs.base / "exp1", runs.base.parent / "exp1")
    shutil.move(runs.base / "exp2", runs.base.parent / "exp2")
    runs.run("stranger", checkpoints=1)
    third = make_world()
    third.scanner.full()
    assert (status(third)["state"], names(third)) == ("degraded", ["exp1", "exp2"])
    assert "restarted" in status(third)["problem"]
    third.post("/v1/roots", path=str(runs.base))
    assert (status(third)["state"], names(third)) == ("ok", ["stranger"])


def test_many_runs_that_are_all_missing_after_a_restart_are_not_taken_as_gone(
    make_world: Callable[[], Any], runs: Any, tmp_path: Path
) -> None:
    for name in ("exp1", "exp2", "exp3"):
        runs.run(name, checkpoints=1)
    first = make_world()
    first.post("/v1/roots", path=str(runs.base))
    first.catalog.flush()
    for name in ("exp1", "exp2", "exp3"):
        shutil.move(runs.base / name, tmp_path / name)
    (runs.base / "a file").write_text("so that it is not empty")
    second = make_world()
    second.scanner.full()
    assert names(second) == ["exp1", "exp2", "exp3"]
    assert "none of the 3 runs" in status(second)["problem"]
    shutil.move(tmp_path / "exp2", runs.base / "renamed")
    second.scanner.full()
    assert (status(second)["state"], names(second)) == ("ok", ["renamed"])


@AS_ROOT
def test_a_root_that_is_a_mount_point_is_degraded_while_it_is_not_mounted(
    world: Any, runs: Any, mount: Callable[[Path], None]
) -> None:
    mount(runs.base)
    runs.run("exp1", checkpoints=1)
    world.post("/v1/roots", path=str(runs.base))
    unmount(runs.base)
    world.scanner.full()
    world.scanner.dirty({str(runs.base): True, str(runs.base / "exp1"): True})
    assert names(world) == ["exp1"]
    assert "another file system" in status(world)["problem"]


@AS_ROOT
@pytest.mark.parametrize("deep", [False, True])
def test_a_disk_below_a_root_that_is_unmounted_takes_no_runs_with_it(
    make_world: Callable[[], Any], runs: Any, mount: Callable[[Path], None], deep: bool
) -> None:
    disk = runs.base / "disk"
    mount(disk)
    runs.run("here", checkpoints=1)
    place = runs.run("deep/there" if deep else "there", checkpoints=1, base=disk)
    first = make_world()
    first.post("/v1/roots", path=str(runs.base))
    first.catalog.flush()
    unmount(disk)
    second = make_world()
    for world in (first, second):
        world.scanner.full()
        world.scanner.dirty({str(disk): True, str(place): True})
        assert names(world) == ["here", "there"]
        assert status(world)["state"] == "ok"
        assert f"the file system at {disk} is not mounted" in status(world)["warnings"][0]
    second.post("/v1/roots", path=str(runs.base))
    assert names(second) == ["here"]
    assert status(second)["warnings"] == []


@AS_ROOT
def test_an_announced_run_on_a_disk_that_is_unmounted_is_kept(
    world: Any, runs: Any, mount: Callable[[Path], None]
) -> None:
    mount(runs.base)
    directory = runs.run("exp1", checkpoints=1)
    note = world.state.announced / "x.json"
    note.parent.mkdir()
    files.write_json(note, {"path": str(directory), "id": "x"})
    world.scanner.full()
    unmount(runs.base)
    world.scanner.full()
    assert (names(world), note.exists()) == (["exp1"], True)


@AS_ROOT
@pytest.mark.parametrize("closed", ["group", "group/exp1", "group/exp1/checkpoints"])
def test_what_became_unreadable_stays_as_it_was(runs: Any, closed: str) -> None:
    """In a process of its own, which gives root's rights up."""
    base = Path(tempfile.mkdtemp(prefix="ckptd-closed-"))
    code = f"""
import os, sys
from pathlib import Path
from ckpt.paths import StatePaths
from ckptd.parts import writing
base = Path({str(base)!r})
state = StatePaths(base / "state")
parts = writing(state)
watched, _ = parts.roots.add(str(base / "runs"), "observe", ())
parts.scanner.full()
os.setgid(65534); os.setuid(65534)
os.chmod(base / "runs" / {closed!r}, 0)
parts.scanner.full()
parts.scanner.dirty({{str(base / "runs" / {closed!r}): True, str(base / "runs"): True}})
print(sorted((view.run.name, len(view.checkpoints)) for view in parts.catalog.all()))
print(watched.state, [os.path.relpath(path, base / "runs") for path in watched.unreadable])
os.chmod(base / "runs" / {closed!r}, 0o700)
parts.scanner.full()
print(watched.state, watched.unreadable, parts.scanner.counts.errors)
"""
    try:
        maker = type(runs)(base / "runs")
        maker.run("group/exp1", checkpoints=1)
        maker.run("exp2", checkpoints=1)
        (base / "state").mkdir()
        for path in (base, *base.rglob("*")):
            os.chown(path, 65534, 65534)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    finally:
        shutil.rmtree(base)
    assert done.stderr == ""
    place = "group" if closed == "group" else "group/exp1"
    assert done.stdout.splitlines() == [
        "[('exp1', 1), ('exp2', 1)]",
        f"ok ['{place}']",
        "ok () 0",
    ]


def test_links_that_lead_to_runs_outside_are_told(world: Any, runs: Any, tmp_path: Path) -> None:
    runs.run("exp1", checkpoints=1)
    runs.run("exp9", checkpoints=1, base=tmp_path / "elsewhere")
    (runs.base / "more").symlink_to(tmp_path / "elsewhere")
    world.post("/v1/roots", path=str(runs.base))
    shown = status(world)
    assert shown["links"] == [{"path": str(runs.base / "more"), "target": str(tmp_path / "elsewhere")}]
    assert shown["directories"] == 2
    assert f"`ckpt watch add {tmp_path / 'elsewhere'}`" in shown["warnings"][0]
    assert names(world) == ["exp1"]


def test_warnings_say_what_to_do_and_do_not_list_everything() -> None:
    told = root_warnings(
        "/r",
        directories=MANY_DIRECTORIES + 1,
        links=[(f"/r/{n}", f"/t/{n}") for n in range(5)],
        unreadable=["/r/a", "/r/b", "/r/c", "/r/d"],
        missing=["/r/disk"],
    )
    assert "--exclude" in told[0]
    assert "2 more links" in told[4]
    assert "and 1 more cannot be read" in told[5]
    assert "ckpt watch add /r" in told[6]
    assert root_warnings("/r", directories=MANY_DIRECTORIES, links=[], unreadable=[], missing=[]) == []


@AS_ROOT
def test_a_directory_of_the_same_disk_that_is_bound_below_a_root_is_a_disk_too(
    world: Any, runs: Any, tmp_path: Path
) -> None:
    runs.run("exp1", checkpoints=1, base=tmp_path / "elsewhere")
    bound = runs.base / "bound"
    bound.mkdir(parents=True)
    runs.run("exp2", checkpoints=1)
    done = subprocess.run(["mount", "--bind", str(tmp_path / "elsewhere"), str(bound)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        world.post("/v1/roots", path=str(runs.base))
        world.scanner.full()
    finally:
        unmount(bound)
    world.scanner.full()
    assert world.catalog.at(str(bound / "exp1")) is not None
    assert str(bound) in status(world)["warnings"][0]
