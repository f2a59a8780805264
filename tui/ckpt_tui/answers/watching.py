"""`ckpt watch`, `status`, `events` and `tui`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

import typer

from ckpt.encoding import path_fields, path_from_fields, printable
from ckpt.exceptions import AddressError, OperationError, UsageError
from ckpt_tui.lookup import Lookup
from ckpt_tui.running import running

NO_ROOT = "no directory is watched: `ckpt watch add DIR`"


def answer_watch_add(directory: str, *, enforce: bool, exclude: Sequence[str], json: bool, quiet: bool) -> None:
    """Answers `ckpt watch add`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        path = _directory(directory)
        body = {**path_fields(path), "mode": "enforce" if enforce else "observe", "exclude": list(exclude)}
        answer = lookup.client.post("/v1/roots", body)

        def human() -> Iterable[str]:
            yield f"watching {out.paint(answer['root']['path'], 'bold')} ({out.paint(answer['root']['mode'])})"
            for inner in answer.get("absorbed") or ():
                yield f"  {out.paint(inner)} lies inside it and is watched with it"

        out.data(answer, ids=[path], human=human)
        if out.mode == "human":
            out.say("what other tools wrote is only looked at; runs of the SDK keep their own policies")


def _directory(directory: str) -> str:
    """The absolute path of a directory that can be watched. Raises AddressError and OperationError."""
    path = os.path.abspath(os.path.expanduser(directory))
    if not os.path.lexists(path):
        raise AddressError(f"there is no {printable(path)}", hint="make it first, or name a directory that exists")
    if not os.path.isdir(path):
        raise AddressError(f"{printable(path)} is not a directory", hint="name the directory that it lies in")
    if not os.access(path, os.R_OK | os.X_OK):
        raise OperationError(f"{printable(path)} cannot be read by this user", hint="change its permissions first")
    return path


def answer_watch_ls(*, json: bool, quiet: bool) -> None:
    """Answers `ckpt watch ls`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        roots = lookup.client.get("/v1/roots")["roots"]
        if not roots:
            out.say(NO_ROOT)

        def human() -> Iterable[str]:
            from ckpt_tui.render.runs import roots_table

            return roots_table(roots, paint=out.paint, width=out.width) if roots else ()

        out.data({"roots": roots}, ids=[root["path"] for root in roots], human=human)


def answer_watch_rm(directory: str, *, yes: bool, json: bool, quiet: bool) -> None:
    """Answers `ckpt watch rm`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        lookup.require_daemon()
        path = os.path.abspath(os.path.expanduser(directory))
        roots = lookup.client.get("/v1/roots")["roots"]
        known = [path_from_fields(root) for root in roots]
        if path not in known:
            raise AddressError(
                f"{printable(path)} is not watched",
                hint=f"watched: {', '.join(map(printable, known))}" if known else NO_ROOT,
                candidates=known,
            )
        out.confirm(f"stop watching {path}? (no file is touched)", yes=yes)
        answer = lookup.client.post("/v1/roots/remove", path_fields(path))

        def human() -> Iterable[str]:
            yield f"no longer watching {out.paint(path, 'bold')}"

        out.data(answer, ids=[path], human=human)


def answer_status(*, json: bool, quiet: bool) -> None:
    """Answers `ckpt status`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        status = lookup.client.get("/v1/status")

        def human() -> Iterable[str]:
            from ckpt_tui.render.runs import status_lines

            return status_lines(status, paint=out.paint, width=out.width)

        pid = (status.get("daemon") or {}).get("pid")
        out.data(status, ids=[str(pid)] if pid else [], human=human)


def answer_events(*, follow: bool, since: int | None) -> None:
    """Answers `ckpt events`."""
    with running() as out, Lookup() as lookup:
        for event in lookup.client.events(since, follow=follow):
            out.json(event)
            if follow:
                out.stdout.flush()


def answer_tui(directory: str | None, *, read_only: bool) -> None:
    """Answers `ckpt tui`. Ends with the exit code of the dashboard."""
    with running():
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise UsageError("the dashboard needs a terminal", hint="`ckpt ls` prints the same runs")
        if directory is not None and not os.path.isdir(directory):
            raise AddressError(f"{printable(directory)} is not a directory", hint="name a directory with runs, or none")
        from ckpt_tui.dashboard.app import run_dashboard

        code = run_dashboard(directory, read_only)
        if code:
            raise typer.Exit(code)
