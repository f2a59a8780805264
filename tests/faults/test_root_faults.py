"""Roots that vanish, are replaced, unmounted or may not be read: degraded, nothing marked gone, whole again later.

The periodic look is far away in these tests and comes only when `daemon.look()` asks for it; everything else was seen
by an event.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Until = Callable[..., Any]
Weights = Callable[..., Path]
GONE = ("checkpoint.gone", "checkpoint.trashed", "run.removed")


def fill(root: Path, runs: Any, weights: Weights) -> dict[str, int]:
    """An own and two foreign runs; returns names with counts."""
    runs.run("own", checkpoints=2, base=root)
    for step in (1, 2, 3):
        weights(root / "foreign" / f"model-{step}.safetensors", step)
    weights(root / "deep" / "er" / "other" / "model.safetensors")
    return {"own": 2, "foreign": 3, "other": 1}


def mark(daemon: Any, root: Path) -> None:
    """A pin on an own checkpoint and a tag on a foreign one."""
    daemon.post("/v1/marks", ref=str(root / "own/checkpoints/step-000010.pt"), kind="pin")
    daemon.post("/v1/marks", ref=str(root / "foreign/model-1.safetensors"), kind="tag", name="paper")


def marked(daemon: Any, root: Path) -> bool:
    """Whether both marks are there."""
    pinned = daemon.get("/v1/resolve", ref=str(root / "own/checkpoints/step-000010.pt"))["checkpoint"]["pinned"]
    tags = daemon.get("/v1/resolve", ref=str(root / "foreign/model-1.safetensors"))["checkpoint"]["tags"]
    return bool(pinned) and "paper" in tags


def look_until(daemon: Any, until: Until, check: Callable[[], Any]) -> None:
    """Looks again and again, as the periodic look does, until something is so."""

    def after_a_look() -> Any:
        daemon.look()
        return check()

    until(after_a_look)


def sees_at_once(daemon: Any, until: Until, weights: Weights, directory: Path) -> None:
    """New checkpoints are seen without a full look: in a directory that was there, and in new ones."""
    looks = daemon.status()["looks"]["full"]
    fresh = directory / f"fresh{looks}"
    weights(directory / "foreign" / f"late-{looks}.safetensors")
    weights(fresh / "a" / "b" / "model.safetensors")
    paths = (directory / "foreign" / f"late-{looks}.safetensors", fresh / "a" / "b" / "model.safetensors")
    until(lambda: all(daemon.get("/v1/resolve", ref=str(path)) for path in paths))
    weights(fresh / "a" / "b" / "second.safetensors")
    until(lambda: daemon.get("/v1/resolve", ref=str(fresh / "a" / "b" / "second.safetensors")))
    assert daemon.status()["looks"]["full"] == looks, "an event told of it, not the periodic look"


@pytest.fixture
def watching(start: Callable[..., Any], root: Path, runs: Any, weights: Weights) -> Any:
    """A daemon over a filled root, with marks."""
    counts = fill(root, runs, weights)
    daemon = start("--watch", root)
    assert daemon.runs() == counts
    mark(daemon, root)
    return daemon


@pytest.mark.parametrize("how", ["renamed", "recreated empty", "recreated with others", "in a file's place"])
def test_a_root_that_was_renamed_loses_nothing_and_comes_back(
    watching: Any, how: str, root: Path, until: Until, weights: Weights, equals_scan: Callable[..., None]
) -> None:
    before = watching.runs()
    aside = root.with_name("aside")
    root.rename(aside)
    if how == "in a file's place":
        root.write_text("no directory")
    elif how != "renamed":
        root.mkdir()
        if how == "recreated with others":
            weights(root / "stranger" / "model.safetensors")
    # Files of the old directory are no files of the root.
    weights(aside / "ghost" / "model.safetensors")
    look_until(watching, until, lambda: watching.root()["state"] == "degraded")
    assert watching.root()["problem"]
    assert watching.runs() == before
    assert watching.events(*GONE) == []
    if how == "in a file's place":
        root.unlink()
    elif how != "renamed":
        shutil.rmtree(root)
    shutil.rmtree(aside / "ghost")
    aside.rename(root)
    look_until(watching, until, lambda: watching.root()["state"] == "ok")
    assert watching.runs() == before
    assert marked(watching, root)
    assert watching.events(*GONE) == []
    sees_at_once(watching, until, weights, root)
    equals_scan(watching, root)


def test_a_root_that_was_deleted_loses_nothing_and_a_new_one_is_taken_when_asked(
    watching: Any, root: Path, until: Until, weights: Weights, equals_scan: Callable[..., None]
) -> None:
    before = watching.runs()
    shutil.rmtree(root)
    look_until(watching, until, lambda: watching.root()["state"] == "degraded")
    assert watching.runs().keys() == before.keys()
    root.mkdir()
    weights(root / "foreign" / "model-9.safetensors")
    watching.look()
    watching.post("/v1/roots", path=str(root), keep=False)
    until(lambda: watching.runs() == {"foreign": 1})
    assert watching.root()["state"] == "ok"
    sees_at_once(watching, until, weights, root)
    equals_scan(watching, root)


def test_a_root_that_was_emptied_is_not_believed_until_it_is_accepted(
    start: Callable[..., Any], root: Path, runs: Any, weights: Weights, until: Until
) -> None:
    """As an empty mount point looks, when the disk was not mounted at the start."""
    counts = fill(root, runs, weights)
    first = start("--watch", root)
    mark(first, root)
    assert first.end() == 0
    aside = root.with_name("aside")
    root.rename(aside)
    root.mkdir()
    second = start("--watch", root)
    assert second.root()["state"] == "degraded"
    assert second.runs() == counts
    assert second.events(*GONE) == []
    root.rmdir()
    aside.rename(root)
    second.look()
    assert second.runs() == counts
    third = second if second.root()["state"] == "ok" else None
    if third is None:
        # The empty directory was the one that this daemon knew first.
        second.end()
        third = start("--watch", root)
    assert third.root()["state"] == "ok"
    assert third.runs() == counts
    assert marked(third, root)


# Unmounted


class Disk:
    """A disk at a mount point that can be taken away and brought back with what was on it."""

    def __init__(self, kind: str, mounts: Any, place: Path, store: Path) -> None:
        self.kind, self.mounts, self.place, self.store = kind, mounts, place, store
        place.mkdir(exist_ok=True)
        if kind == "ext4":
            mounts.image(store)
        else:
            mounts.tmpfs(store)
            (store / "inside").mkdir()

    def mount(self) -> None:
        if self.kind == "ext4":
            self.mounts.mount("-o", "loop", self.store, self.place)
        else:
            self.mounts.mount("--bind", self.store / "inside", self.place)

    def unmount(self) -> None:
        self.mounts.unmount(self.place)


@pytest.fixture(params=["ext4", "bind"])
def disk(request: pytest.FixtureRequest, mounts: Any, root: Path, tmp_path: Path) -> Disk:
    """The root on a disk of its own."""
    found = Disk(request.param, mounts, root, tmp_path / "store")
    found.mount()
    return found


def test_a_root_that_is_unmounted_and_mounted_again(
    disk: Disk, watching: Any, root: Path, until: Until, weights: Weights, equals_scan: Callable[..., None]
) -> None:
    before = watching.runs()
    disk.unmount()
    look_until(watching, until, lambda: watching.root()["state"] == "degraded")
    assert watching.runs() == before
    # Written into the empty mount point by somebody who did not look.
    weights(root / "stray" / "model.safetensors")
    watching.look()
    assert watching.runs() == before
    shutil.rmtree(root / "stray")
    disk.mount()
    look_until(watching, until, lambda: watching.root()["state"] == "ok")
    assert watching.runs() == before
    assert marked(watching, root)
    assert watching.events(*GONE) == []
    sees_at_once(watching, until, weights, root)
    equals_scan(watching, root)


def test_another_disk_in_the_place_of_a_root_is_not_believed(
    disk: Disk, watching: Any, mounts: Any, root: Path, until: Until, weights: Weights, equals_scan: Callable[..., None]
) -> None:
    before = watching.runs()
    disk.unmount()
    mounts.tmpfs(root)
    weights(root / "foreign" / "model-7.safetensors")
    look_until(watching, until, lambda: watching.root()["state"] == "degraded")
    weights(root / "foreign" / "model-8.safetensors")
    watching.look()
    assert watching.runs() == before
    assert watching.events(*GONE) == []
    mounts.unmount(root)
    disk.mount()
    look_until(watching, until, lambda: watching.root()["state"] == "ok")
    assert marked(watching, root)
    sees_at_once(watching, until, weights, root)
    equals_scan(watching, root)


def test_a_disk_mounted_over_a_root_hides_it_and_nothing_is_lost(
    watching: Any, mounts: Any, root: Path, until: Until, weights: Weights, equals_scan: Callable[..., None]
) -> None:
    """The root's own directory stays where it is, below the other one, and its watches stay alive."""
    before = watching.runs()
    mounts.tmpfs(root)
    weights(root / "foreign" / "model-7.safetensors")
    look_until(watching, until, lambda: watching.root()["state"] == "degraded")
    assert watching.runs() == before
    mounts.unmount(root)
    look_until(watching, until, lambda: watching.root()["state"] == "ok")
    assert watching.runs() == before
    assert marked(watching, root)
    sees_at_once(watching, until, weights, root)
    equals_scan(watching, root)


