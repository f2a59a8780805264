"""How this process was started, as its run tells it: enough to start it again, and no secrets."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

HIDDEN = "[hidden]"
"""Stands for a value that is not kept."""

_LONGEST = 32768  # characters; a longer command line is not worth its place in a manifest
_SECRET = re.compile(r"(key|token|password|passwd|passphrase|secrets?|credentials?)$", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]+(?=@)")


def how_started() -> dict[str, Any]:
    """The command line of this process, its directory, with which it can be started again, and how many train with it.

    Nothing is there when it cannot be told. Values of options whose names end as those of secrets do are hidden, and
    variables of the environment are never taken.
    """
    command = [sys.executable, *sys.orig_argv[1:]]
    try:
        cwd = os.getcwd()
    except OSError:
        return {}
    if not sys.executable or sum(len(word) for word in command) > _LONGEST:
        return {}
    told = {"command": list(without_secrets(command)), "cwd": cwd}
    processes = os.environ.get("WORLD_SIZE", "")
    return {**told, "world_size": int(processes)} if processes.isdecimal() else told


def without_secrets(command: Sequence[str]) -> Iterator[str]:
    """The words of a command line: `--api-key X`, `--api-key=X`, `db.password=X` and `://user:X@` lose the X."""
    secret = False
    for word in command:
        option, equals, value = word.partition("=")
        names_secret = _SECRET.search(option) is not None
        if equals and value and names_secret:
            yield f"{option}={HIDDEN}"
        elif secret and not word.startswith("--"):
            yield HIDDEN
        else:
            yield _IN_ADDRESS.sub(HIDDEN, word)
        secret = names_secret and word.startswith("-") and not equals
