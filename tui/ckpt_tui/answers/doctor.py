"""`ckpt doctor`: whether this installation can work, without starting anything."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import typer

from ckpt import paths
from ckpt.client import autostart_forbidden, daemon_note
from ckpt.exceptions import CkptError
from ckpt.protocol import PROTOCOL
from ckpt_tui.output import Output
from ckpt_tui.render.words import ago
from ckpt_tui.running import running

UNSOUND = 1  # exit code
PACKAGES = ("ckptd", "torch", "numpy", "safetensors", "textual", "typer")


def answer_doctor(*, json: bool, quiet: bool) -> None:
    """Answers `ckpt doctor`. Ends with exit code 1 when a check fails."""
    with running(json=json, quiet=quiet) as out:
        places = _places()
        checks = [_check_place(name, place) for name, place in places.items()] + [_check_daemon(), _check_clock()]
        answer = {
            "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
            "paths": places,
            "daemon": _daemon(),
            "autostart": autostart_forbidden() or "allowed",
            "checks": checks,
        }
        failed = [check for check in checks if not check["ok"]]
        out.data(answer, ids=[check["name"] for check in failed], human=lambda: _lines(answer, out))
        if failed:
            raise typer.Exit(UNSOUND)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _places() -> dict[str, str]:
    found: dict[str, str] = {}
    asked: dict[str, Callable[[], Path]] = {
        "config": paths.config_home,
        "state": lambda: paths.StatePaths.here().directory,
        "runtime": paths.runtime_dir,
        "socket": paths.socket_path,
    }
    for name, ask in asked.items():
        try:
            found[name] = str(ask())
        except (CkptError, OSError) as error:
            found[name] = f"unusable: {error}"
    return found


def _check_place(name: str, place: str) -> dict[str, Any]:
    """Whether the nearest existing directory on the way to a place can be written."""
    if place.startswith("unusable"):
        return {"name": name, "ok": False, "detail": place}
    directory = Path(place).parent if name == "socket" else Path(place)
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    ok = directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)
    return {"name": name, "ok": ok, "detail": place if ok else f"{directory} cannot be written"}


def _daemon() -> dict[str, Any] | None:
    try:
        return daemon_note()
    except (CkptError, OSError):
        return None


def _check_daemon() -> dict[str, Any]:
    note = _daemon()
    if note is None:
        return {"name": "daemon", "ok": True, "detail": "not running; `ckptd start` starts it"}
    if note.get("protocol") != PROTOCOL:
        detail = f"speaks protocol {note.get('protocol')}, this program {PROTOCOL}: ckptd stop && ckptd start"
        return {"name": "daemon", "ok": False, "detail": detail}
    if not os.path.exists(str(note.get("socket"))):
        return {"name": "daemon", "ok": False, "detail": f"process {note.get('pid')} has lost its socket: ckptd stop"}
    return {"name": "daemon", "ok": True, "detail": f"process {note.get('pid')}, started {ago(note.get('started'))}"}


def _check_clock() -> dict[str, Any]:
    """A clock before this program's own file would make every age wrong."""
    written = Path(__file__).stat().st_mtime
    ok = time.time() >= written - 86400
    return {"name": "clock", "ok": ok, "detail": "plausible" if ok else "earlier than this program was installed"}


def _lines(answer: dict[str, Any], out: Output) -> Iterable[str]:
    paint = out.paint
    versions = ", ".join(f"{name} {found or 'absent'}" for name, found in answer["versions"].items())
    yield f"{'versions':<10} {paint(versions)}"
    yield f"{'autostart':<10} {paint(answer['autostart'])}"
    for check in answer["checks"]:
        mark = paint("ok", "green") if check["ok"] else paint("WRONG", "red")
        yield f"{check['name']:<10} {mark}  {paint(check['detail'])}"
