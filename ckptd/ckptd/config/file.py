"""`config.toml`, which people write and the daemon only reads; strictly, and every problem of it at once.

[daemon]
rescan_s = 60            # seconds between two full looks at the disk
poll_s = 10              # seconds between two looks where changes are not told by events
idle_exit_s = 600        # an autostarted daemon ends after this long without clients and trainings
exclude = ["scratch*"]   # directories that are not looked into, below any root

[[root]]
path = "~/runs"
mode = "observe"
exclude = ["old"]
poll = false             # true: do not trust that changes are told by events here

The variables CKPTD_RESCAN_S, CKPTD_POLL_S and CKPTD_IDLE_EXIT_S go before the file. Only what the file itself says is a
mistake; what the disk says now (a root that does not exist) is a warning, because disks come and go.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ckpt.encoding import printable
from ckpt.exceptions import UsageError
from ckpt.records import Record
from ckptd.config.layout import Layout
from ckptd.config.values import TIMES, Config, Root, check_mode

FILE_NAME = "config.toml"
FILE_BYTES_MAX = 256 << 10
SECONDS = (0.1, 86400.0)
VARIABLES = {name: f"CKPTD_{name.upper()}" for name in TIMES}
"""The environment variables that go before the file."""

ValueOrigin = Literal["default", "config.toml", "environment"]

_TOP = ("daemon", "root")
_DAEMON = (*TIMES, "exclude")
_ROOT = ("path", "mode", "exclude", "poll")
_SHOWN = 60  # characters of a wrong value


class Problem(Record, frozen=True, kw_only=True):
    """One thing that is wrong, or worth a look."""

    key: str
    """What it is about: `daemon.rescan_s`, `root[2].path` (roots count from 1), a variable, or "" for all of it."""
    message: str
    path: str | None = None
    """The file; None when the environment is meant."""
    line: int | None = None
    """Line in the file, from 1; None when it is not known."""

    def sentence(self) -> str:
        """`FILE:LINE: message`."""
        place = printable(self.path) if self.path is not None else None
        return ": ".join(filter(None, (f"{place}:{self.line}" if place and self.line else place, self.message)))


class Reading(Record, frozen=True, kw_only=True):
    """What a config file says and how far it is understood."""

    path: str
    exists: bool
    config: Config = Config()
    """The values; defaults in place of what is not understood."""
    origins: Mapping[str, ValueOrigin]
    """Where each value of `Config` but the roots comes from."""
    problems: tuple[Problem, ...] = ()
    """Why the file is refused."""
    warnings: tuple[Problem, ...] = ()
    """What is taken and may still not be meant."""


def read(home: Path, environment: Mapping[str, str]) -> Reading:
    """The config in a directory. Never raises for what the file or the environment says."""
    path = home / FILE_NAME
    reader = _Reader(str(path))
    raw: dict[str, Any] = {}
    exists = True
    try:
        text = _text(path)
        reader.layout = Layout(text)
        raw = tomllib.loads(text)
    except FileNotFoundError:
        exists = False
    except tomllib.TOMLDecodeError as error:
        at = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        reader.problem("", f"this is not TOML: {error}", line=int(at[1]) if at else None)
    except RecursionError:
        reader.problem("", "this is not TOML: nested too deeply")
    except OSError as error:
        reader.problem("", f"it cannot be read: {error.strerror}")
    except ValueError as error:
        reader.problem("", f"it cannot be read: {error}")
    config = reader.config(raw, environment)
    return Reading(
        path=str(path),
        exists=exists,
        config=config,
        origins=reader.origins,
        problems=tuple(sorted(reader.problems, key=lambda problem: problem.line or 0)),
        warnings=tuple(reader.warnings),
    )


def load(home: Path) -> Config:
    """The config in a directory, with what this process's environment says; defaults when there is no file.

    Raises UsageError that names all that is not understood, a line each.
    """
    reading = read(home, os.environ)
    if reading.problems:
        raise UsageError("\n".join(problem.sentence() for problem in reading.problems))
    return reading.config


def _text(path: Path) -> str:
    """The file's text. Raises OSError and ValueError."""
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with open(fd, "rb") as stream:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise ValueError("it is not a file")
        data = stream.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise ValueError(f"it has {info.st_size} bytes, and {FILE_BYTES_MAX} are allowed")
    return data.decode("utf-8")


