"""The command `ckptd`. Heavy parts are imported by the commands that need them.

stdout is data, stderr is narration. Exit codes: 0 done, 2 wrong usage, 3 the operation failed, 4 no daemon.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="ckptd",
    help="Watch directories, index their checkpoints and keep the right ones.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(help="The file config.toml.", rich_markup_mode=None, no_args_is_help=True)
app.add_typer(config_app, name="config")

Watch = Annotated[
    list[str] | None,
    typer.Option("--watch", metavar="DIR", help="Watch DIR too, for this daemon's life. May be repeated."),
]
IdleExit = Annotated[
    bool,
    typer.Option("--idle-exit", help="End after 10 minutes without clients and trainings (CKPTD_IDLE_EXIT_S)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _version(wanted: bool) -> None:
    if wanted:
        from ckptd import lifecycle

        _print(f"ckptd {lifecycle.version()}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Watch directories, index their checkpoints and keep the right ones."""


@app.command()
def run(
    watch: Watch = None,
    idle_exit: IdleExit = False,
    log_file: Annotated[bool, typer.Option("--log-file", help="Log to the state directory, not to stderr.")] = False,
) -> None:
    """Run in the foreground until Ctrl-C or `ckptd stop`.

    Example: ckptd run --watch ~/runs
    """
    from ckptd import lifecycle

    lifecycle.need_posix()
    _log_to_file() if log_file else _log_to_stderr()
    from ckptd.daemon import Daemon

    raise typer.Exit(Daemon(watch=watch or (), idle_exit=idle_exit).run())


@app.command()
def start(watch: Watch = None, idle_exit: IdleExit = False) -> None:
    """Start in the background and wait until it answers.

    Example: ckptd start && ckpt watch add ~/runs
    """
    from ckptd import lifecycle

    note = lifecycle.start(watch=watch or (), idle_exit=idle_exit)
    verb = "already runs" if note.get("already") else "started"
    _say(f"ckptd {verb} (process {note.get('pid')}, log {_log_path()})")


@app.command()
def stop() -> None:
    """End the daemon and wait until it is gone.

    Example: ckptd stop
    """
    from ckptd import lifecycle

    pid = lifecycle.stop()
    _say("no ckptd runs" if pid is None else f"ckptd (process {pid}) ended")


@app.command()
def status(json: AsJson = False) -> None:
    """Show whether the daemon runs, and what it watches. Exits 4 when none runs.

    Example: ckptd status --json
    """
    from ckpt.client import Client, daemon_note
    from ckpt.exceptions import NoDaemonError

    if daemon_note() is None:
        raise NoDaemonError("no ckptd runs", hint="start it with `ckptd start`")
    with Client.connect(autostart=False) as client:
        answer = client.get("/v1/status")
    if json:
        _print_json(answer)
        return
    daemon = answer["daemon"]
    rss = f", {daemon['rss'] / 1e6:.0f} MB" if daemon.get("rss") else ""
    _print(f"ckptd {daemon['version']} runs as process {daemon['pid']} for {daemon['uptime_s']:.0f} s{rss}")
    if daemon["watcher"]["state"] != "watching":
        _print("changes are not seen at once, only by the periodic look")
    if daemon["errors"]:
        _print(f"{daemon['errors']} errors, the last: {daemon['last_error']}")
    for problem in daemon["problems"]:
        _print(f"problem: {problem}")
    for root in answer["roots"]:
        trouble = f"  {root['problem']}" if root.get("problem") else ""
        _print(
            f"{root['state']:<9} {root['path']}  {root['runs']} runs, {root['checkpoints']} checkpoints, "
            f"{root['bytes'] / 1e9:.2f} GB{trouble}"
        )
    if not answer["roots"]:
        _print("nothing is watched; add a directory with `ckpt watch add DIR`")


@app.command()
def once(
    directories: Annotated[list[str] | None, typer.Argument(metavar="[DIR]...", help="Where to look.")] = None,
    get: Annotated[str, typer.Option("--get", metavar="PATH", help="What to answer.")] = "/v1/runs",
    json: Annotated[bool, typer.Option("--json", help="Changes nothing: the answer is always JSON.")] = True,
) -> None:
    """Look once, without a daemon and without writing anything, and print the answer as JSON.

    Without DIR all watched directories and announced runs are looked at.

    Example: ckptd once ~/runs --get '/v1/run?run=exp3'
    """
    from ckpt import protocol
    from ckpt.exceptions import CkptError
    from ckptd.once import look

    try:
        answer = look(directories or ()).get(get)
    except CkptError as error:
        _print_json(protocol.error_to_json(error))
        raise
    _print_json(answer)


@app.command()
def rebuild(json: AsJson = False) -> None:
    """Make the catalog anew from what lies on disk; by the daemon when one runs.

    Example: ckptd rebuild
    """
    from ckpt.client import Client, daemon_note
    from ckptd.rebuild import rebuild_here

    if daemon_note() is not None:
        with Client.connect(autostart=False) as client:
            counts = client.post("/v1/rescan", {"rebuild": True})
    else:
        counts = rebuild_here()
    if json:
        _print_json(counts)
        return
    _print(f"{counts['runs']} runs, {counts['checkpoints']} checkpoints")


@config_app.command("check")
def config_check(json: AsJson = False) -> None:
    """Say whether config.toml is understood. Exits 2 when it is not.

    Example: ckptd config check
    """
    from ckpt.encoding import path_fields
    from ckpt.paths import config_home
    from ckptd.config import load

    config = load(config_home())
    path = config_home() / "config.toml"
    if json:
        roots = [{**path_fields(root.path), "exclude": list(root.exclude)} for root in config.roots]
        _print_json({**path_fields(str(path)), "exists": path.exists(), "roots": roots})
        return
    _print(f"{path}: {len(config.roots)} roots" if path.exists() else f"{path} does not exist; the defaults hold")


def main() -> None:
    """Entry point of the command: errors of ours and of the system become one line, a hint and an exit code."""
    from ckpt.encoding import printable
    from ckpt.exceptions import CkptError, OperationError

    _open_streams()
    try:
        app()
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
    lines = [f"ckptd: {told.message}"] + ([told.hint] if told.hint else [])
    sys.stderr.write("".join("\n".join(map(printable, line.split("\n"))) + "\n" for line in lines))
    raise SystemExit(told.exit_code)


def _open_streams() -> None:
    """Makes streams in place of those that the caller closed."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115


def _silence_stdout() -> None:
    """Sends what is still buffered nowhere, so that the interpreter does not complain of it at exit."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _say(line: str) -> None:
    """Narration, for people."""
    from ckpt.encoding import printable

    sys.stderr.write(printable(line) + "\n")


def _print(line: str) -> None:
    from ckpt.encoding import printable

    sys.stdout.write(printable(line) + "\n")
    sys.stdout.flush()


def _print_json(value: Any) -> None:
    from ckpt import protocol

    sys.stdout.buffer.write(protocol.encode(value) + b"\n")
    sys.stdout.flush()


def _log_path() -> Path:
    from ckpt.paths import StatePaths

    return StatePaths.here().log


_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def _log_to_stderr() -> None:
    import logging

    logging.raiseExceptions = False
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=_FORMAT)


def _log_to_file() -> None:
    import logging
    from logging.handlers import RotatingFileHandler

    # A full disk must not stop the daemon over its log.
    logging.raiseExceptions = False
    path = _log_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = RotatingFileHandler(path, maxBytes=10 << 20, backupCount=5, encoding="utf-8", errors="backslashreplace")
    logging.basicConfig(handlers=[handler], level=logging.INFO, format=_FORMAT)
