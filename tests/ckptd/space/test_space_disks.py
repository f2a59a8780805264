"""Real disks that fill: small ones in memory, with files on them, and a clock that the test turns."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpt.records import Checkpoint, Run
from ckpt.retention import Policy, plan
from ckpt.scan import RunView
from ckptd.config.values import Config
from ckptd.space.samples import room_at
from ckptd.space.space import Outlook, Space

MB = 1 << 20
SIZE = 64 * MB
NOW = 1_700_000_000.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a disk of 64 MB under a name."""
    mounted: list[Path] = []

    def mount(name: str) -> Path:
        place = tmp_path / name
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting is not permitted")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


class World:
    """A daemon's view of some disks, by a clock of its own."""

    def __init__(self, *roots: Path) -> None:
        self.roots = [str(root) for root in roots]
        self.now, self.short = 0.0, False
        self.told: list[dict[str, Any]] = []
        self.space = Space(self._tell, lambda run: 0, clock=lambda: self.now)

    def _tell(self, kind: str, run: str | None = None, checkpoint: str | None = None, **fields: Any) -> None:
        self.told.append({"kind": kind, "at": self.now, **fields})

    def pass_time(self, seconds: float, act: Callable[[int], None] = lambda number: None, every: float = 10.0) -> None:
        """Lets time pass; `act` is called before each look."""
        for number in range(int(seconds / every)):
            self.now += every
            act(number)
            self.short = self.space.look(self.roots, [], 0.0)

    def of(self, path: Path) -> Outlook:
        return self.space.of(str(path))


def written(path: Path, size: int) -> None:
    with path.open("ab") as stream:
        stream.write(bytes(size))


def test_a_disk_that_fills_is_foretold_once(disk: Callable[[str], Path]) -> None:
    place = disk("full")
    world = World(place)
    # 16 KB every ten seconds: 64 MB are gone after eleven hours.
    world.pass_time(1800, lambda number: written(place / "x", 16 << 10))
    early = world.of(place)
    assert (
        not world.short
        and early.full_in_s is not None
        and early.full_in_s == pytest.approx(early.free_bytes / (16 << 10) * 10, rel=0.05)
    )
    assert not early.filling and world.told == []
    # Ten times as fast: within the hour this is the trend.
    world.pass_time(3600, lambda number: written(place / "x", 96 << 10))
    assert [event["kind"] for event in world.told] == ["disk.filling"]
    (event,) = world.told
    assert event["path"] == str(place) and 0 < event["full_in_s"] < 6 * 3600
    assert 0 < event["free_bytes"] < SIZE
    assert world.of(place).filling
    (place / "x").unlink()
    world.pass_time(3 * 3600)
    assert [event["kind"] for event in world.told] == ["disk.filling", "disk.recovered"]
    assert world.of(place) == Outlook(os.stat(place).st_dev, SIZE, SIZE, None, False)


def test_a_copy_of_minutes_is_no_alarm(disk: Callable[[str], Path]) -> None:
    place = disk("copied")
    world = World(place)
    world.pass_time(1200)
    world.pass_time(300, lambda number: written(place / "data", MB))
    world.pass_time(5400)
    assert world.told == []


def test_what_comes_and_goes_is_no_alarm(disk: Callable[[str], Path]) -> None:
    place = disk("busy")
    world = World(place)

    def work(number: int) -> None:
        (place / "scratch").unlink(missing_ok=True)
        written(place / "scratch", (number * 7 % 40) * (MB >> 4))

    world.pass_time(7200, work)
    assert world.told == []


def test_a_sparse_file_takes_no_room(disk: Callable[[str], Path]) -> None:
    place = disk("sparse")
    world = World(place)

    def work(number: int) -> None:
        with (place / f"huge-{number}").open("wb") as stream:
            stream.truncate(1 << 40)

    world.pass_time(3600, work)
    assert world.of(place).full_in_s is None and world.told == []


