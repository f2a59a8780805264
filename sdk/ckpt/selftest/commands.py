"""How a training is started: a script, or what the last attempt of a run was started with."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckpt.encoding import printable
from ckpt.exceptions import OperationError, UsageError
from ckpt.records import Record
from ckpt.runs.command_line import HIDDEN
from ckpt.runs.manifest import read_manifest

_HINT = "name the script instead: `ckpt selftest train.py -- its arguments`"


class Command(Record, frozen=True, kw_only=True):
    """A command line and the directory in which it is run."""

    argv: tuple[str, ...]
    cwd: str

    def __str__(self) -> str:
        return printable(shlex.join(self.argv))

    def plus(self, arguments: Sequence[str]) -> Command:
        """The same with further arguments behind it."""
        return Command(argv=(*self.argv, *arguments), cwd=self.cwd)


def of_script(script: str, arguments: Sequence[str] = ()) -> Command:
    """A script as this interpreter runs it, here. Raises UsageError for a program of another kind, OSError."""
    with open(script, "rb") as stream:
        first = stream.readline(256)
    if first.startswith(b"\x7fELF") or (first.startswith(b"#!") and b"python" not in first):
        raise UsageError(
            f"{printable(script)} is not a Python script", hint="name the one that it starts, with its arguments"
        )
    return Command(argv=(sys.executable, script, *arguments), cwd=os.getcwd())


def of_run(directory: Path, arguments: Sequence[str] = ()) -> Command:
    """What the last attempt of a run was started with. Raises UsageError where that cannot be told or done again."""
    name = printable(directory.name)
    attempts = read_manifest(directory).get("attempts") or [{}]
    last: Mapping[str, Any] = attempts[-1]
    argv, cwd = last.get("command"), last.get("cwd")
    if not isinstance(argv, list) or not argv or not isinstance(cwd, str):
        raise UsageError(f"run '{name}' does not tell how it was started", hint=_HINT)
    command = Command(argv=tuple(map(str, argv)), cwd=cwd).plus(arguments)
    processes = last.get("world_size") or 1
    if processes != 1:
        raise UsageError(
            f"run '{name}' was started as one of {processes} processes, and a self-test starts one",
            hint="name a script that starts them itself, or one that trains in one process",
        )
    why = _no_script(command.argv[1:])
    if why is not None:
        raise UsageError(f"run '{name}' was started {why}, which cannot be done again", hint=_HINT)
    if any(HIDDEN in word for word in command.argv):
        raise UsageError(f"run '{name}' was started with a secret, which was not kept: {command}", hint=_HINT)
    if not os.path.isdir(cwd):
        raise OperationError(f"run '{name}' was started in {printable(cwd)}, which is gone", hint=_HINT)
    if not os.access(command.argv[0], os.X_OK):
        raise OperationError(f"run '{name}' was started by {printable(command.argv[0])}, which is gone", hint=_HINT)
    return command


def _no_script(arguments: Sequence[str]) -> str | None:
    """Why an interpreter's arguments name no program that can be run again; None when they do."""
    joined = " ".join(arguments)
    if "ipykernel" in joined or "jupyter" in joined:
        return "in a notebook"
    takes_next = ("-W", "-X", "--check-hash-based-pycs")
    skip = False
    for word in arguments:
        if skip:
            skip = False
        elif word in takes_next:
            skip = True
        elif word == "-" or not word:
            return "from standard input"
        elif word.startswith("-c"):
            return "with `python -c`"
        elif word.startswith("-m") or not word.startswith("-"):
            return None
    return "from standard input or at a prompt"
