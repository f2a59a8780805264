"""`ckptd install` as a process: without a user manager, and with one whose calls are written down."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckpt.client import daemon_note
from ckptd.process.service_unit import is_ours

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="systemd is for Linux")

MANAGER = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in
  *"$REFUSED"*) echo "Job for ckptd.service failed" >&2; exit 1;;
  *MainPID*) echo "${MAIN_PID:-0}";;
  *Version*) echo Version=252;;
  *Linger*) echo "${LINGER:-yes}";;
esac
"""


class Machine:
    """A home, and a PATH of which the first directory may hold a manager's commands."""

    def __init__(self, base: Path) -> None:
        self.home = base / "home dir"
        self.bin = base / "bin"
        self.calls_file = base / "calls"
        self.home.mkdir()
        self.bin.mkdir()
        self.unit = self.home / ".config" / "systemd" / "user" / "ckptd.service"
        self.variables = {"CALLS": str(self.calls_file), "REFUSED": "no such call"}

    def with_manager(self) -> None:
        for name in ("systemctl", "loginctl"):
            (self.bin / name).write_text(MANAGER)
            (self.bin / name).chmod(0o755)

    def ckptd(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self.variables, **variables, "HOME": str(self.home)}
        environment["PATH"] = f"{self.bin}:{os.environ['PATH']}"
        return subprocess.run(
            [sys.executable, "-m", "ckptd", *arguments], env=environment, capture_output=True, text=True, timeout=120
        )

    def calls(self) -> list[str]:
        """What the manager was asked to change, since the last call of this."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.write_text("")
        return [line.removeprefix("--user ") for line in lines if " show" not in line and not line.startswith("show")]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def managed(machine: Machine) -> Machine:
    machine.with_manager()
    return machine


@pytest.fixture
def alone(machine: Machine) -> Machine:
    """A machine whose systemctl, if there is one, reaches nobody: no bus and no runtime directory."""
    answer = machine.ckptd("--version")
    assert answer.returncode == 0
    (machine.bin / "systemctl").write_text('#!/bin/sh\necho "Failed to connect to bus" >&2; exit 1\n')
    (machine.bin / "systemctl").chmod(0o755)
    return machine


def test_print_writes_and_asks_nothing(managed: Machine) -> None:
    done = managed.ckptd("install", "--print")
    assert (done.returncode, done.stderr) == (0, "")
    assert is_ours(done.stdout)
    assert f'ExecStart="{sys.executable}"'.replace('"', "") in done.stdout.replace('"', "")
    assert f"CKPTD_STATE_HOME={os.environ['CKPTD_STATE_HOME']}" in done.stdout
    assert "CKPTD_AUTOSTART" not in done.stdout
    assert not managed.unit.exists() and not managed.calls_file.exists()


def test_it_is_written_enabled_and_started_and_the_same_the_second_time(managed: Machine) -> None:
    for said in ("wrote", "is as it should be"):
        done = managed.ckptd("install")
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert said in done.stderr
        assert managed.calls() == ["daemon-reload", "enable --now ckptd.service"]
    assert is_ours(managed.unit.read_text())
    assert managed.unit.read_text() == managed.ckptd("install", "--print").stdout
    assert "enable-linger" not in done.stderr
    assert "loginctl enable-linger" in managed.ckptd("install", LINGER="no").stderr


def test_no_start_only_enables(managed: Machine) -> None:
    assert managed.ckptd("install", "--no-start").returncode == 0
    assert managed.calls() == ["daemon-reload", "enable ckptd.service"]


def test_a_changed_environment_changes_the_unit_and_says_what_takes_it(managed: Machine) -> None:
    managed.ckptd("install")
    done = managed.ckptd("install", CKPTD_RESCAN_S="30")
    assert "changed" in done.stderr and "systemctl --user restart ckptd" in done.stderr
    assert "Environment=CKPTD_RESCAN_S=30" in managed.unit.read_text()


def test_a_start_that_fails_is_told(managed: Machine) -> None:
    done = managed.ckptd("install", REFUSED="enable")
    assert done.returncode == 3
    assert "Job for ckptd.service failed" in done.stderr and "journalctl --user -u ckptd" in done.stderr


def test_a_unit_that_somebody_edited_is_left_alone_without_force(managed: Machine) -> None:
    managed.ckptd("install")
    mine = managed.unit.read_text().replace("Nice=10", "Nice=1")
    managed.unit.write_text(mine)
    managed.calls()
    for arguments in (["install"], ["install", "--remove"]):
        done = managed.ckptd(*arguments)
        assert done.returncode == 2
        assert "is not as ckptd wrote it" in done.stderr and "--force" in done.stderr
        assert managed.unit.read_text() == mine
        assert managed.calls() == []
    assert managed.ckptd("install", "--force").returncode == 0
    assert is_ours(managed.unit.read_text())


def test_a_link_in_place_of_the_unit_is_not_followed(managed: Machine, tmp_path: Path) -> None:
    managed.unit.parent.mkdir(parents=True)
    elsewhere = tmp_path / "precious"
    elsewhere.write_text("mine")
    managed.unit.symlink_to(elsewhere)
    assert managed.ckptd("install").returncode == 2
    assert managed.ckptd("install", "--force").returncode == 0
    assert elsewhere.read_text() == "mine"
    assert not managed.unit.is_symlink()


def test_remove_stops_and_removes_and_names_what_stays(managed: Machine) -> None:
    managed.ckptd("install")
    managed.calls()
    done = managed.ckptd("install", "--remove")
    assert done.returncode == 0, done.stderr
    assert managed.calls() == ["disable --now ckptd.service", "daemon-reload"]
    assert not managed.unit.exists()
    assert os.environ["CKPTD_CONFIG_HOME"] in done.stderr and os.environ["CKPTD_STATE_HOME"] in done.stderr
    assert ".trash" in done.stderr
    again = managed.ckptd("install", "--remove")
    assert again.returncode == 0 and "nothing to remove" in again.stderr
    assert managed.calls() == []


def test_without_a_manager_it_says_what_was_written_and_what_to_do(alone: Machine) -> None:
    done = alone.ckptd("install")
    assert done.returncode == 3
    assert f"wrote {alone.unit}" in done.stderr
    for said in ("systemctl --user enable --now ckptd", "enable-linger", "`ckptd start`", "`ckptd once DIR`"):
        assert said in done.stderr
    assert sorted(path.name for path in alone.unit.parent.iterdir()) == ["ckptd.service"]
    assert alone.ckptd("install", "--no-start").returncode == 0
    assert alone.ckptd("install", "--remove").returncode == 0
    assert not alone.unit.exists()


@pytest.mark.skipif(
    shutil.which("systemctl") is not None
    and subprocess.run(["systemctl", "--user", "show", "--property=Version"], capture_output=True).returncode == 0,
    reason="a user manager answers here",
)
def test_without_a_manager_here_nothing_is_claimed(machine: Machine) -> None:
    done = machine.ckptd("install")
    assert done.returncode == 3
    assert "no systemd user manager answers here" in done.stderr


def test_a_config_that_is_not_understood_is_told_before_anything_is_written(managed: Machine) -> None:
    home = Path(os.environ["CKPTD_CONFIG_HOME"])
    home.mkdir()
    (home / "config.toml").write_text("[daemon]\nrescan = 3\n")
    done = managed.ckptd("install")
    assert done.returncode == 2 and "did you mean 'rescan_s'" in done.stderr
    assert not managed.unit.exists()


def test_a_directory_that_cannot_be_written_is_told(managed: Machine) -> None:
    (managed.home / ".config").write_text("")
    done = managed.ckptd("install")
    assert done.returncode == 3 and "could not be written" in done.stderr


def test_without_a_home_there_is_no_place(managed: Machine) -> None:
    environment = {**os.environ, "HOME": "/", "PATH": f"{managed.bin}:{os.environ['PATH']}", **managed.variables}
    done = subprocess.run([sys.executable, "-m", "ckptd", "install"], env=environment, capture_output=True, text=True)
    assert done.returncode == 3 and "no home directory" in done.stderr


@pytest.fixture
def stranger(managed: Machine) -> Iterator[int]:
    """A daemon that systemd did not start."""
    started = managed.ckptd("start")
    assert started.returncode == 0, started.stderr
    note = daemon_note()
    assert note is not None
    yield int(note["pid"])
    managed.ckptd("stop")


def test_a_daemon_that_runs_already_is_not_fought_with(managed: Machine, stranger: int) -> None:
    done = managed.ckptd("install")
    assert done.returncode == 0
    assert managed.calls() == ["daemon-reload", "enable ckptd.service"]
    assert f"runs already (process {stranger})" in done.stderr
    assert "ckptd stop && systemctl --user start ckptd" in done.stderr
    ours = managed.ckptd("install", MAIN_PID=str(stranger))
    assert managed.calls() == ["daemon-reload", "enable --now ckptd.service"]
    assert "runs already" not in ours.stderr
    removed = managed.ckptd("install", "--remove")
    assert f"still runs (process {stranger})" in removed.stderr
    assert daemon_note() is not None