def test_roots_on_one_disk_share_its_forecast_and_others_do_not(disk: Callable[[str], Path]) -> None:
    filling, calm = disk("filling"), disk("calm")
    for name in ("a", "b"):
        (filling / name).mkdir()
    world = World(filling / "a", filling / "b", calm)
    world.pass_time(1500, lambda number: written(filling / "x", 256 << 10))
    one, two = world.of(filling / "a"), world.of(filling / "b")
    assert one == two and one.full_in_s is not None and one.filling
    assert world.of(calm).full_in_s is None and not world.of(calm).filling
    assert [event["path"] for event in world.told] == [str(filling / "a")]


def test_a_disk_that_is_gone_is_not_foretold(disk: Callable[[str], Path]) -> None:
    place = disk("gone")
    world = World(place)
    world.pass_time(1500, lambda number: written(place / "x", 16 << 10))
    subprocess.run(["umount", str(place)], check=True)
    world.pass_time(10)
    assert world.of(place).device == os.stat(place).st_dev
    assert world.of(place / "nothing") == Outlook()
    assert room_at(str(place / "nothing")) is None
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)], check=True)
    world.pass_time(100)
    assert world.of(place).full_in_s is None


def test_a_full_disk_is_told(disk: Callable[[str], Path]) -> None:
    place = disk("over")
    with pytest.raises(OSError, match="No space left"):
        written(place / "x", SIZE + 1)
    world = World(place)
    world.pass_time(10)
    assert world.short
    assert [(event["kind"], event["full_in_s"], event["free_bytes"]) for event in world.told] == [
        ("disk.filling", 0.0, 0)
    ]


def training(path: str, name: str) -> RunView:
    """A training that has saved three times, every ten minutes."""
    saved = tuple(
        Checkpoint(id=f"{n}", run=name, path=f"{path}/{n}.pt", seq=n, bytes=MB, saved_at=NOW - 600.0 * (3 - n))
        for n in (3, 2, 1)
    )
    run = Run(id=name, name=name, root=path, path=path, own=True, status="training", created_at=NOW - 1800.0)
    return RunView(run=run, checkpoints=saved, plan=plan(saved, Policy(), NOW))


def test_the_trash_of_a_training_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    now, asked = [0.0], []
    space = Space(lambda *args, **fields: None, lambda run: asked.append(run) or 5, clock=lambda: now[0])
    trainings = [training(str(tmp_path), name) for name in ("a", "b")]
    space.look([], trainings, NOW)
    space.look([], trainings, NOW)
    assert asked == ["a", "b"], "listed once a minute"
    now[0] = 60.0
    space.look([], trainings[:1], NOW)
    assert asked == ["a", "b", "a"]
    assert set(space._listed) == {"a"}


def test_a_disk_with_too_little_free_fills_at_the_first_look(disk: Callable[[str], Path]) -> None:
    place = disk("short")
    written(place / "x", SIZE - (256 << 10))
    world = World(place)
    world.pass_time(10)
    assert world.short and world.of(place).filling and world.of(place).full_in_s is None
    assert [told["kind"] for told in world.told] == ["disk.filling"]


def test_config_toml_says_how_long_before_it_is_full_a_disk_is_told_of(
    disk: Callable[[str], Path], make_world: Any
) -> None:
    place, limit = disk("warned"), [3600.0]
    world = World(place)
    world.space = Space(world._tell, lambda run: 0, clock=lambda: world.now, warn_before=lambda: limit[0])
    # 64 MB are gone after eleven hours.
    world.pass_time(1800, lambda number: written(place / "x", 16 << 10))
    assert world.told == []
    limit[0] = 12 * 3600.0
    world.pass_time(20, lambda number: written(place / "x", 16 << 10))
    assert [event["kind"] for event in world.told] == ["disk.filling"]
    parts = make_world().parts
    parts.configure(Config(warn_before=limit[0]))
    assert parts.space.warn_before() == limit[0]