@pytest.fixture(params=["ext4", "bind"])
def inner_disk(
    request: pytest.FixtureRequest, mounts: Any, root: Path, tmp_path: Path, runs: Any, weights: Weights
) -> Disk:
    """A disk below the root, with runs on it."""
    found = Disk(request.param, mounts, root / "disk", tmp_path / "store")
    found.mount()
    runs.run("own-on-disk", checkpoints=1, base=root / "disk")
    weights(root / "disk" / "foreign-on-disk" / "model-1.safetensors")
    weights(root / "here" / "model-1.safetensors")
    return found


def test_a_disk_below_a_root_that_is_unmounted_and_mounted_again(
    inner_disk: Disk,
    start: Callable[..., Any],
    root: Path,
    until: Until,
    weights: Weights,
    equals_scan: Callable[..., None],
) -> None:
    daemon = start("--watch", root)
    before = daemon.runs()
    assert before == {"own-on-disk": 1, "foreign-on-disk": 1, "here": 1}
    ref = str(root / "disk" / "foreign-on-disk" / "model-1.safetensors")
    daemon.post("/v1/marks", ref=ref, kind="tag", name="paper")
    inner_disk.unmount()
    daemon.look()
    daemon.look()
    # What lies beside it goes on.
    weights(root / "here" / "model-2.safetensors")
    until(lambda: daemon.runs()["here"] == 2)
    assert daemon.runs() == {**before, "here": 2}
    assert daemon.events(*GONE) == []
    inner_disk.mount()
    daemon.look()
    until(lambda: daemon.runs() == {**before, "here": 2})
    assert "paper" in daemon.get("/v1/resolve", ref=ref)["checkpoint"]["tags"]
    weights(root / "disk" / "foreign" / "model-1.safetensors")
    sees_at_once(daemon, until, weights, root / "disk")
    equals_scan(daemon, root)


