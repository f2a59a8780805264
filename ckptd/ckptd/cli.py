"""The command `ckptd`. Heavy parts are imported by the commands that need them.

stdout is data, stderr is narration. Exit codes: 0 done, 2 wrong usage, 3 the operation failed, 4 no daemon.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ckptd.output import run_command, say, show, show_json

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
        from ckptd.process import lifecycle

        show(f"ckptd {lifecycle.version()}")
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
    import faulthandler

    from ckpt.paths import StatePaths
    from ckptd.process import lifecycle, logs

    lifecycle.need_posix()
    logs.to_file(StatePaths.here().log) if log_file else logs.to_stderr()
    # Where a crash in a library happened; stderr of a background daemon is the file start.log.
    faulthandler.enable()
    from ckptd.daemon import Daemon

    raise typer.Exit(Daemon(watch=watch or (), idle_exit=idle_exit).run())


@app.command()
def start(watch: Watch = None, idle_exit: IdleExit = False) -> None:
    """Start in the background and wait until it answers.

    Example: ckptd start && ckpt watch add ~/runs
    """
    from ckpt.paths import StatePaths
    from ckptd.process import background

    note = background.start(watch=watch or (), idle_exit=idle_exit)
    verb = "already runs" if note.get("already") else "started"
    say(f"ckptd {verb} (process {note.get('pid')}, log {StatePaths.here().log})")


@app.command()
def stop() -> None:
    """End the daemon and wait until it is gone.

    Example: ckptd stop
    """
    from ckptd.process import background

    pid = background.stop()
    say("no ckptd runs" if pid is None else f"ckptd (process {pid}) ended")


@app.command()
def reload(json: AsJson = False) -> None:
    """Have the daemon take config.toml anew, and show what that changes. Nothing is ever deleted by it.

    A file that is not understood changes nothing and exits 2. Exits 4 when no daemon runs.

    Example: ckptd config check && ckptd reload
    """
    from ckptd.process import background

    with background.running() as client:
        answer = client.post("/v1/reload")
    if json:
        show_json(answer)
        return
    for change in answer["changed"] or ["nothing changes"]:
        show(change)
    for warning in answer["warnings"]:
        show(f"warning: {warning}")
    for problem in answer["problems"]:
        show(f"problem: {problem}")


@app.command()
def install(
    print_only: Annotated[bool, typer.Option("--print", help="Print the unit; write and change nothing.")] = False,
    no_start: Annotated[bool, typer.Option("--no-start", help="Write and enable it; do not start it now.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Stop it and remove the unit; all else stays.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Even over a unit that somebody edited.")] = False,
) -> None:
    """Have systemd run the daemon from now on and at every login (a user unit; no root needed).

    Doing it again changes nothing. Run it again after ckptd has moved to another Python environment.

    Examples: ckptd install;  ckptd install --print;  ckptd install --remove
    """
    from ckptd.process import installing

    if print_only:
        for line in installing.unit().splitlines():
            show(line)
        return
    done = installing.remove(force=force) if remove else installing.install(start=not no_start, force=force)
    for line in done:
        say(line)


@app.command()
def status(json: AsJson = False) -> None:
    """Show whether the daemon runs, and what it watches. Exits 4 when none runs.

    Example: ckptd status --json
    """
    from ckptd.process import background

    answer = background.status()
    if json:
        show_json(answer)
        return
    daemon = answer["daemon"]
    rss = f", {daemon['rss'] / 1e6:.0f} MB" if daemon.get("rss") else ""
    show(f"ckptd {daemon['version']} runs as process {daemon['pid']} for {daemon['uptime_s']:.0f} s{rss}")
    if daemon["watcher"]["state"] != "watching":
        show("changes are not seen at once, only by the periodic look")
    if daemon["errors"]:
        show(f"{daemon['errors']} errors, the last: {daemon['last_error']}")
    for problem in daemon["problems"]:
        show(f"problem: {problem}")
    for root in answer["roots"]:
        trouble = f"  {root['problem']}" if root.get("problem") else ""
        show(
            f"{root['state']:<9} {root['path']}  {root['runs']} runs, {root['checkpoints']} checkpoints, "
            f"{root['bytes'] / 1e9:.2f} GB{trouble}"
        )
    if not answer["roots"]:
        show("nothing is watched; add a directory with `ckpt watch add DIR`")


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
        show_json(protocol.error_to_json(error))
        raise
    show_json(answer)


@app.command()
def rebuild(json: AsJson = False) -> None:
    """Make the catalog anew from what lies on disk; by the daemon when one runs.

    Example: ckptd rebuild
    """
    from ckpt.client import Client, daemon_note
    from ckptd.catalog.rebuild import rebuild_here

    if daemon_note() is not None:
        with Client.connect(autostart=False) as client:
            counts = client.post("/v1/rescan", {"rebuild": True})
    else:
        counts = rebuild_here()
    if json:
        show_json(counts)
        return
    show(f"{counts['runs']} runs, {counts['checkpoints']} checkpoints")
    for sentence in counts["marks"]:
        show(sentence)


@config_app.command("check")
def check(json: AsJson = False) -> None:
    """Say whether config.toml is understood, what it means, and what a reload would change. Exits 2 when it is not.

    Example: ckptd config check
    """
    import os

    from ckpt.exceptions import DaemonError, NoDaemonError, UsageError
    from ckpt.paths import config_home
    from ckptd.config import check as config_check
    from ckptd.config import file as config_file
    from ckptd.process import background

    reading = config_file.read(config_home(), os.environ)
    status = foretold = None
    try:
        status = background.status()
        if config_check.is_of(status, reading) and not reading.problems:
            with background.running() as client:
                foretold = client.get("/v1/reload")
    except NoDaemonError:
        pass
    except DaemonError as error:
        say(error.message)
    answer = config_check.report(reading, status, foretold)
    if json:
        show_json(answer)
    if reading.problems:
        raise UsageError("\n".join(problem.sentence() for problem in reading.problems))
    if not json:
        for line in config_check.lines(answer):
            show(line)


def main() -> None:
    """Entry point of the command."""
    run_command(app)
