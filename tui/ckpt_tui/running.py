"""What surrounds every command: its sink, and how its errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

from ckpt.encoding import printable
from ckpt.exceptions import CkptError, OperationError
from ckpt_tui.output import Declined, Mode, Output

BROKEN_PIPE = 141  # what a shell shows for a program that SIGPIPE ended


@contextmanager
def running(*, json: bool = False, quiet: bool = False) -> Iterator[Output]:
    """The sink of a command, for the time in which it runs.

    An error of ours, or of the operating system, is told on stderr and ends the command with its exit code.
    """
    mode: Mode = "json" if json else "quiet" if quiet else "human"
    out = Output(mode)
    try:
        yield out
        out.stdout.flush()
    except CkptError as error:
        fail(out, error)
    except Declined:
        out.say("nothing was done")
        raise typer.Exit(1) from None
    except BrokenPipeError:
        silence_stdout()
        raise typer.Exit(BROKEN_PIPE) from None
    except OSError as error:
        fail(out, from_os_error(error))


def fail(out: Output, error: CkptError) -> None:
    """Tells an error and ends the command. Raises typer.Exit."""
    try:
        out.stdout.flush()
    except OSError:
        silence_stdout()
    with suppress(OSError):
        out.error(error)
    raise typer.Exit(error.exit_code) from None


def from_os_error(error: OSError) -> CkptError:
    """An error of the operating system in our words."""
    what = error.strerror or str(error)
    if error.filename is None:
        return OperationError(what)
    name = error.filename if isinstance(error.filename, str) else os.fsdecode(error.filename)
    return OperationError(f"{printable(name)}: {what}")


def silence_stdout() -> None:
    """Sends what is still buffered nowhere, so that the interpreter does not complain about a closed pipe at exit."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
