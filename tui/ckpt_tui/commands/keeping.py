"""Commands about what stays and what goes: plan, apply, prune, trash, undo."""

from typing import Annotated

import typer

from ckpt_tui.options import Json, Quiet, Yes

What = Annotated[
    list[str], typer.Argument(metavar="WHAT...", help="What lies in the trash, as `ckpt trash ls` shows it.")
]
Target = Annotated[
    str | None, typer.Argument(metavar="RUN|DIR", help="A run's name, id or directory, or a directory with runs.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands to the app."""
    for command in (plan, apply, prune):
        app.command()(command)
    trash = typer.Typer(name="trash", help="Look at, bring back or purge what was removed.", rich_markup_mode=None)
    trash.command("ls")(trash_ls)
    trash.command("restore")(trash_restore)
    trash.command("purge")(trash_purge)
    app.add_typer(trash)
    app.command()(undo)


def plan(
    target: Target = None,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", metavar="RULES", help="Rules to try instead, such as 'keep_last=3 keep_best=2'."),
    ] = None,
    enforce: Annotated[bool, typer.Option("--enforce", help="As if observed directories were enforced.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="A row for every checkpoint.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what would be kept and removed now, and why.

    Changes nothing. With --policy it says what other rules would do, on any directory.

    \b
    Examples:
      ckpt plan
      ckpt plan exp3
      ckpt plan runs/ --policy "keep_last=3 keep_best=2"
      ckpt plan exp3 --json
    """
    from ckpt_tui.answers.keeping import answer_plan

    answer_plan(target, policy=policy or (), enforced=enforce, everything=everything, json=json, quiet=quiet)


def apply(
    plan_id: Annotated[str, typer.Argument(metavar="PLAN_ID", help="Id of a plan that `ckpt plan` showed.")],
    yes: Yes = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Carry out a plan.

    What it removes goes to the trash. A plan that is out of date is refused.

    \b
    Examples:
      ckpt apply 8f3c21aa
      ckpt apply 8f3c21aa --yes
    """
    from ckpt_tui.answers.keeping import answer_apply

    answer_apply(plan_id, yes=yes, json=json, quiet=quiet)


def prune(target: Target = None, yes: Yes = False, json: Json = False, quiet: Quiet = False) -> None:
    """Plan, ask, and apply in one go.

    \b
    Examples:
      ckpt prune exp3
      ckpt prune runs/
      ckpt prune --yes
    """
    from ckpt_tui.answers.keeping import answer_prune

    answer_prune(target, yes=yes, json=json, quiet=quiet)


def trash_ls(target: Target = None, json: Json = False, quiet: Quiet = False) -> None:
    """List what was removed and can be brought back, newest first.

    \b
    Examples:
      ckpt trash ls
      ckpt trash ls exp3 --json
    """
    from ckpt_tui.answers.trash import answer_ls

    answer_ls(target, json=json, quiet=quiet)


def trash_restore(what: What, yes: Yes = False, json: Json = False, quiet: Quiet = False) -> None:
    """Bring removed checkpoints back to where they were, and pin them.

    WHAT is an id of an entry, a checkpoint or a plan, the name of a file or directory, RUN@SELECTOR, or a RUN for all
    that lies in the trash of it, which is asked first.

    \b
    Examples:
      ckpt trash restore 3f9a0c1d
      ckpt trash restore checkpoint-440
      ckpt trash restore exp3@step:440
    """
    from ckpt_tui.answers.trash import answer_restore

    answer_restore(what, yes=yes, json=json, quiet=quiet)


def trash_purge(
    what: Annotated[
        list[str] | None, typer.Argument(metavar="WHAT...", help="Named as for `ckpt trash restore`; none with --all.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything in the trash.")] = False,
    yes: Yes = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Delete removed checkpoints for good.

    \b
    Examples:
      ckpt trash purge 3f9a0c1d
      ckpt trash purge exp3
      ckpt trash purge --all --yes
    """
    from ckpt_tui.answers.trash import answer_purge

    answer_purge(what or [], everything=everything, yes=yes, json=json, quiet=quiet)


def undo(
    act: Annotated[
        str | None, typer.Argument(metavar="ID|RUN", help="An act or a plan, or a run, whose latest act is meant.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show what can be taken back, newest first.")] = False,
    yes: Yes = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take back a removal or a mark.

    Without an ID it is the latest thing that you did within a day, else the latest removal, whoever made it. Removed
    checkpoints come back to where they were, and are pinned.

    \b
    Examples:
      ckpt undo
      ckpt undo --list
      ckpt undo ac0e8530
      ckpt undo exp3
    """
    from ckpt_tui.answers.undoing import answer_undo

    answer_undo(act, listed=listed, yes=yes, json=json, quiet=quiet)
