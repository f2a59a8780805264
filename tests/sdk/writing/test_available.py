"""How much memory may be taken, from files as the kernel writes them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ckpt.writing.available import available

MEMINFO = "MemTotal:       24683756 kB\nMemFree:  100 kB\nMemAvailable:   1000 kB\n"


def made(base: Path, groups: str) -> tuple[Path, Path]:
    (base / "proc" / "self").mkdir(parents=True)
    (base / "proc" / "meminfo").write_text(MEMINFO)
    (base / "proc" / "self" / "cgroup").write_text(groups)
    (base / "groups").mkdir()
    return base / "proc", base / "groups"


def group(path: Path, **files: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)


def test_the_machine_alone(tmp_path: Path) -> None:
    assert available(*made(tmp_path, "0::/\n")) == 1000 << 10


def test_nothing_is_told(tmp_path: Path) -> None:
    assert available(tmp_path / "proc", tmp_path / "groups") is None


def test_the_group_that_leaves_least_counts_with_what_can_be_dropped(tmp_path: Path) -> None:
    proc, groups = made(tmp_path, "0::/job/step\n")
    group(groups / "job", memory__max="500000\n", memory__current="200000\n", memory__stat="anon 1\ninactive_file 7\n")
    group(groups / "job" / "step", memory__max="max\n", memory__current="100\n", memory__stat="")
    assert available(proc, groups) == 300007
    group(groups / "job" / "step", memory__max="150000\n", memory__current="190000\n")
    assert available(proc, groups) == 0


def test_the_first_version_of_groups_beside_other_controllers(tmp_path: Path) -> None:
    proc, groups = made(tmp_path, "9:name=systemd:/\n5:devices:/job\n4:cpu,memory:/job\n0::/\n")
    group(groups / "memory", memory__limit_in_bytes=f"{(1 << 63) - 4096}\n", memory__usage_in_bytes="5\n")
    group(
        groups / "memory" / "job",
        memory__limit_in_bytes="400000\n",
        memory__usage_in_bytes="100000\n",
        memory__stat="inactive_file 1\ntotal_inactive_file 10\n",
    )
    assert available(proc, groups) == 300010


def test_a_container_that_sees_only_its_own_top(tmp_path: Path) -> None:
    proc, groups = made(tmp_path, "0::/docker/abcdef\n")
    group(groups, memory__max="70000\n", memory__current="20000\n")
    assert available(proc, groups) == 50000


@pytest.mark.skipif(sys.platform != "linux", reason="what Linux tells")
def test_this_machine_tells() -> None:
    left = available()
    assert left is not None
    assert 0 < left < 1 << 60