# Read-only


def test_a_root_that_is_mounted_read_only_and_writable_again(
    disk: Disk, watching: Any, root: Path, until: Until, weights: Weights, equals_scan: Callable[..., None]
) -> None:
    before = watching.runs()
    again = ["-o", "remount,rw", str(root)] if disk.kind == "ext4" else ["-o", "remount,rw,bind", str(root)]
    disk.mounts.mount(*[option.replace("rw", "ro") for option in again])
    watching.look()
    assert watching.runs() == before
    assert watching.events(*GONE) == []
    with pytest.raises(Exception, match=r"[Rr]ead-only"):
        watching.post("/v1/marks", ref=str(root / "own/checkpoints/step-000020.pt"), kind="pin")
    # Marks of foreign runs lie elsewhere.
    watching.post("/v1/marks", ref=str(root / "foreign/model-2.safetensors"), kind="pin")
    disk.mounts.mount(*again)
    watching.post("/v1/marks", ref=str(root / "own/checkpoints/step-000020.pt"), kind="pin")
    assert marked(watching, root)
    sees_at_once(watching, until, weights, root)
    equals_scan(watching, root)


# Not readable


@pytest.fixture
def open_root(own_places: Path) -> Path:
    """A root that another user can reach; the directories of tests are closed to him."""
    own_places.chmod(0o755)
    path = own_places / "root"
    path.mkdir()
    return path


