"""The systemd user unit at work: written, enabled, removed, and what to do where no user manager answers.

Functions return what was done as lines for people.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ckpt import client
from ckpt.encoding import printable
from ckpt.exceptions import OperationError, UsageError
from ckpt.files import atomic_write
from ckpt.paths import StatePaths, config_home
from ckptd.config import file as config_file
from ckptd.process import background, environment, lifecycle, service_unit
from ckptd.process.service_unit import UNIT_NAME

ANSWER_S = 15.0
START_S = 150.0  # a unit of Type=notify is waited for until its first look at the disk is done
_WITHOUT_SYSTEMD = (
    "without it: `ckptd start` in a login script or in a container's start command, or `ckptd once DIR`, which needs "
    "no daemon"
)


def unit_path() -> Path:
    """Where this user's own units lie. Raises OperationError without a home."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):
        base = os.path.expanduser("~/.config")
        if not os.path.isabs(base) or base == "/.config":
            raise OperationError("there is no home directory to put a unit into", hint=_WITHOUT_SYSTEMD)
    return Path(base) / "systemd" / "user" / UNIT_NAME


def unit() -> str:
    """The unit for this installation and environment. Raises UsageError for what a unit file cannot hold."""
    return service_unit.unit_text(
        background.command("run"),
        reload=[shutil.which("kill") or "/bin/kill", "-HUP", "$MAINPID"],
        environment=environment.settings(os.environ),
        version=lifecycle.version(),
    )


def install(*, start: bool = True, force: bool = False) -> list[str]:
    """Writes the unit, enables it and (with `start`) starts it; doing it again changes nothing.

    Raises UsageError for a config that is not understood and for a unit that somebody edited, unless `force`; and
    OperationError when the service could not run, or no user manager answers and it should have been started.
    """
    _need_linux()
    config_file.load(config_home())
    text, path = unit(), unit_path()
    _check_runs()
    told = [_write(path, text, force=force)]
    if not _manager_answers():
        nobody = "no systemd user manager answers here, so the service is not enabled"
        hints = [
            "in a login of this user: `systemctl --user enable --now ckptd`, and `loginctl enable-linger` to keep it "
            "running after the logout",
            _WITHOUT_SYSTEMD,
        ]
        if start:
            raise OperationError("\n".join([*told, nobody]), hint="\n".join(hints))
        return [*told, nobody, *hints]
    _systemctl("daemon-reload")
    stranger = _daemon_of_nobody()
    now = start and stranger is None
    _systemctl("enable", *(["--now"] if now else []), UNIT_NAME, seconds=START_S)
    told.append("enabled and running" if now else "enabled: it starts with your next login")
    if stranger is not None:
        told.append(
            f"ckptd runs already (process {stranger}), and not by systemd; hand over with `ckptd stop && systemctl "
            "--user start ckptd`"
        )
    elif now and told[0].startswith("changed"):
        told.append("a service that ran before keeps the old unit until `systemctl --user restart ckptd`")
    if _linger() == "no":
        told.append("it ends when you log out; `loginctl enable-linger` keeps it running")
    return told


def remove(*, force: bool = False) -> list[str]:
    """Stops and disables the service and removes its unit; everything else stays, and is named.

    Raises UsageError for a unit that somebody edited, unless `force`, and OperationError when systemd refuses.
    """
    _need_linux()
    path = unit_path()
    if not os.path.lexists(path):
        return [f"{path} is not there; nothing to remove", *_what_stays(path)]
    _check_ours(path, force=force, act="removed")
    manager = _manager_answers()
    if manager:
        _systemctl("disable", "--now", UNIT_NAME, seconds=START_S)
    try:
        path.unlink()
        (path.parent / "default.target.wants" / UNIT_NAME).unlink(missing_ok=True)
    except OSError as error:
        raise OperationError(f"{path} could not be removed: {error.strerror}") from error
    if manager:
        _systemctl("daemon-reload")
    return [f"removed {path}", *_what_stays(path)]


