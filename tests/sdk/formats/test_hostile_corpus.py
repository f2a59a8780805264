"""Every file that `producers/hostile.py` makes, read by processes with little memory and an ear on all that they do.

With CKPTD_FAULT_ROUNDS above 2 no file is left out; else only every seventh of the calls and every third of the bombs
is read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

READER = Path(__file__).parent / "bounded_reader.py"
MEGABYTES = 400
SECONDS = 20
PEAK_MB = 110
KINDS = ("bare", "bare tricks", "bombs", "calls", "headers", "sparse", "tricks", "zips")
SLICES = {"bare": 7, "calls": 7, "bombs": 3}
ALL = int(os.environ.get("CKPTD_FAULT_ROUNDS") or 2) > 2

Told = list[dict[str, Any]]


def read(paths: list[Path]) -> Told:
    done = subprocess.run(
        [sys.executable, str(READER), str(MEGABYTES), str(SECONDS)],
        input=b"\0".join(os.fsencode(path) for path in paths),
        stdout=subprocess.PIPE,
        timeout=900,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def chosen(kind: Path) -> list[Path]:
    files = sorted(kind.iterdir())
    return files if ALL else files[:: SLICES.get(kind.name, 1)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(900)
def test_hostile_files_are_answered_within_bounds_and_run_nothing(
    produced: Callable[[str], Path], record_property: Callable[[str, object], None], kind: str
) -> None:
    base = produced("hostile")
    paths = chosen(base / kind)
    told = read(paths)
    record_property("inputs", len(told))
    assert len(told) == len(paths)
    assert not (base / "touched").exists()
    assert [one for one in told if "died" in one] == []
    assert [one for one in told if one["events"]] == []
    assert [one for one in told if one["state"] not in ("complete", "incomplete", "corrupt")] == []
    assert [one for one in told if one["state"] != "complete" and not one["problems"]] == []
    assert [one for one in told if one["peak_mb"] > PEAK_MB] == []
    assert [one for one in told if kind == "sparse" and one["bytes_read"] > 33 << 20] == []


def test_no_kind_is_forgotten(produced: Callable[[str], Path]) -> None:
    counts = json.loads((produced("hostile") / "expected.json").read_text())
    assert tuple(sorted(counts)) == KINDS
    assert all(counts.values())


def test_calls_that_would_run_are_named_and_nothing_else_changes(produced: Callable[[str], Path]) -> None:
    base = produced("hostile")
    told = {Path(one["path"]).stem: one for one in read(sorted((base / "calls").glob("* os.system.pt")))}
    assert len(told) == 7
    for one in told.values():
        assert one["state"] == "complete" and one["unknown_globals"] == ["os.system"]


def test_the_reader_itself_would_notice(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import bounded_reader as reader\n"
        "def inspect(path):\n"
        "    import os\n"
        "    if path.endswith('system'): os.system('true')\n"
        "    if path.endswith('write'): open(path, 'w')\n"
        "    if path.endswith('other'): open('/etc/hostname')\n"
        "    if path.endswith('import'): import antigravity_of_ours\n"
        "    if path.endswith('memory'): bytearray(1 << 30)\n"
        "    if path.endswith('endless'):\n"
        "        while True: pass\n"
        "    raise OSError(1, 'read')\n"
        "reader.inspect = inspect; sys.argv[1:] = ['400', '1']; reader.main()\n"
    )
    names = ("system", "write", "other", "import", "memory", "endless", "nothing")
    done = subprocess.run(
        [sys.executable, "-c", program, str(READER.parent)],
        input=b"\0".join(os.fsencode(tmp_path / name) for name in names),
        stdout=subprocess.PIPE,
        check=True,
    )
    system, write, other, imported, memory, endless, nothing = map(json.loads, done.stdout.splitlines())
    assert "os.system" in system["events"][0] and "open" in write["events"][0] and "open" in other["events"][0]
    assert "import" in str(imported) and "MemoryError" in memory["died"] and "signal" in endless["died"]
    assert nothing["state"] == "unreadable" and nothing["events"] == []
