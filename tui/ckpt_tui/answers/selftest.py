"""`ckpt selftest`: proves that a training script resumes exactly, or says what differs first."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from ckpt.encoding import path_from_fields
from ckpt.exceptions import UsageError
from ckpt.retention.quantities import duration
from ckpt.selftest.commands import Command, of_run, of_script
from ckpt.selftest.running import selftest
from ckpt_tui.lookup import Lookup
from ckpt_tui.running import running

DIFFERENT = 1  # exit code
_LEAST_S = 1.0


def answer_selftest(
    target: str,
    arguments: Sequence[str],
    *,
    steps: int,
    save_at: int | None,
    kill_at: int | None,
    resume_with: str,
    timeout: str,
    json: bool,
    quiet: bool,
) -> None:
    """Answers `ckpt selftest`. Ends with exit code 1 when the resumed training differs."""
    with running(json=json, quiet=quiet) as out, _ended_by_signals():
        found = selftest(
            _command(target, arguments),
            steps=steps,
            save_at=save_at,
            kill_at=kill_at,
            resume_with=_words(resume_with),
            timeout_s=duration("--timeout", timeout, _LEAST_S),
            say=out.say,
        )

        def human() -> Iterable[str]:
            from ckpt_tui.render.selftest import verdict_lines

            return verdict_lines(found, paint=out.paint, width=out.width)

        out.data(found.to_json(), human=human)
        if not found.exact:
            raise typer.Exit(DIFFERENT)


def _command(target: str, arguments: Sequence[str]) -> Command:
    if os.path.isfile(target):
        return of_script(target, arguments)
    if target.endswith(".py"):
        raise UsageError(f"there is no script {target}", hint="name a file, or a run that a script made")
    with Lookup() as lookup:
        run: Any = lookup.view(target)["run"]
    if not run["own"]:
        raise UsageError(f"{run['name']} was not made by ckpt, so nothing tells how it was started")
    return of_run(Path(path_from_fields(run)), arguments)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--resume-with cannot be read: {error}", hint="quote it as a shell takes it") from None


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turns SIGTERM and SIGHUP into an exit, so that what was started is ended too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
