"""Commands that say something about a checkpoint: tag, pin, unpin, note."""

from typing import Annotated

import typer

from ckpt_tui.options import Json, Quiet, Ref

Refs = Annotated[list[str], typer.Argument(metavar="REF...", help="Checkpoints: paths, ids, or RUN@SELECTOR.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The tag.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to the app."""
    tag = typer.Typer(name="tag", help="Name a checkpoint; a tagged one is kept.", rich_markup_mode=None)
    tag.command("add")(tag_add)
    tag.command("rm")(tag_rm)
    app.add_typer(tag)
    for command in (pin, unpin, note):
        app.command()(command)


def tag_add(ref: Ref, name: Name, json: Json = False, quiet: Quiet = False) -> None:
    """Give a checkpoint a tag.

    A tag names one checkpoint of a run: it moves when another one gets it. A tagged checkpoint is kept by every policy,
    but a trainer that is not ours may still delete or overwrite its file.

    \b
    Examples:
      ckpt tag add exp3@best paper
      ckpt tag add exp3@step:4000 before-decay
    """
    _mark(ref, "tag", json, quiet, name=name)


def tag_rm(ref: Ref, name: Name, json: Json = False, quiet: Quiet = False) -> None:
    """Take a tag away from a checkpoint.

    \b
    Examples:
      ckpt tag rm exp3@paper paper
    """
    _mark(ref, "untag", json, quiet, name=name)


def pin(refs: Refs, json: Json = False, quiet: Quiet = False) -> None:
    """Protect checkpoints from every policy.

    It cannot protect from other programs: a trainer that is not ours may still delete or overwrite its file, and so may
    you. `ckpt restore` makes a copy that stays.

    \b
    Examples:
      ckpt pin exp3@best
      ckpt pin exp3@best exp3@step:4000
    """
    from ckpt_tui.answers.marking import answer_pins

    answer_pins(refs, "pin", json=json, quiet=quiet)


def unpin(refs: Refs, json: Json = False, quiet: Quiet = False) -> None:
    """Take the protection of `pin` away.

    \b
    Examples:
      ckpt unpin exp3@best
    """
    from ckpt_tui.answers.marking import answer_pins

    answer_pins(refs, "unpin", json=json, quiet=quiet)


def note(
    ref: Ref,
    text: Annotated[str, typer.Argument(metavar="TEXT", help='What to remember; "" removes the note.')],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a note on a checkpoint.

    \b
    Examples:
      ckpt note exp3@best "the one in table 2"
    """
    _mark(ref, "note", json, quiet, text=text)


def _mark(ref: str, kind: str, json: bool, quiet: bool, **fields: str) -> None:
    from ckpt_tui.answers.marking import answer_mark

    answer_mark(ref, kind, fields, json=json, quiet=quiet)
