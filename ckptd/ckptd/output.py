"""What the command `ckptd` prints: stdout is data, stderr is narration; and how it ends."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any


def say(line: str) -> None:
    """A line of narration, for people."""
    from ckpt.encoding import printable

    sys.stderr.write(printable(line) + "\n")


def show(line: str) -> None:
    """A line of data, for people."""
    from ckpt.encoding import printable

    sys.stdout.write(printable(line) + "\n")
    sys.stdout.flush()


def show_json(value: Any) -> None:
    """Plain data, for programs."""
    from ckpt import protocol

    sys.stdout.buffer.write(protocol.encode(value) + b"\n")
    sys.stdout.flush()


def run_command(command: Callable[[], Any]) -> None:
    """Runs a command; errors of ours and of the system become a line, a hint and an exit code."""
    from ckpt.encoding import printable
    from ckpt.exceptions import CkptError, OperationError

    _open_streams()
    try:
        command()
    except CkptError as error:
        told = error
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        _silence_stdout()
        raise SystemExit(1) from None
    except OSError as error:
        _silence_stdout()
        told = OperationError(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
    else:
        return
    lines = [f"ckptd: {told.message}"] + ([told.hint] if told.hint else [])
    sys.stderr.write("".join("\n".join(map(printable, line.split("\n"))) + "\n" for line in lines))
    raise SystemExit(told.exit_code)


def _open_streams() -> None:
    """Makes streams in place of those that the caller closed, so that no file of ours takes their numbers."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115


def _silence_stdout() -> None:
    """Sends what is still buffered nowhere, so that the interpreter does not complain of it at exit."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
