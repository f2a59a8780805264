"""The lock and the socket of the only daemon."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ckpt.client import daemon_note
from ckpt.exceptions import LockedError, OperationError
from ckpt.paths import StatePaths, socket_path
from ckptd.process import lifecycle

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the daemon is for POSIX systems")


def test_the_lock_tells_where_the_socket_is_and_refuses_a_second_holder(own_places: Path) -> None:
    state = StatePaths.here()
    lock = lifecycle.take_lock(state, Path("/somewhere/s"))
    note = daemon_note()
    assert note is not None
    assert (note["pid"], note["socket"]) == (os.getpid(), "/somewhere/s")
    assert stat.S_IMODE(state.directory.stat().st_mode) == 0o700
    code = "from ckpt.paths import StatePaths, socket_path; from ckptd.process import lifecycle\n"
    code += "lifecycle.take_lock(StatePaths.here(), socket_path())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"{LockedError.__name__}: ckptd already runs as process {os.getpid()}" in done.stderr
    lock.release()
    assert daemon_note() is None


def test_a_note_that_a_crash_left_behind_counts_for_nothing(own_places: Path) -> None:
    code = "from ckpt.paths import StatePaths, socket_path; from ckptd.process import lifecycle; import os, signal\n"
    code += "lifecycle.take_lock(StatePaths.here(), socket_path()); os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert StatePaths.here().lock.read_bytes()
    assert daemon_note() is None
    lifecycle.take_lock(StatePaths.here(), socket_path()).release()


def test_the_socket_is_this_users_alone_and_a_stale_one_is_replaced(own_places: Path) -> None:
    path = socket_path()
    for _ in range(2):
        with lifecycle.bind(path) as listener:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(str(path))
            assert not listener.getblocking()
        assert path.exists()  # stale from here on


def test_a_socket_that_somebody_listens_on_is_left_to_them(own_places: Path) -> None:
    path = socket_path()
    with lifecycle.bind(path), pytest.raises(OperationError, match="another daemon, with another state directory"):
        lifecycle.bind(path)
    with lifecycle.bind(path):
        pass


@pytest.mark.parametrize("trap", ["file", "link to a directory", "writable by others"])
def test_a_place_for_the_socket_that_is_not_safe_is_refused_and_left_as_it_is(own_places: Path, trap: str) -> None:
    path = socket_path()
    if trap == "link to a directory":
        (own_places / "elsewhere").mkdir()
        path.parent.symlink_to(own_places / "elsewhere")
    else:
        path.parent.mkdir()
    if trap == "file":
        path.write_text("precious")
    if trap == "writable by others":
        path.parent.chmod(0o1777)
    mode = path.parent.stat().st_mode
    with pytest.raises(OperationError):
        lifecycle.bind(path)
    assert path.parent.stat().st_mode == mode
    assert not path.exists() or path.read_text() == "precious"


def test_a_directory_that_was_there_keeps_its_mode(own_places: Path) -> None:
    path = socket_path()
    path.parent.mkdir(mode=0o755)
    path.parent.chmod(0o755)
    lifecycle.bind(path).close()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
