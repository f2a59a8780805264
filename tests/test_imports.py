"""What a program loads at start, seen in a fresh interpreter: promises of speed and of running without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "textual", "numpy", "rich", "pydantic", "sklearn", "ml_dtypes", "safetensors")

TORCH_FREE = [
    "ckpt",
    "ckpt.client",
    "ckpt.config",
    "ckpt.copies",
    "ckpt.diff",
    "ckpt.encoding",
    "ckpt.exceptions",
    "ckpt.files",
    "ckpt.filters",
    "ckpt.formats",
    "ckpt.marks",
    "ckpt.paths",
    "ckpt.protocol",
    "ckpt.records",
    "ckpt.refs",
    "ckpt.retention",
    "ckpt.runs",
    "ckpt.scan",
    "ckpt.state",
    "ckpt.trash",
    "ckptd",
    "ckptd.cli",
    "ckptd.daemon",
    "ckpt_tui",
    "ckpt_tui.cli",
]


def loaded(code: str, cwd: Path) -> set[str]:
    """Names of the heavy packages in `sys.modules` after running code in a fresh interpreter."""
    report = f"import json, sys; print('\\n' + json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    return set(json.loads(done.stdout.strip().splitlines()[-1]))


@pytest.mark.parametrize("module", TORCH_FREE)
def test_import_loads_nothing_heavy(module: str, tmp_path: Path) -> None:
    assert loaded(f"import {module}", tmp_path) == set()


def run_command(*argv: str) -> str:
    return (
        f"import sys; sys.argv = {['ckpt', *argv]!r}\n"
        "from ckpt_tui.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )


@pytest.mark.parametrize("argv", [("--help",), ("ls", "."), ("ls",), ("ls", "--json", ".")])
def test_commands_load_nothing_heavy(argv: tuple[str, ...], tmp_path: Path) -> None:
    assert loaded(run_command(*argv), tmp_path) == set()


def test_dashboard_loads_neither_torch_nor_numpy(tmp_path: Path) -> None:
    assert loaded("import ckpt_tui.dashboard.app", tmp_path) & {"torch", "numpy"} == set()


def test_the_check_sees_what_is_loaded(tmp_path: Path) -> None:
    assert "numpy" in loaded("import numpy", tmp_path)