@pytest.fixture
def nobody(open_root: Path, own_places: Path, runs: Any, weights: Weights, start: Callable[..., Any]) -> Any:
    """A daemon of a user whom permissions hold back, over a filled root."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        pytest.skip("needs root and setpriv for a daemon of another user")
    fill(open_root, runs, weights)
    become = (setpriv, "--reuid", "65534", "--regid", "65534", "--clear-groups")
    if subprocess.run([*become, sys.executable, "-c", "import ckptd"], cwd="/", check=False).returncode:
        pytest.skip("another user cannot read this installation")
    for place in (own_places / name for name in ("state", "run", "config")):
        place.mkdir()
        os.chown(place, 65534, 65534)
    daemon = start("--watch", open_root, wrap=become, HOME="/")
    assert daemon.runs() == {"own": 2, "foreign": 3, "other": 1}
    return daemon


@pytest.mark.parametrize("what", ["foreign", "own", "deep", "deep/er", "own/checkpoints"])
def test_a_subtree_that_may_not_be_read_keeps_what_was_known(
    nobody: Any, what: str, open_root: Path, until: Until, weights: Weights, runs: Any, equals_scan: Callable[..., None]
) -> None:
    before = nobody.runs()
    (open_root / what).chmod(0)
    nobody.look()
    nobody.look()
    assert nobody.runs() == before
    assert nobody.events(*GONE) == []
    weights(open_root / "beside" / "model.safetensors")
    until(lambda: nobody.runs() == {**before, "beside": 1})
    (open_root / what).chmod(0o755)
    nobody.look()
    assert nobody.runs() == {**before, "beside": 1}
    weights(open_root / "foreign" / "model-4.safetensors")
    weights(open_root / "deep" / "er" / "other" / "model-4.safetensors")
    runs.checkpoint(open_root / "own", step=77)
    until(lambda: nobody.runs() == {"own": 3, "foreign": 4, "other": 2, "beside": 1})
    assert nobody.events(*GONE) == []
    equals_scan(nobody, open_root)


def test_a_root_that_may_not_be_read_is_degraded_until_it_may(
    nobody: Any, open_root: Path, until: Until, weights: Weights, equals_scan: Callable[..., None]
) -> None:
    before = nobody.runs()
    open_root.chmod(0)
    look_until(nobody, until, lambda: nobody.root()["state"] == "degraded")
    assert "ermission" in nobody.root()["problem"]
    assert nobody.runs() == before
    weights(open_root / "foreign" / "model-4.safetensors")
    open_root.chmod(0o755)
    look_until(nobody, until, lambda: nobody.root()["state"] == "ok")
    until(lambda: nobody.runs() == {**before, "foreign": 4})
    assert nobody.events(*GONE) == []
    sees_at_once(nobody, until, weights, open_root)
    equals_scan(nobody, open_root)


def test_files_that_may_not_be_read_are_kept_and_told_of(
    nobody: Any, open_root: Path, until: Until, equals_scan: Callable[..., None]
) -> None:
    path = open_root / "foreign" / "model-2.safetensors"
    before = nobody.runs()
    path.chmod(0)
    os.utime(path)
    nobody.look()
    assert nobody.runs() == before
    path.chmod(0o644)
    nobody.look()
    assert nobody.runs() == before
    assert nobody.events(*GONE) == []
    equals_scan(nobody, open_root)
