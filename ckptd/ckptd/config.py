"""`config.toml`, which people write and the daemon only reads.

[daemon]
rescan_s = 60            # seconds between two full looks at the disk
idle_exit_s = 600        # an autostarted daemon ends after this long without clients and trainings

[[root]]
path = "~/runs"
mode = "observe"
exclude = ["scratch*"]
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from ckpt.encoding import printable
from ckpt.exceptions import UsageError
from ckpt.records import Record

Origin = Literal["config.toml", "command", "session"]
"""Who named a root: a person in the file, a command (kept), or this daemon's own command line (for its life)."""


class Root(Record, frozen=True, kw_only=True):
    """A directory to watch, recursively."""

    path: str
    """Absolute, without symbolic links."""
    mode: Literal["observe", "enforce"] = "observe"
    exclude: tuple[str, ...] = ()
    """Glob patterns of directory names, or of paths relative to the root, that are not looked into."""
    origin: Origin = "command"


class Config(Record, frozen=True, kw_only=True):
    """What `config.toml` says."""

    rescan_s: float = 60.0
    idle_exit_s: float = 600.0
    roots: tuple[Root, ...] = ()


def load(home: Path) -> Config:
    """The config in a directory; defaults when there is no file.

    Raises UsageError, with the file's name, for anything in it that is not understood.
    """
    path = home / "config.toml"
    try:
        with open(path, "rb") as stream:
            raw = tomllib.load(stream)
    except FileNotFoundError:
        return _with_environment(Config())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    try:
        return _with_environment(_parse(raw))
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error


def root_from(raw: Mapping[str, Any], origin: Origin) -> Root:
    """A root as config.toml and the list of watched roots write it. Raises ValueError."""
    _known(raw, ("path", "mode", "exclude"), "[[root]]")
    path, mode, exclude = raw.get("path"), raw.get("mode", "observe"), raw.get("exclude", [])
    if not isinstance(path, str) or not path:
        raise ValueError("a root needs a path")
    check_mode(mode)
    if not isinstance(exclude, list | tuple) or not all(isinstance(e, str) for e in exclude):
        raise ValueError("exclude is a list of patterns")
    return Root(
        path=os.path.realpath(os.path.expanduser(path)),
        mode="observe",
        exclude=tuple(exclude),
        origin=origin,
    )


def check_mode(mode: Any) -> None:
    """Refuses what no root may have. Raises ValueError."""
    if mode == "enforce":
        raise ValueError(
            "enforcement on directories that other tools write is not available for them yet; own runs keep "
            "their own policies under an observed root too"
        )
    if mode != "observe":
        raise ValueError(f"mode is observe or enforce, not '{printable(str(mode))}'")


def _parse(raw: Mapping[str, Any]) -> Config:
    _known(raw, ("daemon", "root"), "the file")
    daemon, roots = raw.get("daemon", {}), raw.get("root", [])
    if not isinstance(daemon, dict) or not isinstance(roots, list) or not all(isinstance(r, dict) for r in roots):
        raise ValueError("write [daemon] once, and [[root]] for every root")
    _known(daemon, ("rescan_s", "idle_exit_s"), "[daemon]")
    times: dict[str, float] = {}
    for name, value in daemon.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 86400:
            raise ValueError(f"{name} is a number of seconds from 1 to 86400")
        times[name] = float(value)
    return Config(roots=tuple(root_from(r, "config.toml") for r in roots), **times)


def _known(raw: Mapping[str, Any], names: Iterable[str], where: str) -> None:
    for key in raw:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
            raise ValueError(f"{where} has the unknown key '{printable(key)}'; {hint}")


def _with_environment(config: Config) -> Config:
    changes: dict[str, float] = {}
    for name, variable in (("idle_exit_s", "CKPTD_IDLE_EXIT_S"), ("rescan_s", "CKPTD_RESCAN_S")):
        text = os.environ.get(variable)
        if text:
            try:
                changes[name] = max(0.1, float(text))
            except ValueError:
                raise UsageError(f"{variable} is a number of seconds, not '{printable(text)}'") from None
    changed: Config = config.evolve(**changes)
    return changed
