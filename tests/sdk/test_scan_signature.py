"""A signature changes with what a reader would see, and with nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ckpt import files, marks, scan
from ckpt.paths import RunPaths


def test_it_is_the_same_in_another_process_and_for_nothing_read(runs: Any) -> None:
    import subprocess
    import sys

    directory = runs.run(checkpoints=2)
    code = f"from ckpt import scan; from pathlib import Path; print(scan.signature(Path({str(directory)!r})))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first = scan.signature(directory)
    (directory / "metrics.csv").write_text("step\n")
    assert scan.signature(directory) == first == other.stdout.strip()


@pytest.mark.parametrize("change", ["checkpoint", "rewrite", "touch", "mark", "state", "manifest", "remove"])
def test_it_changes_with_an_own_run(runs: Any, change: str) -> None:
    directory = runs.run(checkpoints=2)
    before = scan.signature(directory)
    file = directory / "checkpoints" / "step-000010.pt"
    if change == "checkpoint":
        runs.checkpoint(directory, step=30)
    elif change == "rewrite":
        times = file.stat()
        data = file.read_bytes()
        file.write_bytes(data[:-1] + b"x")
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "touch":
        os.utime(file)
    elif change == "mark":
        marks.append(RunPaths(directory).marks, "pin", "x")
    elif change == "state":
        files.append_json(RunPaths(directory).states, {"global_step": 1})
    elif change == "manifest":
        files.write_json(RunPaths(directory).manifest, {"id": "other"})
    else:
        file.unlink()
    assert scan.signature(directory) != before


def test_a_foreign_run_is_its_checkpoints_and_marks(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "a.pt").write_bytes(b"1")
    said = tmp_path / "marks.jsonl"
    first = scan.signature(run, said)
    (run / "train.log").write_text("a line")
    assert scan.signature(run, said) == first
    marks.append(said, "pin", "x")
    second = scan.signature(run, said)
    (run / "last.ckpt").symlink_to("a.pt")
    third = scan.signature(run, said)
    (run / "a.pt").rename(run / "b.pt")
    assert len({first, second, third, scan.signature(run, said)}) == 4


def test_a_directory_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        scan.signature(tmp_path / "nothing")


def test_a_link_in_a_circle_hides_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "circle.pt").symlink_to("circle.pt")
    before = scan.signature(tmp_path)
    (tmp_path / "model.pt").write_bytes(b"x")
    assert scan.signature(tmp_path) != before
