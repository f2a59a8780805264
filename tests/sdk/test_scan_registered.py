"""Reading by path finds the watched directory that the daemon reads a run from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckpt import files, scan
from ckpt.encoding import path_fields
from ckpt.paths import StatePaths


def keep(**told: Any) -> None:
    StatePaths.here().roots.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(StatePaths.here().roots, {"roots": [], "seen": [], **told})


def test_the_innermost_root_above_a_path_is_found(tmp_path: Path) -> None:
    keep(roots=[path_fields(str(tmp_path))], seen=[path_fields(str(tmp_path / "a"))])
    assert scan.registered_root(tmp_path / "a" / "run") == tmp_path / "a"
    assert scan.registered_root(tmp_path / "a") == tmp_path / "a"
    assert scan.registered_root(tmp_path / "ab") == tmp_path
    assert scan.registered_root(tmp_path.parent) is None


@pytest.mark.parametrize("text", ["", "[]", "[" * 10_000, '{"roots": 3}', '{"roots": [3], "seen": []}'])
def test_a_file_that_makes_no_sense_names_no_root(tmp_path: Path, text: str) -> None:
    assert scan.registered_root(tmp_path) is None
    keep()
    StatePaths.here().roots.write_text(text)
    assert scan.registered_root(tmp_path) is None