def _what_stays(path: Path) -> list[str]:
    state = StatePaths.here()
    told = [
        f"these stay: the config in {config_home()}; catalog, marks, journal and log in {state.directory}; removed "
        "checkpoints in the `.trash` of their runs, those of enforced directories in `.ckptd/trash` there (or in "
        "`.ckptd-NAME/trash` beside them)",
        "nothing purges that trash while no ckptd runs; to have it back or be rid of it: `ckptd start`, then "
        "`ckpt trash ls`, and `ckpt trash restore` or `ckpt trash purge`",
    ]
    drop_ins = path.with_name(f"{UNIT_NAME}.d")
    if drop_ins.is_dir():
        told.append(f"your own changes to the unit stay in {drop_ins}")
    stranger = _daemon_of_nobody()
    if stranger is not None:
        told.append(f"ckptd still runs (process {stranger}), not by systemd; `ckptd stop` ends it")
    return told


def _need_linux() -> None:
    if not sys.platform.startswith("linux"):
        raise UsageError("systemd units are for Linux; nothing was written", hint=_WITHOUT_SYSTEMD)


def _check_runs() -> None:
    """Raises OperationError when ckptd does not run without this shell's environment, as a service has to."""
    bare = {"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", **environment.settings(os.environ)}
    if "HOME" in os.environ:
        bare["HOME"] = os.environ["HOME"]
    try:
        done = subprocess.run(
            background.command("--version"),
            env=bare,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] if done.returncode else []
        failed = done.returncode != 0
    except (OSError, subprocess.TimeoutExpired) as error:
        said, failed = [str(error)], True
    if failed:
        raise OperationError(
            f"ckptd does not run without the environment of this shell: {printable(''.join(said)) or 'no reason told'}",
            hint="install it into an environment of its own, so that PYTHONPATH or LD_LIBRARY_PATH are not needed",
        )


def _write(path: Path, text: str, *, force: bool) -> str:
    there = _read(path)
    if there == text:
        return f"{path} is as it should be"
    if os.path.lexists(path):
        _check_ours(path, force=force, act="overwritten")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, text.encode(), mode=0o644)
    except OSError as error:
        raise OperationError(f"{path} could not be written: {error.strerror}") from error
    return f"{'wrote' if there is None else 'changed'} {path}"


def _check_ours(path: Path, *, force: bool, act: str) -> None:
    """Raises UsageError for a unit that is not as ckptd wrote it, and for a link."""
    text = _read(path)
    if force or (text is not None and not path.is_symlink() and service_unit.is_ours(text)):
        return
    what = f"is a link to {os.readlink(path)}" if path.is_symlink() else "is not as ckptd wrote it"
    raise UsageError(
        f"{path} {what}; it was not {act}",
        hint="see what would be written with `ckptd install --print`; --force takes it all the same; changes of yours "
        "are kept apart in `systemctl --user edit ckptd`",
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else None
    except (OSError, UnicodeDecodeError):
        return None


def _daemon_of_nobody() -> int | None:
    """Process id of a daemon that runs and that systemd did not start; None without one."""
    note = client.daemon_note()
    if note is None:
        return None
    pid = note.get("pid")
    main = _ask("systemctl", "--user", "show", "--property=MainPID", "--value", UNIT_NAME)
    return None if not isinstance(pid, int) or main == str(pid) else pid


def _manager_answers() -> bool:
    return _ask("systemctl", "--user", "show", "--property=Version") is not None


def _linger() -> str | None:
    return _ask("loginctl", "show-user", str(os.getuid()), "--property=Linger", "--value")


def _ask(*command: str) -> str | None:
    """What a program answers; None where it is missing, fails or does not answer."""
    try:
        done = _call(*command, seconds=ANSWER_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _systemctl(*arguments: str, seconds: float = ANSWER_S) -> None:
    command = ("systemctl", "--user", *arguments)
    shown = f"`{' '.join(command)}`"
    try:
        done = _call(*command, seconds=seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OperationError(f"{shown} failed: {error}", hint="see `systemctl --user status ckptd`") from error
    if done.returncode:
        said = printable(" ".join(done.stderr.split())) or f"exit code {done.returncode}"
        raise OperationError(f"{shown} failed: {said}", hint="see `journalctl --user -u ckptd`")


def _call(*command: str, seconds: float) -> subprocess.CompletedProcess[str]:
    variables = dict(os.environ)
    # Shells of `su` and cron have no such variable, though the manager may be there.
    own = f"/run/user/{os.getuid()}"
    if "XDG_RUNTIME_DIR" not in variables and os.path.isdir(own):
        variables["XDG_RUNTIME_DIR"] = own
    return subprocess.run(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=seconds,
        check=False,
    )
