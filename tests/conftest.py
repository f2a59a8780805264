"""Isolation from the developer's machine: no daemon of theirs, no directory of theirs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

for _name in [n for n in os.environ if n.startswith(("CKPTD_", "CKPT_", "SLURM_", "XDG_"))]:
    del os.environ[_name]
for _name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
    os.environ.pop(_name, None)
os.environ["TEXTUAL_ANIMATIONS"] = "none"
os.environ["COLUMNS"] = "160"


@pytest.fixture(autouse=True)
def own_places(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Config, state and socket in a directory of this test, short enough for a socket path."""
    base = Path(tempfile.mkdtemp(prefix="ck-"))
    monkeypatch.setenv("CKPTD_CONFIG_HOME", str(base / "config"))
    monkeypatch.setenv("CKPTD_STATE_HOME", str(base / "state"))
    monkeypatch.setenv("CKPTD_RUNTIME_DIR", str(base / "run"))
    monkeypatch.setenv("CKPTD_AUTOSTART", "0")
    yield base
    shutil.rmtree(base, ignore_errors=True)
