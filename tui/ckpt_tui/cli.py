"""The program `ckpt`: one command line in, an exit code out, whatever goes wrong on the way.

Typer is imported only when `main` runs, so that Ctrl-C is answered quietly from the first moment on.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

GROUPS = ("metric", "policy", "tag", "trash", "watch")
INTERRUPTED = 128 + signal.SIGINT


def main(arguments: list[str] | None = None) -> None:
    """Runs one command line and exits: 0 done, 1 no or different, 2 usage, 3 failed, 4 no daemon, 130 interrupted."""
    given = sys.argv[1:] if arguments is None else arguments
    _open_streams()
    try:
        code = _run(given)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        from ckpt_tui.running import BROKEN_PIPE, silence_stdout

        silence_stdout()
        code = BROKEN_PIPE
    except Exception as error:  # noqa: BLE001  exit code 1 would say that the answer is no
        code = _failure(error, given)
    if code == INTERRUPTED and sys.stderr.isatty():
        # The terminal stands behind its ^C.
        sys.stderr.write(os.linesep)
    sys.exit(code)


def _run(given: list[str]) -> int:
    import typer

    from ckpt_tui.commands.app import build

    try:
        code = build(given[0] if given else None)(given or ["--help"], prog_name="ckpt", standalone_mode=False)
    except typer.TyperException as error:
        return _usage_error(error, given)
    except typer.Abort:
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _open_streams() -> None:
    """Makes streams that take any text, also in place of those that the caller closed."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
        elif name != "stdin" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _failure(error: Exception, given: list[str]) -> int:
    """Tells an error that no command caught: of the system in a line, a mistake of ours with its traceback."""
    from ckpt.exceptions import OperationError
    from ckpt_tui.output import Output
    from ckpt_tui.running import from_os_error, silence_stdout

    if isinstance(error, OSError):
        told = from_os_error(error)
    else:
        import traceback

        traceback.print_exc()
        told = OperationError(f"{type(error).__name__}: {error}", hint="this is a mistake in ckpt: please report it")
    Output("json" if "--json" in given else "human").error(told)
    silence_stdout()
    return told.exit_code


def _usage_error(error: typer.TyperException, given: list[str]) -> int:
    """Tells what is wrong with a command line in the same words as every other error."""
    from ckpt.exceptions import UsageError
    from ckpt_tui.output import Output

    text = error.format_message().strip() or "a command is missing"
    command = [word for word in given[:2] if word.isalpha()]
    if command[:1] not in ([group] for group in GROUPS):
        command = command[:1]
    hint = None
    if text.startswith("No such command"):
        command = command[:-1]
        hint = _tag_meant(given)
    Output("json" if "--json" in given else "human").error(
        UsageError(text, hint=hint or f"see `{' '.join(['ckpt', *command, '--help'])}`")
    )
    return error.exit_code


def _tag_meant(given: list[str]) -> str | None:
    """What someone meant who named a checkpoint and a tag, and neither `add` nor `rm`."""
    words = [word for word in given[1:] if not word.startswith("-")]
    if given[0] != "tag" or len(words) != 2:
        return None
    import shlex

    return f"did you mean `ckpt tag add {shlex.join(words)}`? `ckpt tag rm` takes a tag away"
