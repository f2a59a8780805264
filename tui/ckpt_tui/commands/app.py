"""All commands in one Typer app."""

from importlib import import_module
from typing import Annotated

import typer

PARTS = {
    "listing": ("ls", "show", "inspect", "diff", "verify", "status", "doctor"),
    "marking": ("pin", "unpin", "note", "tag"),
    "measuring": ("metric",),
    "policies": ("policy",),
    "keeping": ("plan", "apply", "prune", "undo", "trash"),
    "copying": ("restore", "fork"),
    "space": ("du",),
    "selftest": ("selftest",),
    "watching": ("events", "tui", "watch"),
}
"""The commands and groups of each module of `ckpt_tui.commands`."""


def build(command: str | None = None) -> typer.Typer:
    """The app with all its commands, or with those of the module that a command is in, so that it starts sooner."""
    app = typer.Typer(
        name="ckpt",
        help="Know every training checkpoint on the box, keep the right ones, and never lose one.",
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="REF is a path, an id, or RUN@SELECTOR: latest, best, best:METRIC, best-2, step:4000, epoch:3, ~1 (one "
        "before latest), or a tag. RUN is the end of its path, or an id.\n\n"
        "Exit codes: 0 done or same, 1 the answer is no or different, 2 wrong usage or address, "
        "3 the operation failed, 4 no daemon.",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for part in [part for part, names in PARTS.items() if command in names] or PARTS:
        import_module(f"ckpt_tui.commands.{part}").register(app)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"ckpt {version('ckptd')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
