"""What is wrong in a config file, collected: every mistake with its line, and the nearest name of what is known."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from ckpt.encoding import printable
from ckpt.records import Record
from ckptd.config.layout import Layout

TABLES: dict[str, tuple[str, ...]] = {
    "": ("daemon", "policy", "root", "run", "limits", "disk"),
    "daemon": ("rescan_s", "poll_s", "idle_exit_s", "exclude"),
    "root": ("path", "mode", "exclude", "poll", "policy"),
    "run": ("match", "policy"),
    "limits": ("removals_per_run", "bytes_per_run", "removals_per_pass", "reload_delay"),
    "disk": ("warn_before",),
}
"""The keys of each table; "" is the top of the file."""
REPEATED = ("root", "run")
"""Tables that stand there once for each thing."""
SHOWN = 60
"""Characters of a wrong value that messages show."""


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


class Problems:
    """Those of one file. Tables of one name count from 1."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.layout = Layout("")
        self.wrong: list[Problem] = []
        self.doubtful: list[Problem] = []

    def problem(self, key: str, message: str, *, line: int | None = None) -> None:
        """Something is wrong."""
        self.wrong.append(Problem(key=key, message=message, path=self._path, line=line))

    def value(self, key: str, allowed: str, value: Any, line: int | None) -> None:
        """A value is not what is allowed."""
        shown = f"'{value}'" if isinstance(value, str) else str(value)
        self.problem(key, f"{allowed}, not {printable(shown[:SHOWN])}", line=line)

    def warn(self, key: str, message: str, line: int | None) -> None:
        """Something is taken and may still not be meant."""
        self.doubtful.append(Problem(key=key, message=message, path=self._path, line=line))

    def unknown(self, raw: Mapping[str, Any], table: str = "", number: int = 1) -> None:
        """Every key of a table that is not known there."""
        names, where = TABLES[table], title(table) if table else "the file"
        for key in raw:
            if key not in names:
                line = self.layout.line(table, number, key) or self.layout.line(key)
                message = f"{where} has the unknown key '{printable(key[:SHOWN])}'; {_suggestion(key, names)}"
                self.problem(f"{place(table, number)}{printable(key)}", message, line=line)

    def table(self, raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        """A table that stands there once, without its unknown keys being taken."""
        found = raw.get(name, {})
        if isinstance(found, dict):
            if name != "policy":
                self.unknown(found, name)
            return found
        self.value(name, f"{name} is a table: write [{name}], once", found, self.layout.line("", 1, name))
        return {}

    def tables(self, raw: Mapping[str, Any], name: str) -> list[tuple[int, Mapping[str, Any]]]:
        """The tables of a name, with their numbers."""
        found = raw.get(name, [])
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            line = self.layout.line("", 1, name) or self.layout.line(name)
            self.problem(name, f"write [[{name}]], with two brackets, for every {name}", line=line)
            return []
        for number, one in enumerate(found, 1):
            self.unknown(one, name, number)
        return list(enumerate(found, 1))


def place(table: str, number: int) -> str:
    """What the keys of a table begin with: `daemon.`, `root[2].`."""
    if not table:
        return ""
    return f"{table}[{number}]." if table in REPEATED else f"{table}."


def title(table: str) -> str:
    """A table as it is written."""
    return f"[[{table}]]" if table in REPEATED else f"[{table}]"


def _suggestion(key: str, names: Sequence[str]) -> str:
    if key in TABLES[""]:
        return f"write {title(key)}" if key in REPEATED else f"write [{key}] at the left"
    elsewhere = [(table, known) for table, known in TABLES.items() if table and known is not names]
    for table, known in elsewhere:
        if key in known:
            return f"it belongs in {title(table)}"
    if key in _policy_names():
        return "it belongs in a policy: [policy] for all runs, policy = {…} in [[root]] and [[run]]"
    for near, where in ((names, ""), *((known, f" in {title(table)}") for table, known in elsewhere)):
        if found := difflib.get_close_matches(key, near, n=1):
            return f"did you mean '{found[0]}'{where}?"
    return f"known here: {', '.join(names)}"


def _policy_names() -> tuple[str, ...]:
    from ckpt.retention.reading import FIELDS
    from ckpt.retention.spelling import OTHER_NAMES

    return (*FIELDS, *OTHER_NAMES)
