"""The command about room on disks: du."""

from typing import Annotated

import typer

from ckpt_tui.options import Json, Quiet


def register(app: typer.Typer) -> None:
    """Adds the command to the app."""
    app.command()(du)


def du(
    target: Annotated[
        str | None,
        typer.Argument(metavar="RUN|DIR", help="A run, or a directory with runs; without it all known runs."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what runs take on the disk: by run, and by what it is.

    SIZE is what the files' lengths say, each file once however many names it has: weights, optimizer states, and the
    rest. FREES is what is free again when the whole run is gone: without holes in files, and without files that have
    another name elsewhere, as hard links have. What lies in the trash is not part of either.

    \b
    Examples:
      ckpt du
      ckpt du exp3
      ckpt du runs/ --json
    """
    from ckpt_tui.answers.space import answer_du

    answer_du(target, json=json, quiet=quiet)
