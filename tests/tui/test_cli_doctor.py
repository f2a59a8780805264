"""`ckpt doctor`: on real machines in many states, and its judgements on facts."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ckpt_tui.doctor import asking, configuration
from ckpt_tui.doctor.check import Check
from ckpt_tui.doctor.checks import check_all
from ckpt_tui.doctor.facts import ConfigFile, Disk, Facts, Inotify, Place, RootSeen

NOW = 1_800_000_000.0
PLACES = (
    Place("config", "/c"),
    Place("state", "/s"),
    Place("runtime", "/r"),
    Place("socket", "/r/ckptd.sock"),
)
FINE = Facts(
    now=NOW,
    installed_at=NOW - 1000,
    version="1.0",
    protocol=1,
    user=1000,
    versions={"python": "3.11"},
    autostart=None,
    places=PLACES,
    config=ConfigFile("/c/config.toml"),
    inotify=Inotify(524288, 128, 16384, 3),
    state_clock=0.0,
    disks=(Disk(("/s", "/data"), free_bytes=500 << 30, total_bytes=1000 << 30, free_files=900, total_files=0),),
    roots=(RootSeen("/data"),),
    note={"pid": 7, "protocol": 1, "version": "1.0", "started": NOW - 600, "socket": "/r/ckptd.sock"},
    crashed=None,
    status={
        "daemon": {
            "pid": 7, "version": "1.0", "started": NOW - 600, "uptime_s": 600.0, "now": NOW, "errors": 0,
            "problems": [],
            "watcher": {"state": "watching", "overflows": 0, "restarts": 0, "blind": 0, "watches": 100},
            "log": "/s/ckptd.log",
        },
        "roots": [{"path": "/data", "state": "ok", "runs": 3, "full_in_s": None}],
    },
    asked_at=NOW,
    status_problem=None,
)  # fmt: skip


def found(**changes: Any) -> dict[str, Check]:
    """What is not as it should be, by name."""
    return {check.name: check for check in check_all(replace(FINE, **changes)) if check.level != "ok"}


def daemon(**changes: Any) -> dict[str, Any]:
    assert FINE.status is not None
    return {**FINE.status, "daemon": {**FINE.daemon, **changes}}


def roots(**changes: Any) -> dict[str, Any]:
    assert FINE.status is not None
    return {**FINE.status, "roots": [{**FINE.told_roots[0], **changes}]}


def places(name: str, **changes: Any) -> tuple[Place, ...]:
    return tuple(replace(place, **changes) if place.name == name else place for place in PLACES)


def test_a_machine_that_is_well() -> None:
    assert found() == {}
    assert all(check.hint is None for check in check_all(FINE))


@pytest.mark.parametrize(
    ("changes", "name", "level", "detail", "hint"),
    [
        ({"places": places("state", problem="no home", hint="set HOME")}, "state", "wrong", "no home", "set HOME"),
        ({"places": places("state", nearest_is_directory=False, nearest="/f")}, "state", "wrong",
         "/f is not a directory", "CKPTD_STATE_HOME"),
        ({"places": places("runtime", writable=False, nearest="/r")}, "runtime", "wrong", "cannot be written",
         "CKPTD_RUNTIME_DIR"),
        ({"places": places("config", readable=False, nearest="/c")}, "config", "wrong", "cannot be read", "chmod"),
        ({"places": places("state", owner=0, exists=True)}, "state", "wrong", "belongs to user 0", "CKPTD_STATE_HOME"),
        ({"places": places("state", mode=0o755)}, "state", "warning", "by others (mode 755)", "chmod 700 /s"),
        ({"places": places("socket", mode=0o666)}, "socket", "wrong", "opened by others", "ckptd stop"),
        ({"places": places("state", file_system="nfs4")}, "state", "warning", "(nfs4)", "CKPTD_STATE_HOME"),
        ({"places": places("socket", path="/r/" + "x" * 110)}, "socket", "wrong", "has 113 bytes", "shorter"),
        ({"config": ConfigFile("/c/config.toml", True, "unknown key 'rots'", "did you mean 'root'?")}, "config.toml",
         "wrong", "unknown key", "did you mean"),
        ({"config": ConfigFile("/c/config.toml", True, warnings=("line 3: /x does not exist now",))}, "config.toml",
         "warning", "line 3: /x", "correct /c/config.toml"),
        ({"config": ConfigFile("/c/config.toml", True, waiting=("rescan_s: 60 -> 30",))}, "config.toml", "warning",
         "rescan_s: 60 -> 30", "ckptd reload"),
        ({"config": ConfigFile("/c/config.toml", True, other="/d/config.toml")}, "config.toml", "warning",
         "reads /d/config.toml", "CKPTD_CONFIG_HOME"),
        ({"now": NOW - 90000 - 1000}, "clock", "wrong", "earlier than this program", "timedatectl"),
        ({"asked_at": NOW + 3600}, "clock", "wrong", "the daemon's clock is 1 h behind ours", "ckptd stop"),
        ({"state_clock": 7200.0}, "clock", "wrong", "2 h ahead of this clock", "timedatectl"),
        ({"state_clock": -5.0}, "clock", "warning", "5 s behind this clock", "server"),
        ({"inotify": Inotify(8192, 128, 16384, 3)}, "inotify", "warning", "8,192 directories",
         "sudo sysctl fs.inotify.max_user_watches=1048576"),
        ({"inotify": Inotify(524288, 128, 16384, 3), "status": daemon(watcher={"watches": 500_000})}, "inotify",
         "warning", "the daemon watches 500,000", "max_user_watches=1048576"),
        ({"status": roots(directories=700_000)}, "inotify", "warning", "700,000 directories lie below",
         "max_user_watches=1400000"),
        ({"inotify": Inotify(524288, 128, 16384, 128)}, "instances", "warning", "128 of 128",
         "max_user_instances=1024"),
        ({"disks": (Disk(("/s",), free_bytes=4096, total_bytes=10 << 30),)}, "disk", "wrong", "4.1 KB of", "free some"),
        ({"disks": (Disk(("/data",), free_bytes=1 << 30, total_bytes=1000 << 30),)}, "disk", "warning", "nearly full",
         "ckpt plan"),
        ({"disks": (Disk(("/data",), free_bytes=9 << 30, total_bytes=10 << 30, free_files=5, total_files=10**6),)},
         "disk", "warning", "inodes", "small files"),
        ({"disks": (Disk(("/data",), problem="no answer within 3 s"),)}, "disk", "warning", "no answer", None),
        ({"status": roots(full_in_s=7300.0)}, "disk", "warning", "full in 2 h 1 m at this pace", "ckpt plan"),
        ({"roots": (RootSeen("/data", problem="no answer within 3 s"),)}, "root", "wrong", "no answer", "watch rm"),
        ({"roots": (RootSeen("/data", problem="gone", in_config=True),)}, "root", "wrong", "cannot be reached: gone",
         "take it out of config.toml"),
        ({"roots": (RootSeen("/data", problem="gone"),),
          "status": roots(state="degraded", problem="it was renamed to /new", warnings=["old"])}, "root", "wrong",
         "renamed to /new", "ckpt watch rm /data"),
        ({"status": roots(state="degraded", problem="another directory stands in its place")}, "root", "wrong",
         "another directory", "ckpt watch rm /data"),
        ({"status": roots(warnings=["/data/l is a link to /big"])}, "root", "warning", "/data/l is a link", None),
        ({"note": {"pid": 7, "protocol": 9}, "status": None}, "daemon", "wrong", "speaks protocol 9", "ckptd start"),
        ({"status": None, "status_problem": "no answer within 2 s"}, "daemon", "wrong", "no answer", "ckptd start"),
        ({"version": "2.0"}, "daemon", "warning", "it is version 1.0, this program 2.0", "ckptd start"),
        ({"status": daemon(watcher={"state": "polling"})}, "watcher", "wrong", "do not come", "ckptd start"),
        ({"status": daemon(watcher={"state": "watching", "blind": 201})}, "watcher", "warning", "201 directories",
         "how to raise"),
        ({"status": daemon(errors=2, last_error="boom")}, "errors", "warning", "the last: boom", "/s/ckptd.log"),
        ({"status": daemon(problems=["x was moved aside"])}, "problem", "warning", "moved aside", "/s/ckptd.log"),
        ({"crashed": {"pid": 9}, "note": None, "status": None}, "left over", "warning", "process 9", "nothing is lost"),
        ({"start_log": "no space", "note": None, "status": None}, "left over", "warning", "no space", "ckptd run"),
        ({"moved_aside": ("/s/catalog/a.json.corrupt-1",)}, "left over", "warning", "a.json.corrupt-1", "/s/catalog"),
        ({"roots_problem": "/s/roots.json cannot be used"}, "left over", "wrong", "roots.json", "ckpt watch add"),
    ],
)  # fmt: skip
def test_what_is_not_well_is_named_with_what_to_do(
    changes: dict[str, Any], name: str, level: str, detail: str, hint: str | None
) -> None:
    (check,) = found(**changes).values()
    assert (check.name, check.level) == (name, level)
    assert detail in check.detail and (check.hint is None if hint is None else hint in (check.hint or ""))


def test_events_that_were_lost_are_told_and_are_no_fault() -> None:
    facts = replace(FINE, status=daemon(watcher={"state": "watching", "overflows": 2}))
    (check,) = [check for check in check_all(facts) if check.name == "watcher"]
    assert check.level == "ok" and "events were lost 2 times" in check.detail


def test_a_polled_directory_is_no_fault() -> None:
    facts = replace(FINE, status=roots(state="polling", polled="nfs4"))
    (check,) = [check for check in check_all(facts) if check.name == "root"]
    assert check.level == "ok" and "nfs4" in check.detail


def test_a_config_that_is_not_writable_is_no_fault() -> None:
    assert found(places=places("config", writable=False)) == {}


# The command, on this machine


def test_without_a_daemon(ckpt: Any, own_places: Path) -> None:
    answer = ckpt("doctor", "--json")
    assert answer.code == 0
    told = answer.json
    assert told["paths"]["config"] == str(own_places / "config") and told["daemon"] is None
    assert "CKPTD_AUTOSTART=0" in told["autostart"] and told["versions"]["ckptd"]
    assert all(check["ok"] for check in told["checks"])
    assert {check["name"] for check in told["checks"]} >= {"state", "socket", "config.toml", "clock", "disk", "daemon"}
    assert all(set(check) == {"name", "ok", "level", "subject", "detail", "hint"} for check in told["checks"])
    assert "not running" in ckpt("doctor").out
    assert not (own_places / "state").exists(), "looking makes nothing"


def test_with_a_daemon(ckpt: Any, daemon: Any, tmp_path: Path, own_places: Path) -> None:
    answer = ckpt("doctor", "--json")
    assert answer.code == 0 and answer.json["daemon"]["pid"] == daemon.pid
    checks = {check["name"]: check for check in answer.json["checks"]}
    assert f"process {daemon.pid}" in checks["daemon"]["detail"] and checks["watcher"]["level"] == "ok"
    assert checks["root"]["subject"] == str(tmp_path / "runs") and "0 runs" in checks["root"]["detail"]
    left = [path.name for path in (own_places / "state").rglob(".clock*")]
    assert left == [], "the clock is asked without leaving a file"


def test_a_place_that_is_no_directory(ckpt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("CKPTD_CONFIG_HOME", str(tmp_path / "file" / "config"))
    answer = ckpt("doctor")
    assert answer.code == 1 and "WRONG" in answer.out and "CKPTD_CONFIG_HOME" in answer.out
    assert ckpt("doctor", "-q").out.split() == ["config"]


def test_a_config_that_is_not_understood(ckpt: Any, own_places: Path) -> None:
    (own_places / "config").mkdir()
    (own_places / "config" / "config.toml").write_text("[deamon]\n")
    answer = ckpt("doctor", "--json")
    (check,) = [check for check in answer.json["checks"] if not check["ok"]]
    assert answer.code == 1 and check["name"] == "config.toml" and "deamon" in check["detail"]


def test_a_root_that_is_gone_is_wrong_without_a_daemon_too(ckpt: Any, own_places: Path, tmp_path: Path) -> None:
    (own_places / "config").mkdir()
    (own_places / "config" / "config.toml").write_text(f'[[root]]\npath = "{tmp_path}/gone"\n')
    answer = ckpt("doctor", "-q")
    assert answer.code == 1 and answer.out == f"{tmp_path}/gone\n"


def test_a_daemon_that_does_not_answer_holds_nobody_up(ckpt: Any, daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # The check of the configuration asks the daemon too.
    impatient = "from ckptd.process import background; background.ANSWER_S = 1.0; from ckptd.cli import main; main()"
    monkeypatch.setattr(configuration, "daemon_command", lambda: [sys.executable, "-c", impatient])
    daemon.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        answer = ckpt("doctor", "--json")
        took = time.monotonic() - started
    finally:
        daemon.send_signal(signal.SIGCONT)
    (check,) = [check for check in answer.json["checks"] if not check["ok"]]
    assert answer.code == 1 and check["name"] == "daemon"
    assert "no answer within 2 s" in check["detail"] or "did not answer" in check["detail"]
    assert took < 30


def test_what_a_killed_daemon_leaves_is_told_and_no_fault(ckpt: Any, daemon: Any) -> None:
    daemon.kill()
    daemon.wait(timeout=20)
    answer = ckpt("doctor", "--json")
    (check,) = [check for check in answer.json["checks"] if check["level"] == "warning"]
    assert answer.code == 0 and check["name"] == "left over" and str(daemon.pid) in check["detail"]


def test_what_a_broken_installation_leaves(ckpt: Any, own_places: Path) -> None:
    from ckpt.paths import StatePaths

    state = StatePaths.here()
    state.catalog.mkdir(parents=True, mode=0o700)
    state.directory.chmod(0o700)
    (state.catalog / "run.json.corrupt-123").write_text("{")
    state.log.parent.mkdir()
    state.log.with_name("start.log").write_text("first\nckptd: the disk is full\n")
    state.roots.write_text("not json")
    answer = ckpt("doctor", "--json")
    left = {check["detail"]: check["ok"] for check in answer.json["checks"] if check["name"] == "left over"}
    assert answer.code == 1 and sorted(left.values()) == [False, True, True]
    assert any("run.json.corrupt-123" in detail for detail in left)
    assert any("ckptd: the disk is full" in detail for detail in left)


def test_state_that_others_may_read(ckpt: Any) -> None:
    from ckpt.paths import StatePaths

    directory = StatePaths.here().directory
    directory.mkdir(parents=True)
    directory.chmod(0o755)
    answer = ckpt("doctor", "--json")
    (check,) = [check for check in answer.json["checks"] if check["level"] == "warning"]
    assert answer.code == 0 and check["name"] == "state" and check["hint"] == f"chmod 700 {directory}"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755, "looking changes nothing"


def test_a_user_without_a_home() -> None:
    environment = {**os.environ, "HOME": "/nonexistent"}
    command = [str(Path(sys.executable).parent / "ckpt"), "doctor", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert all(check["ok"] for check in json.loads(done.stdout)["checks"])


def test_a_person_reads_it_in_a_terminal(ckpt: Any, monkeypatch: pytest.MonkeyPatch, own_places: Path) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    (own_places / "config").mkdir()
    (own_places / "config" / "config.toml").write_text("[deamon]\n")
    answer = ckpt("doctor", terminal=True)
    assert all(len(line) <= 80 for line in answer.out.splitlines())
    assert answer.out.splitlines()[-1].startswith("1 thing is wrong")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MB with 64 inodes."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m,nr_inodes=64,mode=0700", "tmpfs", str(place)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted by this user")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_state_directory_on_a_full_disk(ckpt: Any, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKPTD_STATE_HOME", str(small_disk))
    (small_disk / "large").write_bytes(bytes(30_000_000))
    answer = ckpt("doctor", "--json")
    (check,) = [check for check in answer.json["checks"] if not check["ok"]]
    assert answer.code == 1 and check["name"] == "disk" and str(small_disk) in check["subject"]


def test_a_root_whose_disk_has_no_inodes_left(ckpt: Any, small_disk: Path, own_places: Path) -> None:
    (own_places / "config").mkdir()
    (own_places / "config" / "config.toml").write_text(f'[[root]]\npath = "{small_disk}"\n')
    made = 0
    with pytest.raises(OSError, match="No space"):
        while True:
            (small_disk / f"{made}").touch()
            made += 1
    answer = ckpt("doctor", "--json")
    (check,) = [check for check in answer.json["checks"] if check["subject"] == str(small_disk) and check["hint"]]
    assert answer.code == 0 and check["level"] == "warning" and "nearly out of inodes" in check["detail"]


def test_places_on_a_file_system_that_became_read_only(
    ckpt: Any, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("STATE_HOME", "RUNTIME_DIR", "CONFIG_HOME"):
        monkeypatch.setenv(f"CKPTD_{name}", str(small_disk / name))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    answer = ckpt("doctor", "-q")
    assert (answer.code, answer.out.split()) == (1, ["state", "runtime", "socket"]), "a config is only read"


def test_a_container_with_a_low_limit_of_watches(own_places: Path) -> None:
    script = 'echo 100 > /proc/sys/user/max_inotify_watches && exec "$0" doctor --json'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", script, str(Path(sys.executable).parent / "ckpt")]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    if not done.stdout:
        pytest.skip("no user namespace can be made here")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["inotify"]["level"] == "warning" and "100 directories may be watched" in checks["inotify"]["detail"]
    assert "sysctl fs.inotify.max_user_watches=" in checks["inotify"]["hint"]


# Its instruments


def test_an_unanswered_question_is_given_up() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        answers = asking.ask_all({"slow": lambda: ours.recv(1), "quick": lambda: b"x", "bad": lambda: 1 // 0}, 0.2)
        theirs.send(b"!")
    assert isinstance(answers["slow"], TimeoutError) and answers["quick"] == b"x"
    assert isinstance(answers["bad"], ZeroDivisionError)
