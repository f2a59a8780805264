"""Commands that look: ls, show, inspect, diff, verify, status, doctor."""

from typing import Annotated

import typer

from ckpt_tui.options import Json, Quiet, Ref

Tensors = Annotated[bool, typer.Option("--tensors", help="List every tensor.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to the app."""
    for command in (ls, show, inspect, diff, verify, status, doctor):
        app.command()(command)


def ls(
    target: Annotated[
        str | None,
        typer.Argument(metavar="RUN|DIR", help="A run, or a directory with runs; without it all known runs."),
    ] = None,
    filter: Annotated[
        str | None, typer.Option("--filter", "-f", metavar="EXPR", help="Only rows that fit, as 'val_loss<0.2'.")
    ] = None,
    sort: Annotated[
        str | None, typer.Option("--sort", "-s", metavar="FIELD", help="Order by a field, rising; -FIELD for falling.")
    ] = None,
    tag: Annotated[str | None, typer.Option("--tag", metavar="NAME", help="Only checkpoints with this tag.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", metavar="N", help="At most N rows.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List runs, or the checkpoints of a run.

    \b
    A filter compares, and joins with and, or, not and ( ):
      val_loss<0.2  step>=1000  size>1GB  age<2d  saved_at>2026-07-01
      state=complete  tag=paper  name=step-*  'val_*<0.3'  (text is a glob)
      has:note  not has:val_loss  pinned=yes  loss=nan
      exp*  (what a row is called)

    Fields of checkpoints: their metrics, step epoch loss size age state tag pinned note label verdict. Of runs: name
    status checkpoints size age step epoch loss framework own, and the values of the run's config, as optimizer.lr.

    \b
    Examples:
      ckpt ls
      ckpt ls runs/
      ckpt ls exp3 --filter 'val_loss<0.2 and step>1000' --sort val_loss
      ckpt ls exp3 --tag best --json
      ckpt ls --filter 'status=training or age<1h'
      ckpt ls --filter 'optimizer.lr>0.01 and not exp*' --sort -age
    """
    from ckpt_tui.answers.listing import answer_ls

    answer_ls(target, filter_text=filter, sort=sort, tag=tag, limit=limit, json=json, quiet=quiet)


def show(ref: Ref, tensors: Tensors = False, json: Json = False, quiet: Quiet = False) -> None:
    """Show everything about one checkpoint.

    Its numbers and marks, the verdict with all its reasons, what is inside it, and where its run comes from.

    \b
    Examples:
      ckpt show exp3@best
      ckpt show runs/exp3/checkpoints/step-001200.pt --tensors
    """
    from ckpt_tui.answers.showing import answer_show

    answer_show(ref, tensors=tensors, json=json, quiet=quiet)


def inspect(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A checkpoint: a file, a directory or an address.")],
    tensors: Tensors = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read the metadata of any checkpoint, a file or a directory.

    What is in it, how whole it is, and what a training that resumes from it finds. Nothing in it is executed, and
    neither torch nor the framework that wrote it is needed.

    \b
    Examples:
      ckpt inspect model.pt
      ckpt inspect out/checkpoint-500
      ckpt inspect exp1@best
      ckpt inspect model.safetensors --json
    """
    from ckpt_tui.answers.showing import answer_inspect

    answer_inspect(path, tensors=tensors, json=json, quiet=quiet)


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A checkpoint or a run.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="Take equal checksums in the files for equal tensors, without reading.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare two checkpoints or two runs.

    Shows what differs in metadata, metrics, config and tensors. Exit code 0: same,
    1: different. Two runs are compared by their config, curves, lineage and latest checkpoints.

    Tensors are read and compared bit by bit. A checksum says what was meant to be written, so with --quick, which
    believes equal ones, a file that was damaged since can pass for the same.

    \b
    Examples:
      ckpt diff exp3@best exp3@latest
      ckpt diff a.pt b.pt
      ckpt diff exp3 exp4
    """
    from ckpt_tui.answers.showing import answer_diff

    answer_diff(a, b, quick=quick, json=json, quiet=quiet)


def verify(
    refs: Annotated[
        list[str] | None, typer.Argument(metavar="REF", help="Paths, ids, RUN@SELECTOR, or RUN for all of a run.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every checkpoint of every known run.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read whole checkpoints and compare their checksums.

    Torch files, and other files that are zips, hold a CRC-32 of every part; checkpoints of own runs have a BLAKE3
    beside them. Files without checksums, as safetensors, are read to the end and their structure is proved. In a
    directory every file is read. What is not whole and was written to just now is waited for, up to half a minute, and
    judged then; what a training still writes is not checked. --quiet prints the paths of damaged ones.

    Exit code 0: all whole, 1: something is damaged, or was named and is still being written, 3: something could not
    be read.

    \b
    Examples:
      ckpt verify exp3@best
      ckpt verify exp3 exp4
      ckpt verify out/checkpoint-500 model.pt
      ckpt verify --all --json
    """
    from ckpt_tui.answers.verifying import answer_verify

    answer_verify(refs or [], everything=everything, json=json, quiet=quiet)


def status(json: Json = False, quiet: Quiet = False) -> None:
    """Show the daemon, what it watches, and what asks for you.

    Starts nothing: without a daemon it says what lies on the disk.

    \b
    Examples:
      ckpt status
      ckpt status --json
    """
    from ckpt_tui.answers.watching import answer_status

    answer_status(json=json, quiet=quiet)


def doctor(json: Json = False, quiet: Quiet = False) -> None:
    """Look for everything that can be wrong here, and say what to do.

    Places and their rights, config.toml, clock, limits of the kernel, disks, roots, the daemon. Starts nothing and
    waits for nothing. Exit code 1 when something is wrong; a warning is not.

    \b
    Examples:
      ckpt doctor
      ckpt doctor --json
    """
    from ckpt_tui.answers.doctor import answer_doctor

    answer_doctor(json=json, quiet=quiet)
