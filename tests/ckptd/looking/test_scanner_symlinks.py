"""That links come and go changes what is known of the runs that they lead to, whose own files stay as they are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest


def linked(world: Any) -> dict[str, dict[int, tuple[str, ...]]]:
    """By run and step of a checkpoint where it is linked from."""
    return {
        view.run.name: {c.step: view.situation.linked[c.id] for c in view.checkpoints if c.id in view.situation.linked}
        for view in world.catalog.all()
        if view.situation.linked
    }


@pytest.fixture
def base(world: Any, runs: Any) -> Path:
    """A root with two runs and a directory without any."""
    for name in ("a", "b"):
        runs.run(name, checkpoints=3)
    (runs.base / "paper").mkdir()
    world.roots.add(str(runs.base), "observe", [])
    world.scanner.full()
    directory: Path = runs.base
    return directory


def test_a_look_at_what_is_dirty_sees_links_come_move_and_go(world: Any, base: Path) -> None:
    figure, paper = base / "paper" / "figure.pt", str(base / "paper")
    ids = {view.run.name: view.run.id for view in world.catalog.all()}
    figure.symlink_to("../a/checkpoints/step-000010.pt")
    assert world.scanner.dirty({paper: True}) == {ids["a"]}
    assert linked(world) == {"a": {10: ("paper/figure.pt",)}}
    assert world.scanner.dirty({paper: True}) == set()
    figure.unlink()
    figure.symlink_to("../b/checkpoints/step-000020.pt")
    assert world.scanner.dirty({paper: True}) == set(ids.values())
    assert linked(world) == {"b": {20: ("paper/figure.pt",)}}
    figure.unlink()
    # That something of that name went does not say that it was a link.
    assert world.scanner.dirty({paper: False}) == {ids["b"]}
    assert linked(world) == {}


def test_links_go_with_the_directory_that_they_lie_in(world: Any, base: Path) -> None:
    (base / "paper" / "best").symlink_to("../a/checkpoints/step-000010.pt")
    (base / "other").symlink_to("b/checkpoints/step-000020.pt")
    world.scanner.dirty({str(base): True})
    assert linked(world) == {"a": {10: ("paper/best",)}, "b": {20: ("other",)}}
    (base / "paper").rename(base / "thesis")
    world.scanner.dirty({str(base / "paper"): True, str(base / "thesis"): True})
    assert linked(world)["a"] == {10: ("thesis/best",)}
    shutil.rmtree(base / "thesis")
    world.scanner.dirty({str(base / "thesis"): True})
    assert linked(world) == {"b": {20: ("other",)}}


def test_links_in_own_runs_are_seen_as_they_come_and_go(world: Any, base: Path) -> None:
    checkpoints = base / "a" / "checkpoints"
    (checkpoints / "latest.pt").symlink_to("step-000030.pt")
    (checkpoints / "for_paper").symlink_to("step-000010.pt")
    (base / "a" / "start.pt").symlink_to("../b/checkpoints/step-000020.pt")
    world.scanner.dirty({str(checkpoints): True, str(base / "a"): True})
    assert linked(world) == {"a": {10: ("a/checkpoints/for_paper",)}, "b": {20: ("a/start.pt",)}}
    (checkpoints / "for_paper").unlink()
    world.scanner.dirty({str(checkpoints): False})
    assert linked(world) == {"b": {20: ("a/start.pt",)}}


def test_a_look_at_one_root_tells_of_runs_in_another(world: Any, base: Path, tmp_path: Path) -> None:
    papers = tmp_path / "papers"
    papers.mkdir()
    (papers / "figure").symlink_to(base / "a" / "checkpoints" / "step-000010.pt")
    watched, _ = world.roots.add(str(papers), "observe", [])
    world.scanner.look(watched)
    assert linked(world) == {"a": {10: (str(papers / "figure"),)}}


@pytest.mark.skipif(os.getuid() != 0 or not sys.platform.startswith("linux"), reason="mounts")
def test_links_on_a_disk_that_is_not_mounted_still_hold(world: Any, base: Path) -> None:
    paper = base / "paper"
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(paper)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        (paper / "figure").symlink_to(base / "a" / "checkpoints" / "step-000010.pt")
        world.scanner.full()
    finally:
        subprocess.run(["umount", str(paper)], check=True)
    world.scanner.full()
    assert linked(world) == {"a": {10: ("paper/figure",)}}
    world.scanner.dirty({str(paper): True})
    assert linked(world) == {"a": {10: ("paper/figure",)}}


@pytest.mark.skipif(os.getuid() != 0 or not sys.platform.startswith("linux"), reason="drops root's rights to test")
def test_links_that_are_out_of_sight_still_hold() -> None:
    base = Path(tempfile.mkdtemp(prefix="ckptd-links-"))
    base.chmod(0o755)
    code = """
import os, sys
from pathlib import Path
base = Path(sys.argv[1])
from ckptd import parts
from ckpt.paths import StatePaths
import torch
state = StatePaths.here(); state.directory.mkdir(parents=True, exist_ok=True)
(base / "root" / "run").mkdir(parents=True)
torch.save({"epoch": 1, "model": {"w": torch.zeros(3)}}, base / "root" / "run" / "m_epoch_1.pt")
(base / "root" / "paper").mkdir()
(base / "root" / "paper" / "figure").symlink_to("../run/m_epoch_1.pt")
world = parts.writing(state)
world.roots.load(()); world.roots.add(str(base / "root"), "observe", [])
def linked():
    (view,) = world.catalog.all()
    return list(view.situation.linked.values())
world.scanner.full(); print(linked())
# Everything is imported by now.
for path in (base, *base.rglob("*")):
    os.chown(path, 65534, 65534, follow_symlinks=False)
os.setgid(65534); os.setuid(65534)
(base / "root" / "paper").chmod(0)
world.scanner.full(); print(linked())
world.scanner.dirty({str(base / "root" / "paper"): True}); print(linked())
(base / "root" / "paper").chmod(0o700); (base / "root" / "paper" / "figure").unlink()
world.scanner.full(); print(linked())
"""
    work = base / "w"
    work.mkdir()
    places = {f"CKPTD_{name}": str(work / name.lower()) for name in ("CONFIG_HOME", "STATE_HOME", "RUNTIME_DIR")}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(work)], env={**os.environ, **places}, capture_output=True, text=True
        )
    finally:
        shutil.rmtree(base)
    assert done.returncode == 0, done.stderr
    held = "[('paper/figure',)]"
    assert done.stdout.splitlines() == [held, held, held, "[]"]
