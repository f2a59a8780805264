"""Commands that make copies: restore, fork."""

from typing import Annotated

import typer

from ckpt_tui.options import Json, Quiet, Ref


def register(app: typer.Typer) -> None:
    """Adds the commands to the app."""
    app.command()(restore)
    app.command()(fork)


def restore(
    ref: Ref,
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="A new name; for a checkpoint also a directory that exists.")
    ],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Copy a checkpoint or a whole run to another place.

    A bare run is copied whole, to a new name; a checkpoint also into a directory that exists. Nothing is overwritten.

    \b
    Examples:
      ckpt restore exp3@best best.pt
      ckpt restore exp3 /backup/exp3
    """
    from ckpt_tui.answers.copying import answer_restore

    answer_restore(ref, destination, json=json, quiet=quiet)


def fork(
    ref: Ref,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new run.")],
    at: Annotated[
        str | None, typer.Option("--at", metavar="DIR", help="Directory in which the new run is made.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a new run that starts at a checkpoint.

    It is made beside its parent; a checkpoint that another program wrote needs --at, because nothing is written
    beside those.

    \b
    Examples:
      ckpt fork exp3@best exp3-low-lr
      ckpt fork lightning_logs/version_0/checkpoints/last.ckpt tuned --at runs
    """
    from ckpt_tui.answers.copying import answer_fork

    answer_fork(ref, name, at=at, json=json, quiet=quiet)
