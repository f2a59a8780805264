"""What `ckptd config check` and `ckptd reload` tell, without a daemon and of a real one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptd.process import background

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the daemon is for POSIX systems")


def ckptd(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    command = [sys.executable, "-m", "ckptd", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def answer(*arguments: str, **variables: str) -> Any:
    return json.loads(ckptd(*arguments, "--json", **variables).stdout)


def until(found: Callable[[], Any]) -> Any:
    """What is found once there is something."""
    deadline = time.monotonic() + 60
    while not (answer := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return answer


@pytest.fixture
def file(own_places: Path) -> Path:
    """The place of config.toml."""
    path = own_places / "config" / "config.toml"
    path.parent.mkdir()
    return path


@pytest.fixture
def daemon(own_places: Path) -> Iterator[int]:
    """A real daemon's process id."""
    pid = int(background.start()["pid"])
    yield pid
    background.stop()


def test_without_file_and_daemon(own_places: Path) -> None:
    done = ckptd("config", "check")
    assert done.returncode == 0
    assert "does not exist; the defaults hold" in done.stdout
    assert "no ckptd answers" in done.stdout
    told = answer("config", "check", CKPTD_POLL_S="3")
    assert (told["exists"], told["understood"], told["daemon"]) == (False, True, None)
    assert told["values"]["poll_s"] == {"value": 3.0, "origin": "environment"}
    assert told["values"]["rescan_s"] == {"value": 60.0, "origin": "default"}


def test_problems_are_all_told_and_exit_2(file: Path) -> None:
    file.write_text("[daemon]\nrescan = 3\n[[root]]\n")
    done = ckptd("config", "check")
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.split(": ", 1)[1] for line in done.stderr.removeprefix("ckptd: ").splitlines()] == [
        "[daemon] has the unknown key 'rescan'; did you mean 'rescan_s'?",
        "root 1 needs a path",
    ]
    told = answer("config", "check")
    assert not told["understood"]
    assert [(problem["key"], problem["line"]) for problem in told["problems"]] == [
        ("daemon.rescan", 2),
        ("root[1].path", 3),
    ]
    assert ckptd("config", "check", "--json").returncode == 2


def test_a_reload_does_what_the_check_foretold(file: Path, daemon: int, runs: Any) -> None:
    runs.run("exp1", checkpoints=1)
    assert "works by it already" in ckptd("config", "check").stdout
    file.write_text(
        '[daemon]\nrescan_s = 30\nexclude = ["scratch"]\n'
        f'[[root]]\npath = "{runs.base}"\npoll = true\nexclude = ["old"]\n'
    )
    changes = ["rescan_s: 60 -> 30", "exclude: nothing -> scratch", f"watches {runs.base}"]
    told = answer("config", "check")["daemon"]
    assert told == {"pid": daemon, "path": str(file), "same_file": True, "changes": changes, "warnings": []}
    done = ckptd("reload")
    assert (done.returncode, done.stdout.splitlines()) == (0, changes), done.stderr
    assert answer("config", "check")["daemon"]["changes"] == []
    assert ckptd("reload").stdout == "nothing changes\n"

    file.write_text(f'[[root]]\npath = "{runs.base}"\n')
    changes = [
        "rescan_s: 30 -> 60",
        "exclude: scratch -> nothing",
        f"{runs.base}: exclude old -> nothing",
        f"{runs.base}: changes are told by events",
    ]
    assert answer("config", "check")["daemon"]["changes"] == changes
    assert answer("reload")["changed"] == changes

    before = sorted(runs.base.rglob("*"))
    file.unlink()
    assert answer("reload")["changed"] == [f"no longer watches {runs.base}; its files, marks and trash stay"]
    assert sorted(runs.base.rglob("*")) == before


def test_an_invalid_file_changes_nothing(file: Path, daemon: int, runs: Any) -> None:
    runs.run("exp1", checkpoints=1)
    file.write_text(f'[[root]]\npath = "{runs.base}"\n')
    ckptd("reload")
    file.write_text("[[rot]]\n[daemon]\nrescan_s = 1\npoll = 2\n")
    done = ckptd("reload")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'rot'" in done.stderr and "'poll'" in done.stderr
    status = background.status()
    assert status["daemon"]["config"]["rescan_s"] == 60
    assert [root["path"] for root in status["roots"]] == [str(runs.base)]


def test_another_file_than_the_daemons_is_told(file: Path, daemon: int, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[daemon]\nrescan_s = 5\n")
    told = answer("config", "check", CKPTD_CONFIG_HOME=str(tmp_path))["daemon"]
    assert (told["same_file"], told["path"], told["changes"]) == (False, str(file), None)
    assert f"reads another file: {file}" in ckptd("config", "check", CKPTD_CONFIG_HOME=str(tmp_path)).stdout


def test_this_shells_environment_is_not_the_daemons(file: Path, daemon: int) -> None:
    assert answer("config", "check", CKPTD_RESCAN_S="5")["daemon"]["changes"] == []


def test_without_a_daemon_there_is_nothing_to_reload(own_places: Path) -> None:
    done = ckptd("reload")
    assert (done.returncode, done.stderr) == (4, "ckptd: no ckptd runs\nstart it with `ckptd start`\n")


def test_a_daemon_that_hangs_does_not_hold_up_the_check(file: Path, daemon: int) -> None:
    impatient = "from ckptd.process import background; background.ANSWER_S = 1.0; from ckptd.cli import main; main()"
    command = [sys.executable, "-c", impatient, "config", "check"]
    os.kill(daemon, signal.SIGSTOP)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0
        assert f"ckptd (process {daemon}) does not answer" in done.stderr
    finally:
        os.kill(daemon, signal.SIGCONT)


def test_how_much_a_stricter_policy_removes_is_told_before_and_by_the_reload(
    file: Path, daemon: int, runs: Any
) -> None:
    runs.run("exp1", checkpoints=5)
    file.write_text(f'[[root]]\npath = "{runs.base}"\n')
    ckptd("reload")
    until(lambda: background.status()["roots"][0]["checkpoints"] == 5)
    file.write_text(
        f'[[root]]\npath = "{runs.base}"\n[[run]]\nmatch = "exp1"\npolicy = {{keep_last = 2, max_share = 1}}\n'
        '[[run]]\nmatch = "nobody*"\npolicy = {keep_last = 2}\n'
    )
    checked = ckptd("config", "check").stdout.splitlines()
    assert "warning: run 2: no run that is known now matches 'nobody*'" in checked
    (more,) = [line.strip() for line in checked if "would now remove" in line]
    assert more.startswith("would now remove 3 more checkpoints, ")
    assert more.endswith(", of 1 run: look with `ckpt plan`; nothing of that goes by itself for 10m")
    reloaded = ckptd("reload").stdout.splitlines()
    assert more in reloaded
    assert "warning: run 2: no run that is known now matches 'nobody*'" in reloaded
    (ask,) = until(lambda: background.status()["asks"])
    assert ask["text"].startswith("config.toml was changed, and removes 3 more checkpoints, ")
    file.write_text(f'[[root]]\npath = "{runs.base}"\n')
    assert ckptd("reload").returncode == 0
    until(lambda: background.status()["asks"] == [])
    assert background.status()["roots"][0]["checkpoints"] == 5
