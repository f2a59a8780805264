"""`config.toml`, which people write and the daemon only reads; strictly, and every problem of it at once.

[daemon]
rescan_s = 60            # seconds between two full looks at the disk
poll_s = 10              # seconds between two looks where changes are not told by events
idle_exit_s = 600        # an autostarted daemon ends after this long without clients and trainings
exclude = ["scratch*"]   # directories that are not looked into, below any root

[policy]                 # of all runs below enforced roots that say nothing themselves
keep_last = 5
keep_best = 3

[[root]]
path = "~/runs"
mode = "enforce"         # policies act on other tools' checkpoints too, once the first plan is confirmed
policy = {keep_every_n_epochs = 10}
exclude = ["old"]
poll = false             # true: do not trust that changes are told by events here

[[run]]
match = "llama-*/sft-*"  # the name of a run or its path below the root, or a pattern of either
policy = {keep_last = 2, max_bytes = "500GB"}

[limits]                 # of what goes unasked
removals_per_run = 100
bytes_per_run = "200GB"
removals_per_pass = 500
reload_delay = "10m"     # for so long nothing goes unasked that only a changed config.toml removes

[disk]
warn_before = "6h"       # a disk that is full sooner than this is warned of

The variables CKPTD_RESCAN_S, CKPTD_POLL_S and CKPTD_IDLE_EXIT_S go before the file. Only what the file itself says is a
mistake; what the disk says now (a root that does not exist) is a warning, because disks come and go.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ckpt.encoding import printable
from ckpt.exceptions import UsageError
from ckpt.records import Record
from ckptd.config import places, retention
from ckptd.config.layout import Layout
from ckptd.config.problems import SHOWN, TABLES, Problem, Problems
from ckptd.config.values import TIMES, Config

FILE_NAME = "config.toml"
FILE_BYTES_MAX = 256 << 10
SECONDS = (0.1, 86400.0)
VARIABLES = {name: f"CKPTD_{name.upper()}" for name in TIMES}
"""The environment variables that go before the file."""

ValueOrigin = Literal["default", "config.toml", "environment"]


class Reading(Record, frozen=True, kw_only=True):
    """What a config file says and how far it is understood."""

    path: str
    exists: bool
    config: Config = Config()
    """The values; defaults in place of what is not understood."""
    origins: Mapping[str, ValueOrigin]
    """Where each value of `Config` that is one value comes from, and each of its limits."""
    problems: tuple[Problem, ...] = ()
    """Why the file is refused."""
    warnings: tuple[Problem, ...] = ()
    """What is taken and may still not be meant."""


def read(home: Path, environment: Mapping[str, str]) -> Reading:
    """The config in a directory. Never raises for what the file or the environment says."""
    path = home / FILE_NAME
    problems = Problems(str(path))
    raw: dict[str, Any] = {}
    exists = True
    try:
        text = _text(path)
        problems.layout = Layout(text)
        raw = tomllib.loads(text)
    except FileNotFoundError:
        exists = False
    except tomllib.TOMLDecodeError as error:
        at = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        problems.problem("", f"this is not TOML: {error}", line=int(at[1]) if at else None)
    except RecursionError:
        problems.problem("", "this is not TOML: nested too deeply")
    except OSError as error:
        problems.problem("", f"it cannot be read: {error.strerror}")
    except ValueError as error:
        problems.problem("", f"it cannot be read: {error}")
    config, origins = _config(problems, raw, environment)
    return Reading(
        path=str(path),
        exists=exists,
        config=config,
        origins=origins,
        problems=tuple(sorted(problems.wrong, key=lambda problem: problem.line or 0)),
        warnings=tuple(problems.doubtful),
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


def _config(
    problems: Problems, raw: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[Config, dict[str, ValueOrigin]]:
    """The values, and where each comes from."""
    problems.unknown(raw)
    origins: dict[str, ValueOrigin] = dict.fromkeys((*TABLES["daemon"], *TABLES["limits"], *TABLES["disk"]), "default")
    values = _daemon(problems, raw)
    origins.update(dict.fromkeys(values, "config.toml"))
    decided = _environment(problems, environment)
    values.update(decided)
    origins.update(dict.fromkeys(decided, "environment"))
    limits, limited = retention.limits(problems, raw)
    origins.update(dict.fromkeys(limited, "config.toml"))
    warned = retention.warn_before(problems, raw)
    if warned is not None:
        values["warn_before"] = warned
        origins["warn_before"] = "config.toml"
    config = Config(
        roots=places.roots(problems, raw),
        policy=retention.policy(problems, raw.get("policy", {}), "policy"),
        runs=retention.runs(problems, raw),
        limits=limits,
        from_environment=tuple(decided),
        **{name: value for name, value in values.items() if value is not None},
    )
    retention.together(problems, config)
    _warn_of_no_rule(problems, config)
    return config, origins


def _daemon(problems: Problems, raw: Mapping[str, Any]) -> dict[str, Any]:
    """What [daemon] gives; None for what is not understood."""
    table = problems.table(raw, "daemon")
    values: dict[str, Any] = {}
    for name in TIMES:
        if name in table:
            seconds = table[name]
            values[name] = None
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not _in_range(seconds):
                line = problems.layout.line("daemon", 1, name)
                problems.value(f"daemon.{name}", f"{name} is a number of {_RANGE}", seconds, line)
            else:
                values[name] = float(seconds)
    if "exclude" in table:
        values["exclude"] = places.patterns(problems, table["exclude"], "daemon", 1)
    return values


def _environment(problems: Problems, environment: Mapping[str, str]) -> dict[str, float]:
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
            message = f"{variable} is a number of {_RANGE}, not '{printable(text[:SHOWN])}'"
            problems.wrong.append(Problem(key=variable, message=message))
    return values


def _warn_of_no_rule(problems: Problems, config: Config) -> None:
    """Roots that are to be enforced where nothing says what to keep."""
    for number, root in enumerate(config.roots, 1):
        if root.mode == "enforce" and not (root.policy or config.policy or config.runs):
            problems.warn(
                "root",
                f"{printable(root.path)} has mode enforce, and no policy says what to keep: nothing is removed there; "
                "write policy = {keep_last = 3, keep_best = 1}, for example",
                problems.layout.line("root", number, "mode"),
            )


def _in_range(seconds: float) -> bool:
    return SECONDS[0] <= seconds <= SECONDS[1]


_RANGE = f"seconds from {SECONDS[0]:g} to {SECONDS[1]:g}"
