"""The command that proves exactness of resuming: selftest."""

from typing import Annotated

import typer

from ckpt_tui.options import Json, Quiet


def register(app: typer.Typer) -> None:
    """Adds the command to the app."""
    app.command()(selftest)


def selftest(
    target: Annotated[str, typer.Argument(metavar="RUN|SCRIPT", help="A training script, or a run that one made.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARG...]", help="Arguments of the script.")
    ] = None,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Train at most N steps.")] = 30,
    save_at: Annotated[
        int | None, typer.Option("--save-at", metavar="S", help="Save after step S; else by chance, in the first half.")
    ] = None,
    kill_at: Annotated[
        int | None, typer.Option("--kill-at", metavar="K", help="Kill after step K; else a few steps behind the save.")
    ] = None,
    resume_with: Annotated[
        str,
        typer.Option("--resume-with", metavar="ARGS", help="Further arguments to resume; {run} is the run."),
    ] = "",
    timeout: Annotated[str, typer.Option("--timeout", metavar="TIME", help="The most that one start takes.")] = "10m",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Prove that a training script resumes exactly.

    Trains N steps without a stop, trains again and kills it with SIGKILL, and starts it a third time so that it goes
    on. Then compares, bit for bit and step by step: batches, random generators, loss, metrics, optimizer and weights;
    and says what differed first, what that usually means, and what was not compared.

    The save is chosen by chance, amid an epoch. When nothing differs, a save of the script's own is tried too, at the
    end of an epoch if it makes one there: two starts more, which together take as long as about one. With --save-at or
    --kill-at one save is tried.

    Runs are made in a temporary directory: no run of yours is written through ckpt, and the daemon hears of none. What
    the script itself writes, moves or deletes, it does as ever, at each start, in your runs too. A RUN is started as
    its last attempt was, in the same directory.

    Exit code 0: exact, 1: something differs, 2: the script does not save or resume, 3: it failed.

    \b
    Examples:
      ckpt selftest train.py
      ckpt selftest train.py --steps 50 -- --epochs 2 --lr 0.1
      ckpt selftest train.py --resume-with '--resume {run}'
      ckpt selftest runs/exp3 --json
    """
    from ckpt_tui.answers.selftest import answer_selftest

    answer_selftest(
        target,
        arguments or [],
        steps=steps,
        save_at=save_at,
        kill_at=kill_at,
        resume_with=resume_with,
        timeout=timeout,
        json=json,
        quiet=quiet,
    )
