"""Commands about the daemon's work: watch, events; and the dashboard: tui."""

from typing import Annotated

import typer

from ckpt_tui.options import Json, Quiet, Yes


def register(app: typer.Typer) -> None:
    """Adds the commands to the app."""
    watch = typer.Typer(name="watch", help="Choose the directories that are watched.", rich_markup_mode=None)
    watch.command("add")(watch_add)
    watch.command("ls")(watch_ls)
    watch.command("rm")(watch_rm)
    app.add_typer(watch)
    app.command()(events)
    app.command("tui")(dashboard)


def watch_add(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A directory with runs, watched recursively.")],
    enforce: Annotated[
        bool,
        typer.Option(
            "--enforce",
            help="Let policies act on all runs below, other tools' too, once you saw the first plan.",
        ),
    ] = False,
    observe: Annotated[
        bool, typer.Option("--observe", help="Only look at it from now on; ends an enforcement.")
    ] = False,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", metavar="RULES", help="With --enforce: what to keep; may be repeated."),
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="With --enforce: this machine takes the place of the one that did.")
    ] = False,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Directories to pass over; may be repeated.")
    ] = None,
    yes: Yes = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Watch a directory.

    Every checkpoint that appears below it is known within a second, on a network file system within some. Nothing is
    written there. Naming a watched directory again sets its excludes, and accepts what stands there now.

    With --enforce, what no rule keeps of other tools' checkpoints goes to a trash, whole and restorable; so it is with
    runs of the SDK that ask for nothing themselves. The first plan is shown and has to be confirmed; until then nothing
    goes.

    \b
    Examples:
      ckpt watch add ~/runs
      ckpt watch add /data/experiments --exclude 'old-*' --exclude scratch
      ckpt watch add ~/runs --enforce --policy 'keep_last=3 keep_best=1'
      ckpt watch add ~/runs --observe
    """
    if enforce and not observe:
        from ckpt_tui.answers.enforcing import answer_watch_enforce

        answer_watch_enforce(
            directory,
            policy=policy or [],
            take_over=take_over,
            exclude=exclude or [],
            yes=yes,
            json=json,
            quiet=quiet,
        )
        return
    from ckpt_tui.answers.watching import answer_watch_add, refuse_options

    refuse_options(enforce=enforce, policy=policy or [], take_over=take_over, json=json)
    answer_watch_add(directory, observe=observe, exclude=exclude or [], json=json, quiet=quiet)


def watch_ls(json: Json = False, quiet: Quiet = False) -> None:
    """List the watched directories, and what is not well with them.

    \b
    Examples:
      ckpt watch ls
      ckpt watch ls --json
    """
    from ckpt_tui.answers.watching import answer_watch_ls

    answer_watch_ls(json=json, quiet=quiet)


def watch_rm(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A watched directory.")],
    yes: Yes = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Stop watching a directory.

    Its files, marks and trash stay; watching it again brings everything back.

    \b
    Examples:
      ckpt watch rm ~/runs
    """
    from ckpt_tui.answers.watching import answer_watch_rm

    answer_watch_rm(directory, yes=yes, json=json, quiet=quiet)


def events(
    follow: Annotated[bool, typer.Option("--follow", "-F", help="Wait for more; end with Ctrl-C.")] = False,
    since: Annotated[int | None, typer.Option("--since", metavar="SEQ", help="Only events after this number.")] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="GLOB", help="Only events of such a kind, as 'checkpoint.*'.")
    ] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help="Only events of this run.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print what happened, one line an event.

    Kinds begin with run., checkpoint., tag., root., daemon.; others are mark and state.

    The daemon remembers the last 10 000 events of its own life. After a restart every run is found anew, and what
    happened to its checkpoints before, or while no daemon ran, is not told.

    \b
    Examples:
      ckpt events
      ckpt events --follow --kind 'checkpoint.*'
      ckpt events --follow --run exp3 --json | jq .kind
    """
    from ckpt_tui.answers.watching import answer_events

    answer_events(follow=follow, since=since, kind=kind, run=run, json=json)


def dashboard(
    directory: Annotated[str | None, typer.Argument(metavar="DIR", help="Only what lies below this directory.")] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Offer nothing that changes anything.")] = False,
) -> None:
    """Open the dashboard.

    Runs and checkpoints live, loss curves, differences, fork and restore.

    \b
    Examples:
      ckpt tui
      ckpt tui runs/
    """
    from ckpt_tui.answers.watching import answer_tui

    answer_tui(directory, read_only=read_only)
