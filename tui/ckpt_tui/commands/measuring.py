"""Commands that attach evaluation results to checkpoints: metric."""

from typing import Annotated

import typer

from ckpt_tui.options import Json, Quiet, Ref


def register(app: typer.Typer) -> None:
    """Adds the commands to the app."""
    metric = typer.Typer(name="metric", help="Attach evaluation results to a saved checkpoint.", rich_markup_mode=None)
    metric.command("set")(metric_set)
    metric.command("rm")(metric_rm)
    app.add_typer(metric)


def metric_set(
    ref: Ref,
    values: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="The metrics; nan and inf are values.")],
    step: Annotated[
        int | None, typer.Option("--step", help="The step that it was measured at; the checkpoint's own if left out.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Attach metrics that were measured after the save.

    Ranks, the tags best, best-1 … and the policy follow at once; a training that runs hears of it at its next save. An
    attached value stands before a saved one of the same name, which comes back with `ckpt undo` or `ckpt metric rm`.

    \b
    Examples:
      ckpt metric set exp3@step:4000 bleu=31.5
      ckpt metric set exp3@latest val_loss=0.212 accuracy=0.94 --step 4000
    """
    from ckpt_tui.answers.marking import answer_metrics

    answer_metrics(ref, values, step, json=json, quiet=quiet)


def metric_rm(
    ref: Ref,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Metrics that were attached.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take attached metrics away; saved values of these names hold again.

    \b
    Examples:
      ckpt metric rm exp3@step:4000 bleu
    """
    from ckpt_tui.answers.marking import answer_mark

    answer_mark(ref, "unmetric", {"names": names}, json=json, quiet=quiet)
