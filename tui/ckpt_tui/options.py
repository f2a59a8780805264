"""Options that several commands share."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print ids or paths only, one a line.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
Ref = Annotated[str, typer.Argument(metavar="REF", help="A path, an id, RUN, or RUN@SELECTOR such as exp3@best.")]
OptionalRun = Annotated[str | None, typer.Argument(metavar="RUN", help="A run's name, id or directory.")]
