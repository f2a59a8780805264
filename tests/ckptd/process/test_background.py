"""Daemons that are started and ended from outside: real processes, signals and places."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpt.client import daemon_note
from ckpt.exceptions import DaemonError
from ckpt.files import FileLock
from ckpt.paths import StatePaths
from ckptd.process import background

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
COMMAND = [sys.executable, "-m", "ckptd"]


def ckptd(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False, **options)


def until(check: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.01)
    raise AssertionError(f"{check} never came true")


@pytest.fixture
def ending(own_places: Path) -> Iterator[None]:
    """Ends the daemon of the test, however it fares."""
    yield
    note = daemon_note()
    if note is not None:
        os.kill(note["pid"], signal.SIGCONT)
        ckptd("stop")
    note = daemon_note()
    if note is not None:
        os.kill(note["pid"], signal.SIGKILL)


def facts(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def test_a_daemon_is_nobodys_child_and_keeps_nothing_of_who_started_it(
    ending: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    for name in ("RANK", "SLURM_JOB_ID", "NOTIFY_SOCKET"):
        monkeypatch.setenv(name, "1")
    done = ckptd("start", pass_fds=(writer,), cwd=tmp_path, umask=0o002)
    os.close(writer)
    assert done.returncode == 0, done.stderr
    note = daemon_note()
    assert note is not None
    pid = note["pid"]
    os.set_blocking(reader, False)
    assert os.read(reader, 1) == b""  # its other end is closed although the daemon lives
    os.close(reader)
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert [os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1)] == ["/dev/null", "/dev/null"]
    assert os.readlink(f"/proc/{pid}/fd/2") == str(StatePaths.here().log.with_name("start.log"))
    assert "Umask:\t0077" in facts(pid, "status")
    assert os.getpriority(os.PRIO_PROCESS, pid) >= 10
    variables = facts(pid, "environ").split("\0")
    assert not [one for one in variables if one.startswith(("RANK=", "SLURM_", "NOTIFY_SOCKET="))]
    assert f"CKPTD_STATE_HOME={os.environ['CKPTD_STATE_HOME']}" in variables
    soft, hard = next(line for line in facts(pid, "limits").splitlines() if "open files" in line).split()[3:5]
    assert hard == "unlimited" or int(soft) == min(int(hard), 65536)


def test_it_starts_from_a_directory_that_is_gone_and_without_streams(ending: None, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    script = f'mkdir "{gone}" && cd "{gone}" && rmdir "{gone}" && exec "$0" "$@" <&- >&- 2>&-'
    for arguments in (["start"], ["status"], ["reload"], ["stop"]):
        done = subprocess.run(["sh", "-c", script, *COMMAND, *arguments], timeout=120)
        assert done.returncode == 0, arguments
        assert (daemon_note() is None) == (arguments == ["stop"])


def test_relative_places_are_the_same_for_daemon_and_shell(ending: None, tmp_path: Path) -> None:
    environment = {**os.environ, "CKPTD_STATE_HOME": "state"}
    try:
        assert ckptd("start", cwd=tmp_path, env=environment).returncode == 0
        assert ckptd("status", cwd=tmp_path, env=environment).returncode == 0
    finally:
        assert ckptd("stop", cwd=tmp_path, env=environment).returncode == 0
    assert (tmp_path / "state").is_dir()


def test_shells_with_other_environments_find_the_same_daemon(own_places: Path) -> None:
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("CKPTD_", "XDG_"))}
    bare.update(HOME=str(own_places), CKPTD_AUTOSTART="0")
    shells = []
    for name in ("one", "two", "three"):
        places = {part: str(own_places / f"{name}-{part}") for part in ("TMPDIR", "XDG_RUNTIME_DIR", "XDG_STATE_HOME")}
        for place in places.values():
            Path(place).mkdir(mode=0o700)
        shells.append({**bare, **places})
    first, second, third = shells
    started = ckptd("start", env=first)
    try:
        assert started.returncode == 0, started.stderr
        assert "already runs" in ckptd("start", env=second).stderr
        assert ckptd("status", env=third).returncode == 0
        refused = ckptd("run", env=second)
        assert refused.returncode == 3 and "already runs as process" in refused.stderr
    finally:
        assert ckptd("stop", env=third).returncode == 0
    assert ckptd("status", env=first).returncode == 4


def _of_nobody() -> list[str]:
    """A command before a command: a user whose number nobody else uses, so that no fallback of theirs is met."""
    number = str(random.randrange(1_000_000, 2_000_000_000))
    return ["unshare", "--user", f"--map-user={number}", f"--map-group={number}"]


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*_of_nobody(), "true"], capture_output=True).returncode != 0,
    reason="no user of one's own here (unshare --user)",
)
@pytest.mark.parametrize("home", ["/", "/nonexistent/home"])
def test_no_home_no_runtime_directory_and_another_tmpdir_each_time(home: str) -> None:
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("CKPTD_", "XDG_"))}
    bare.update(HOME=home, CKPTD_AUTOSTART="0")
    user = _of_nobody()
    number = user[2].partition("=")[2]
    short = Path(tempfile.mkdtemp(prefix="ck-home-"))
    answers = []
    try:
        for part, command in enumerate(("start", "status", "stop")):
            (short / str(part)).mkdir()
            call = [*user, *COMMAND, command]
            environment = {**bare, "TMPDIR": str(short / str(part))}
            answers.append(subprocess.run(call, env=environment, capture_output=True, text=True, timeout=120))
    finally:
        shutil.rmtree(short, ignore_errors=True)
        for base in (Path("/tmp"), short):
            shutil.rmtree(base / f"ckptd-{number}", ignore_errors=True)
    assert [answer.returncode for answer in answers] == [0, 0, 0], answers


def test_a_kill_at_any_moment_of_the_start_is_in_nobodys_way(ending: None, runs: Any) -> None:
    runs.run("exp1", checkpoints=1)
    began = time.monotonic()
    whole = subprocess.Popen([*COMMAND, "run", "--watch", str(runs.base)], stderr=subprocess.DEVNULL)
    until(lambda: (daemon_note() or {}).get("pid") == whole.pid)
    until(lambda: Path(StatePaths.here().lock).exists() and _answers())
    needed = time.monotonic() - began
    whole.kill()
    whole.wait()
    for part in range(10):
        one = subprocess.Popen([*COMMAND, "run", "--watch", str(runs.base)], stderr=subprocess.DEVNULL)
        time.sleep(needed * part / 9)
        one.kill()
        one.wait()
        assert daemon_note() is None
    done = ckptd("start", "--watch", str(runs.base))
    assert done.returncode == 0, done.stderr
    assert "started" in done.stderr


def _answers() -> bool:
    try:
        return bool(background.status()["daemon"]["ready"])
    except DaemonError:
        return False


def test_a_daemon_that_was_stopped_by_a_signal_is_told_with_what_to_do(
    ending: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = background.start()["pid"]
    os.kill(pid, signal.SIGSTOP)
    done = ckptd("stop")
    assert done.returncode == 3
    assert f"process {pid}) was stopped by a signal" in done.stderr
    assert f"kill -CONT {pid}" in done.stderr and f"kill -KILL {pid}" in done.stderr
    monkeypatch.setattr(background, "ANSWER_S", 0.5)
    with pytest.raises(DaemonError, match="does not answer within"):
        background.status()
    os.kill(pid, signal.SIGCONT)
    until(lambda: daemon_note() is None)  # what it was asked, it does then
    assert ckptd("stop").stderr == "no ckptd runs\n"


def test_a_daemon_that_does_not_end_is_told_with_what_ends_it(
    own_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "STOP_S", 0.5)
    monkeypatch.setattr(background, "_ASKING_S", 0.2)
    code = (
        "import signal, sys, time\nfrom ckpt.paths import StatePaths, socket_path\n"
        "from ckptd.process import lifecycle\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "lock = lifecycle.take_lock(StatePaths.here(), socket_path()); listener = lifecycle.bind(socket_path())\n"
        "print('up', flush=True); time.sleep(100)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as deaf:
        assert deaf.stdout is not None and deaf.stdout.readline() == "up\n"
        with pytest.raises(DaemonError, match=f"process {deaf.pid}\\) did not end within") as error:
            background.stop()
        assert error.value.hint is not None and f"kill -KILL {deaf.pid}" in error.value.hint
        deaf.kill()


def test_a_process_that_only_has_an_old_daemons_number_is_not_signalled(
    own_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "STOP_S", 0.3)
    monkeypatch.setattr(background, "_ASKING_S", 0.2)
    state = StatePaths.here()
    state.directory.mkdir(parents=True)
    with subprocess.Popen(["sleep", "100"]) as bystander:
        lock = FileLock(state.lock)
        lock.acquire({"pid": bystander.pid, "socket": "/nowhere/s", "protocol": -1})
        monkeypatch.setattr("ckpt.client.STARTING_S", 0.1)
        with pytest.raises(DaemonError):
            background.stop()
        assert bystander.poll() is None
        lock.release()
        bystander.kill()


def test_what_the_daemon_said_before_it_failed_is_told(own_places: Path) -> None:
    (own_places / "config").mkdir()
    (own_places / "config" / "config.toml").write_text("[daemon]\nrescan = 3\n")
    done = ckptd("start")
    assert done.returncode == 3
    assert "did you mean 'rescan_s'" in done.stderr
    assert "Traceback" not in done.stderr
