"""Commands about the rules that decide what is kept: policy show, set, test."""

from typing import Annotated

import typer

from ckpt_tui.options import Json, Quiet, Yes

Where = Annotated[str | None, typer.Argument(metavar="[RUN|DIR]", help="A run, or a watched directory.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to the app."""
    policy = typer.Typer(name="policy", help="See, set and try the rules of what is kept.", rich_markup_mode=None)
    policy.command("show")(policy_show)
    policy.command("set")(policy_set)
    policy.command("test")(policy_test)
    app.add_typer(policy)


def policy_show(where: Where = None, json: Json = False, quiet: Quiet = False) -> None:
    """Show the policy in force, where each value comes from, and what it means.

    Without an argument: what holds where nothing else is said, and what each run keeps.

    \b
    Examples:
      ckpt policy show exp3
      ckpt policy show /data/runs --json
      ckpt policy show
    """
    from ckpt_tui.answers.policies import answer_show

    answer_show(where, json=json, quiet=quiet)


def policy_set(
    where: Annotated[str, typer.Argument(metavar="RUN|DIR", help="A run, or a watched directory.")],
    rules: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE...]", help="Rules; with --clear also bare keys.")
    ] = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="Take back the keys that stand there without a value; all without any.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Set rules for a run, or for all below a watched directory.

    They stand before what the training itself asks for, and behind what config.toml says of the run. What they would
    remove is shown first; `off` switches a rule off. `ckpt undo` takes the policy of a run back.

    \b
    Examples:
      ckpt policy set exp3 keep_last=5 keep_best=3
      ckpt policy set exp3 keep_every="1h for 1d" max_bytes=200GB
      ckpt policy set exp3 keep_last=off
      ckpt policy set exp3 --clear keep_last
      ckpt policy set exp3 --clear
    """
    from ckpt_tui.answers.policy_setting import answer_set

    answer_set(where, rules or [], clear=clear, yes=yes, json=json, quiet=quiet)


def policy_test(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name, id or directory.")],
    policy: Annotated[
        list[str] | None, typer.Option("--policy", "-p", metavar="RULES", help="A policy to try; may be repeated.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what policies would have done over the history of a run.

    Replays every known save, those that were removed too, under the policy in force and under each that is given.
    Changes nothing.

    \b
    Examples:
      ckpt policy test exp3
      ckpt policy test exp3 --policy "keep_last=3 keep_best=2"
      ckpt policy test exp3 -p "keep_last=3" -p "keep_every=1h keep_best_of.accuracy=2"
    """
    from ckpt_tui.answers.policies import answer_test

    answer_test(run, policy or [], json=json, quiet=quiet)
