"""What a daemon inherits of the shell, the training or the service that starts it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckptd.process.environment import for_daemon, settings


def test_settings_are_ours_alone_with_absolute_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    given = {
        "CKPTD_STATE_HOME": "state",
        "CKPTD_CONFIG_HOME": "~/c",
        "CKPTD_RUNTIME_DIR": "",
        "CKPTD_RESCAN_S": "30",
        "CKPTD_AUTOSTART": "0",
        "XDG_CONFIG_HOME": "/x",
        "PATH": "/bin",
    }
    assert settings(given) == {
        "CKPTD_STATE_HOME": str(tmp_path / "state"),
        "CKPTD_CONFIG_HOME": "/home/me/c",
        "CKPTD_RESCAN_S": "30",
        "XDG_CONFIG_HOME": "/x",
    }


def test_what_belongs_to_one_process_or_job_is_left_behind() -> None:
    kept = {"PATH": "/bin", "HOME": "/h", "CUDA_VISIBLE_DEVICES": "0", "PYTHONPATH": "/p", "CKPTD_AUTOSTART": "0"}
    dropped = dict.fromkeys(
        ("RANK", "WORLD_SIZE", "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "NOTIFY_SOCKET", "LISTEN_FDS", "JOURNAL_STREAM"),
        "1",
    )
    assert for_daemon({**kept, **dropped}) == kept
    assert "NOTIFY_SOCKET" not in for_daemon({**os.environ, "NOTIFY_SOCKET": "/n"})