class _Reader:
    """Turns raw TOML into a Config and collects what is wrong."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.layout = Layout("")
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.origins: dict[str, ValueOrigin] = dict.fromkeys(_DAEMON, "default")

    def problem(self, key: str, message: str, *, line: int | None = None) -> None:
        self.problems.append(Problem(key=key, message=message, path=self._path, line=line))

    def config(self, raw: Mapping[str, Any], environment: Mapping[str, str]) -> Config:
        self._unknown(raw, _TOP, "the file")
        decided = self._environment(environment)
        values = {**self._daemon(raw.get("daemon", {})), **decided}
        self.origins.update(dict.fromkeys(decided, "environment"))
        return Config(roots=self._roots(raw.get("root", [])), from_environment=tuple(decided), **values)

    def _daemon(self, raw: Any) -> dict[str, Any]:
        values: dict[str, Any] = {}
        if not isinstance(raw, dict):
            self._wrong("daemon", "daemon is a table: write [daemon], once", raw, self.layout.line("", 1, "daemon"))
            return values
        self._unknown(raw, _DAEMON, "[daemon]", "daemon")
        for name in TIMES:
            if name in raw:
                self.origins[name] = "config.toml"
                seconds = raw[name]
                if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not _in_range(seconds):
                    line = self.layout.line("daemon", 1, name)
                    self._wrong(f"daemon.{name}", f"{name} is a number of {_RANGE}", seconds, line)
                else:
                    values[name] = float(seconds)
        if "exclude" in raw:
            self.origins["exclude"] = "config.toml"
            values["exclude"] = self._exclude(raw["exclude"], "daemon", 1)
        return values

    def _environment(self, environment: Mapping[str, str]) -> dict[str, float]:
        values: dict[str, float] = {}
        for name, variable in VARIABLES.items():
            text = environment.get(variable)
            if not text:
                continue
            try:
                seconds = float(text)
            except ValueError:
                seconds = -1.0
            if _in_range(seconds):
                values[name] = seconds
            else:
                message = f"{variable} is a number of {_RANGE}, not '{printable(text[:_SHOWN])}'"
                self.problems.append(Problem(key=variable, message=message))
        return values

    def _roots(self, raw: Any) -> tuple[Root, ...]:
        if not isinstance(raw, list) or not all(isinstance(one, dict) for one in raw):
            line = self.layout.line("", 1, "root") or self.layout.line("root")
            self.problem("root", "write [[root]], with two brackets, for every root", line=line)
            return ()
        roots: list[Root] = []
        named: list[tuple[int, str]] = []
        for number, one in enumerate(raw, 1):
            label = f"root {number}"
            self._unknown(one, _ROOT, "[[root]]", "root", number)
            path = self._path_of(one, number)
            try:
                check_mode(one.get("mode", "observe"))
            except ValueError as error:
                self.problem(f"root[{number}].mode", f"{label}: {error}", line=self.layout.line("root", number, "mode"))
            exclude = self._exclude(one.get("exclude", []), "root", number)
            poll = one.get("poll", False)
            if not isinstance(poll, bool):
                line = self.layout.line("root", number, "poll")
                self._wrong(f"root[{number}].poll", f"{label}: poll is true or false", poll, line)
            if path is not None and not self._clashes(path, number, named):
                named.append((number, os.path.normpath(path)))
                roots.append(
                    Root(path=os.path.realpath(path), exclude=exclude, poll=poll is True, origin="config.toml")
                )
        self._warn_of_links(roots)
        return tuple(roots)

    def _path_of(self, raw: Mapping[str, Any], number: int) -> str | None:
        key, label = f"root[{number}].path", f"root {number}"
        line = self.layout.line("root", number, "path")
        path = raw.get("path")
        if path is None:
            self.problem(key, f"{label} needs a path", line=line)
            return None
        if not isinstance(path, str) or not path or "\0" in path:
            self._wrong(key, f"{label}: path is the name of a directory", path, line)
            return None
        full = os.path.expanduser(path)
        variables = "; environment variables are not expanded, only ~ is" if "$" in path else ""
        if not os.path.isabs(full):
            known = "no such home directory is known" if path.startswith("~") else "the path is not absolute"
            self.problem(
                key, f"{label}: {known}: '{printable(path[:_SHOWN])}'; begin it with / or ~/{variables}", line=line
            )
            return None
        real = os.path.realpath(full)
        if not os.path.isdir(real):
            missing = "is not a directory" if os.path.exists(real) else "does not exist now"
            self._warn(key, f"{label}: {printable(full)} {missing}{variables}", line)
        return full

    def _clashes(self, path: str, number: int, named: Sequence[tuple[int, str]]) -> bool:
        path = os.path.normpath(path)
        for other, there in named:
            if path == there:
                message = f"root {number}: {printable(path)} is root {other} already; name it once"
            elif (outer := os.path.commonpath((path, there))) in (path, there):
                inner = there if outer == path else path
                message = (
                    f"root {number}: {printable(inner)} lies in {printable(outer)}, and every directory below a root "
                    f"is watched; leave one of the two out"
                )
            else:
                continue
            self.problem(f"root[{number}].path", message, line=self.layout.line("root", number, "path"))
            return True
        return False

    def _warn_of_links(self, roots: Sequence[Root]) -> None:
        """Roots that are the same, or in each other, only by symbolic links as they stand now."""
        for number, root in enumerate(roots, 1):
            for other in roots[: number - 1]:
                if os.path.commonpath((root.path, other.path)) in (root.path, other.path):
                    message = f"{printable(root.path)} and {printable(other.path)} share directories by a symbolic link"
                    self._warn("root", f"{message}; only the outer one is watched", None)

    def _exclude(self, raw: Any, table: str, number: int) -> tuple[str, ...]:
        place, label = ("daemon", "[daemon]") if table == "daemon" else (f"root[{number}]", f"root {number}")
        key = f"{place}.exclude"
        line = self.layout.line(table, number, "exclude")
        if not isinstance(raw, list) or not all(isinstance(one, str) and one.strip("/") for one in raw):
            self._wrong(key, f'{label}: exclude is a list of patterns, as ["scratch*", "old/big"]', raw, line)
            return ()
        for pattern in raw:
            if pattern.startswith(("/", "./", "../", "~/")):
                self._warn(
                    key,
                    f"{label}: '{printable(pattern)}' never matches; a pattern is a directory's name, or its path "
                    "below the root",
                    line,
                )
            elif not pattern.strip("*"):
                self._warn(key, f"{label}: '{printable(pattern)}' leaves out everything", line)
        return tuple(raw)

    def _unknown(
        self, raw: Mapping[str, Any], names: Sequence[str], where: str, table: str = "", number: int = 1
    ) -> None:
        prefix = {"": "", "daemon": "daemon.", "root": f"root[{number}]."}[table]
        for key in raw:
            if key not in names:
                line = self.layout.line(table, number, key) or self.layout.line(key)
                message = f"{where} has the unknown key '{printable(key[:_SHOWN])}'; {_suggestion(key, names)}"
                self.problem(f"{prefix}{printable(key)}", message, line=line)

    def _wrong(self, key: str, allowed: str, value: Any, line: int | None) -> None:
        shown = f"'{value}'" if isinstance(value, str) else str(value)
        self.problem(key, f"{allowed}, not {printable(shown[:_SHOWN])}", line=line)

    def _warn(self, key: str, message: str, line: int | None) -> None:
        self.warnings.append(Problem(key=key, message=message, path=self._path, line=line))


def _suggestion(key: str, names: Sequence[str]) -> str:
    for table, known in (("[daemon]", _DAEMON), ("[[root]]", _ROOT)):
        if key in known:
            return f"it belongs in {table}"
    if key in _TOP:
        return f"write [{key}] at the left" if key == "daemon" else "write [[root]]"
    for near, place in ((names, ""), (_DAEMON, " in [daemon]"), (_ROOT, " in [[root]]")):
        if found := difflib.get_close_matches(key, near, n=1):
            return f"did you mean '{found[0]}'{place}?"
    return f"known here: {', '.join(names)}"


def _in_range(seconds: float) -> bool:
    return SECONDS[0] <= seconds <= SECONDS[1]


_RANGE = f"seconds from {SECONDS[0]:g} to {SECONDS[1]:g}"
