"""Looks at places, limits, disks and the daemon. Starts nothing that stays, and waits for nothing for long."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ckpt import paths
from ckpt.client import Client, autostart_forbidden, daemon_note
from ckpt.encoding import path_from_fields
from ckpt.exceptions import CkptError
from ckpt.files import FileLock, read_json
from ckpt.protocol import PROTOCOL
from ckpt_tui.doctor import machine
from ckpt_tui.doctor.asking import ask, ask_all
from ckpt_tui.doctor.configuration import ask_ckptd
from ckpt_tui.doctor.facts import ConfigFile, Facts, Place, RootSeen

PACKAGES = ("ckptd", "torch", "numpy", "safetensors", "textual", "typer")
DAEMON_S = 2.0  # a daemon that is well answers in milliseconds
DISK_S = 3.0
_LISTED = 20  # names of one kind that are worth telling


def gather() -> Facts:
    """Everything that the checks want to know. Raises nothing that a broken machine could cause."""
    places = machine.places()
    state = _state_directory(places)
    config = None if any(p.name == "config" and not _usable(p) for p in places) else ask_ckptd(paths.config_home())
    note, crashed = _lock_notes(state)
    status, asked_at, status_problem = _ask_daemon(note)
    stored, roots_problem = _stored_roots(state)
    roots = _roots(status, config, stored)
    looked = ask_all({path: partial(machine.look_at_root, path) for path in roots}, DISK_S)
    seen = [
        RootSeen(path, problem=_words(found)) if isinstance(found, Exception) else found
        for path, found in looked.items()
    ]
    named = {path_from_fields(root) for root in config.roots} if config else set()
    here = [*([str(state.directory)] if state else []), *(root.path for root in seen if root.problem is None)]
    return Facts(
        now=time.time(),
        installed_at=Path(__file__).stat().st_mtime,
        version=_version("ckptd"),
        protocol=PROTOCOL,
        user=machine.user(),
        versions={"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        autostart=autostart_forbidden(),
        places=places,
        config=config,
        inotify=machine.inotify(),
        state_clock=_state_clock(state),
        disks=machine.by_device(ask_all({path: partial(machine.disk_of, path) for path in here}, DISK_S)),
        roots=tuple(replace(root, in_config=root.path in named) for root in seen),
        note=note,
        crashed=crashed,
        status=status,
        asked_at=asked_at,
        status_problem=status_problem,
        moved_aside=_moved_aside(state),
        roots_problem=roots_problem,
        start_log=_last_line(state.log.with_name("start.log")) if state and note is None else None,
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _usable(place: Place) -> bool:
    return place.problem is None and place.nearest_is_directory and place.readable


def _state_directory(places: Sequence[Place]) -> paths.StatePaths | None:
    for place in places:
        if place.name == "state" and place.problem is None:
            return paths.StatePaths(Path(place.path))
    return None


def _lock_notes(state: paths.StatePaths | None) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The note of the daemon that runs, and that of one that ended without taking its socket along."""
    if state is None:
        return None, None
    try:
        note = daemon_note()
        if note is not None:
            return note, None
        last = FileLock(state.lock).holder()
        return None, last if last.get("socket") and Path(str(last["socket"])).exists() else None
    except (CkptError, OSError):
        return None, None


def _ask_daemon(note: Mapping[str, Any] | None) -> tuple[dict[str, Any] | None, float | None, str | None]:
    """What the daemon says of itself and when it said so, or why it does not."""
    if note is None or note.get("protocol") != PROTOCOL or not note.get("socket"):
        return None, None, None
    if not Path(str(note["socket"])).exists():
        return None, None, "its socket is gone"

    def status() -> dict[str, Any]:
        with Client("daemon", answer_s=DAEMON_S) as client:
            answer: dict[str, Any] = client.get("/v1/status")
            return answer

    answer = ask(status, DAEMON_S)
    if isinstance(answer, Exception):
        return None, None, _words(answer)
    return answer, time.time(), None


def _words(error: Exception) -> str:
    if isinstance(error, CkptError):
        return error.message
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _stored_roots(state: paths.StatePaths | None) -> tuple[list[str], str | None]:
    """The directories that commands asked to watch, and why they are not known."""
    if state is None:
        return [], None
    try:
        return [path_from_fields(root) for root in read_json(state.roots)["roots"]], None
    except FileNotFoundError:
        return [], None
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [], f"{state.roots} cannot be used: {error}"


def _roots(status: Mapping[str, Any] | None, config: ConfigFile | None, stored: Sequence[str]) -> list[str]:
    """All watched directories: as the daemon tells them, else as they are written down."""
    if status is not None:
        told = [path_from_fields(root) for root in status.get("roots") or ()]
    else:
        told = [*(path_from_fields(root) for root in (config.roots if config else ())), *stored]
    return list(dict.fromkeys(told))


def _state_clock(state: paths.StatePaths | None) -> float | None:
    if state is None:
        return None
    found = ask(partial(machine.clock_of, state.directory), DISK_S)
    return None if isinstance(found, Exception) else found


def _moved_aside(state: paths.StatePaths | None) -> tuple[str, ...]:
    if state is None:
        return ()
    found: list[str] = []
    for place, pattern in ((state.catalog, "*.corrupt-*"), (state.directory, "*.corrupt-*")):
        try:
            found += sorted(str(path) for path in place.glob(pattern))
        except OSError:
            continue
    return tuple(found[:_LISTED])


def _last_line(path: Path) -> str | None:
    try:
        with open(path, "rb") as stream:
            lines = stream.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return None
    return lines[-1] if lines else None
