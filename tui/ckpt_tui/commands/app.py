"""All commands in one Typer app."""

from typing import Annotated

import typer

from ckpt_tui.commands import copying, keeping, listing, marking, measuring, policies, space, watching


def build() -> typer.Typer:
    """The app with all its commands."""
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
    for part in (listing, marking, measuring, policies, keeping, copying, space, watching):
        part.register(app)
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
