"""`ckpt watch`, `status`, `events` and `tui`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

import typer

from ckpt.encoding import path_fields, path_from_fields, printable, quoted
from ckpt.exceptions import AddressError, OperationError, UsageError
from ckpt_tui.lookup import Lookup
from ckpt_tui.render.status import NO_ROOT
from ckpt_tui.running import running
from ckpt_tui.wording import plural, size_text

LOOK_S = 3600.0  # a first look at a very large directory; who waits sees for how long


def answer_watch_add(directory: str, *, observe: bool, exclude: Sequence[str], json: bool, quiet: bool) -> None:
    """Answers `ckpt watch add` without `--enforce`; `observe` ends an enforcement."""
    from ckpt.client import Client

    with running(json=json, quiet=quiet) as out:
        path = real_directory(directory)
        body = {**path_fields(path), "exclude": list(exclude), **({"mode": "observe"} if observe else {})}
        with Client.connect(answer_s=LOOK_S) as client, out.waiting(f"looking at {path}"):
            answer = client.post("/v1/roots", body)

        def human() -> Iterable[str]:
            from ckpt_tui.render.roots import added_lines

            return added_lines(answer, paint=out.paint, width=out.width)

        if path != os.path.abspath(os.path.expanduser(directory)):
            out.say(f"{directory} leads to {path}")
        out.data(answer, ids=[path_from_fields(answer["root"])], human=human)
        if out.mode == "human" and answer["root"].get("mode") != "enforce":
            out.say("other tools' files are only looked at; runs of the SDK keep their own policies")


def refuse_options(*, enforce: bool, policy: Sequence[str], take_over: bool, json: bool) -> None:
    """Refuses options of `ckpt watch add` that do not go together."""
    with running(json=json):
        if enforce:
            raise UsageError("--enforce and --observe are opposites", hint="say one of them")
        if policy:
            raise UsageError(
                "--policy belongs to --enforce",
                hint="`ckpt policy set DIR RULE…` sets the policy of a watched directory",
            )
        if take_over:
            raise UsageError("--take-over belongs to --enforce", hint="a directory that is only watched has no owner")


def real_directory(directory: str) -> str:
    """The real path of a directory that can be watched. Raises AddressError and OperationError."""
    path = os.path.realpath(os.path.expanduser(directory))
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
        live = lookup.client.mode == "daemon"
        if not roots:
            out.say(NO_ROOT)

        def human() -> Iterable[str]:
            from ckpt_tui.render.roots import roots_lines

            return roots_lines(roots, paint=out.paint, width=out.width, live=live, details=True) if roots else ()

        out.data({"roots": roots}, ids=[path_from_fields(root) for root in roots], human=human)


def answer_watch_rm(directory: str, *, yes: bool, json: bool, quiet: bool) -> None:
    """Answers `ckpt watch rm`."""
    with running(json=json, quiet=quiet) as out, Lookup() as lookup:
        lookup.require_daemon()
        known = [path_from_fields(root) for root in lookup.client.get("/v1/roots")["roots"]]
        path = _watched(directory, known)
        out.confirm(f"stop watching {path}? {_what_stays(path, lookup)}", yes=yes)
        answer = lookup.client.post("/v1/roots/remove", path_fields(path))

        def human() -> Iterable[str]:
            yield f"no longer watching {out.paint(path, 'bold')}"
            yield "  its files, marks and trash stay as they are"
            trash = answer.get("trash") or {}
            if trash.get("entries"):
                held = f"{plural(int(trash['entries']), 'removed checkpoint')} ({size_text(int(trash['bytes']))})"
                yield f"  {held} of other tools' runs stay in {out.paint(trash['path'])}; nothing purges them any more"
                yield "  to have them back: watch it again, then `ckpt trash ls` and `ckpt trash restore ID`"
            root = answer.get("root") or {}
            lost = ["observed"] if root.get("mode") == "enforce" else []
            lost += ["without its policy"] if root.get("policy") else []
            how = f", {' and '.join(lost)}" if lost else ""
            yield f"  `ckpt watch add {out.paint(quoted(path))}` watches it again{how}"

        out.data(answer, ids=[path], human=human)


def _what_stays(path: str, lookup: Lookup) -> str:
    """What becomes of the files below a directory that is not watched any more."""
    below = path.rstrip("/") + "/"
    held = [entry for entry in lookup.client.get("/v1/trash")["entries"] if path_from_fields(entry).startswith(below)]
    if not held:
        return "Files and marks stay"
    size = size_text(sum(int(entry["bytes"]) for entry in held))
    count = plural(len(held), "removed checkpoint")
    return f"Files and marks stay; {count} ({size}) stay in the trash, and nothing purges them any more"


def _watched(directory: str, known: Sequence[str]) -> str:
    """The watched directory that is meant, also when it is gone or named by a link. Raises AddressError."""
    path = os.path.abspath(os.path.expanduser(directory))
    for candidate in (path, os.path.realpath(path)):
        if candidate in known:
            return candidate
    raise AddressError(
        f"{printable(path)} is not watched",
        hint=f"watched: {', '.join(map(printable, known))}" if known else NO_ROOT,
        candidates=known,
    )


def answer_status(*, json: bool, quiet: bool) -> None:
    """Answers `ckpt status`. Who asks how things are changes nothing: no daemon is started."""
    from ckpt.client import Client

    with running(json=json, quiet=quiet) as out, Client.connect(autostart=False) as client:
        with out.waiting("looking at the disk"):
            status = client.get("/v1/status")

        def human() -> Iterable[str]:
            from ckpt_tui.render.status import status_lines

            return status_lines(status, paint=out.paint, width=out.width)

        pid = (status.get("daemon") or {}).get("pid")
        out.data(status, ids=[str(pid)] if pid else [], human=human)


def answer_events(*, follow: bool, since: int | None, kind: str | None, run: str | None, json: bool) -> None:
    """Answers `ckpt events`."""
    from fnmatch import fnmatchcase

    from ckpt_tui.event_names import EventNames
    from ckpt_tui.render.events import event_line

    with running(json=json) as out, Lookup() as lookup:
        lookup.require_daemon()
        names = EventNames(lookup)
        wanted = lookup.view(run)["run"]["id"] if run is not None else None
        for event in lookup.client.events(since, follow=follow):
            if kind is not None and not fnmatchcase(event["kind"], kind):
                continue
            if wanted is not None and event.get("run") != wanted:
                continue
            if json:
                out.json(event)
            else:
                names.learn(event)
                out.line(event_line(event, names.runs, names.checkpoints, paint=out.paint))
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
