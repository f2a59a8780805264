"""The command `ckptd`. Heavy parts are imported by the commands that need them.

stdout is data, stderr is narration. Exit codes: 0 done, 2 wrong usage, 3 the operation failed, 4 no daemon.
"""

from __future__ import annotations

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
    _print(f"ckptd {verb} (process {note.get('pid')}, log {_log_path()})")


@app.command()
def stop() -> None:
    """End the daemon and wait until it is gone.

    Example: ckptd stop
    """
    from ckptd import lifecycle

    pid = lifecycle.stop()
    _print("no ckptd runs" if pid is None else f"ckptd (process {pid}) ended")


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
def rebuild() -> None:
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
    _print(f"{counts['runs']} runs, {counts['checkpoints']} checkpoints")


@config_app.command("check")
def config_check() -> None:
    """Say whether config.toml is understood. Exits 2 when it is not.

    Example: ckptd config check
    """
    from ckpt.paths import config_home
    from ckptd.config import load

    config = load(config_home())
    path = config_home() / "config.toml"
    _print(f"{path}: {len(config.roots)} roots" if path.exists() else f"{path} does not exist; the defaults hold")


def main() -> None:
    """Entry point of the command: errors of ours become one line, a hint and an exit code."""
    from ckpt.encoding import printable
    from ckpt.exceptions import CkptError

    try:
        app()
    except CkptError as error:
        lines = [f"ckptd: {error.message}"] + ([error.hint] if error.hint else [])
        sys.stderr.write("".join("\n".join(map(printable, line.split("\n"))) + "\n" for line in lines))
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(1) from None


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
