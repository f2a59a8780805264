"""What a config file says of where to look: the roots, and what is left out below them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ckpt.encoding import printable
from ckptd.config.problems import SHOWN, Problems
from ckptd.config.retention import policy
from ckptd.config.values import Root

_OF_HOMES = ("/home", "/Users")


def roots(problems: Problems, raw: Mapping[str, Any]) -> tuple[Root, ...]:
    """The roots of a file, each once and none in another."""
    found: list[Root] = []
    named: list[tuple[int, str]] = []
    for number, one in problems.tables(raw, "root"):
        path = _path(problems, one, number)
        mode = one.get("mode", "observe")
        mode_line = problems.layout.line("root", number, "mode")
        if mode not in ("observe", "enforce"):
            allowed = f"root {number}: mode is observe or enforce"
            problems.value(f"root[{number}].mode", allowed, mode, mode_line)
            mode = "observe"
        exclude = patterns(problems, one.get("exclude", []), "root", number)
        poll = one.get("poll", False)
        if not isinstance(poll, bool):
            line = problems.layout.line("root", number, "poll")
            problems.value(f"root[{number}].poll", f"root {number}: poll is true or false", poll, line)
        given = policy(problems, one["policy"], "root", number) if "policy" in one else {}
        if path is None or _clashes(problems, path, number, named):
            continue
        named.append((number, os.path.normpath(path)))
        real = os.path.realpath(path)
        if mode == "enforce" and (why := too_much(real)) is not None:
            problems.problem(f"root[{number}].mode", f"root {number}: {printable(real)} {why}", line=mode_line)
            mode = "observe"
        root = Root(path=real, mode=mode, exclude=exclude, poll=poll is True, policy=given, origin="config.toml")
        found.append(root)
    _warn_of_links(problems, found)
    return tuple(found)


def patterns(problems: Problems, raw: Any, table: str, number: int) -> tuple[str, ...]:
    """The patterns of what is left out below all roots (`table` "daemon"), or below one."""
    place, label = ("daemon", "[daemon]") if table == "daemon" else (f"root[{number}]", f"root {number}")
    key = f"{place}.exclude"
    line = problems.layout.line(table, number, "exclude")
    if not isinstance(raw, list) or not all(isinstance(one, str) and one.strip("/") for one in raw):
        problems.value(key, f'{label}: exclude is a list of patterns, as ["scratch*", "old/big"]', raw, line)
        return ()
    for pattern in raw:
        if pattern.startswith(("/", "./", "../", "~/")):
            problems.warn(
                key,
                f"{label}: '{printable(pattern)}' never matches; a pattern is a directory's name, or its path "
                "below the root",
                line,
            )
        elif not pattern.strip("*"):
            problems.warn(key, f"{label}: '{printable(pattern)}' leaves out everything", line)
    return tuple(raw)


def too_much(path: str) -> str | None:
    """Why nobody means a whole directory to be enforced, as the rest of a sentence; None when one may.

    `path` is absolute and without symbolic links.
    """
    home = os.path.realpath(os.path.expanduser("~"))
    if path == "/":
        return "is the whole file system; it can be watched, not enforced"
    if home == path or os.path.dirname(path) in _OF_HOMES:
        return "is a home directory; it can be watched, not enforced"
    if home.startswith(path + "/") or path in _OF_HOMES:
        return "holds home directories; it can be watched, not enforced"
    return None


def _path(problems: Problems, raw: Mapping[str, Any], number: int) -> str | None:
    key, label = f"root[{number}].path", f"root {number}"
    line = problems.layout.line("root", number, "path")
    path = raw.get("path")
    if path is None:
        problems.problem(key, f"{label} needs a path", line=line)
        return None
    if not isinstance(path, str) or not path or "\0" in path:
        problems.value(key, f"{label}: path is the name of a directory", path, line)
        return None
    full = os.path.expanduser(path)
    variables = "; environment variables are not expanded, only ~ is" if "$" in path else ""
    if not os.path.isabs(full):
        known = "no such home directory is known" if path.startswith("~") else "the path is not absolute"
        message = f"{label}: {known}: '{printable(path[:SHOWN])}'; begin it with / or ~/{variables}"
        problems.problem(key, message, line=line)
        return None
    real = os.path.realpath(full)
    if not os.path.isdir(real):
        missing = "is not a directory" if os.path.exists(real) else "does not exist now"
        problems.warn(key, f"{label}: {printable(full)} {missing}{variables}", line)
    return full


def _clashes(problems: Problems, path: str, number: int, named: Sequence[tuple[int, str]]) -> bool:
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
        problems.problem(f"root[{number}].path", message, line=problems.layout.line("root", number, "path"))
        return True
    return False


def _warn_of_links(problems: Problems, found: Sequence[Root]) -> None:
    """Roots that are the same, or in each other, only by symbolic links as they stand now."""
    for number, root in enumerate(found, 1):
        for other in found[: number - 1]:
            if os.path.commonpath((root.path, other.path)) in (root.path, other.path):
                message = f"{printable(root.path)} and {printable(other.path)} share directories by a symbolic link"
                problems.warn("root", f"{message}; only the outer one is watched", None)
