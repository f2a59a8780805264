"""`ckpt status`: the daemon, then what it watches, then what asks for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckpt.encoding import quoted
from ckpt_tui.output import Paint
from ckpt_tui.render.roots import roots_lines, trouble_lines
from ckpt_tui.render.words import ago, span
from ckpt_tui.trouble import daemon_troubles, disk_troubles
from ckpt_tui.wording import moment_text, plural, size_text

NO_ROOT = "no directory is watched: `ckpt watch add DIR`"


def status_lines(status: Mapping[str, Any], *, paint: Paint, width: int | None) -> Iterator[str]:
    """The whole answer for a person."""
    daemon = status.get("daemon") or {}
    live = bool(daemon.get("pid"))
    roots = status.get("roots") or ()
    yield from _running(daemon, paint) if live else _not_running(paint)
    yield from _announced(daemon.get("announced") or {})
    yield from _waiting(status.get("asks") or (), paint)
    yield from trouble_lines([*daemon_troubles(daemon), *disk_troubles(roots)], paint=paint, width=width)
    if not roots:
        yield NO_ROOT
        return
    yield ""
    yield from roots_lines(roots, paint=paint, width=width, live=live)


def _running(daemon: Mapping[str, Any], paint: Paint) -> Iterator[str]:
    memory = f", {size_text(int(daemon['rss']))} of memory" if daemon.get("rss") else ""
    version = paint(daemon.get("version", "?"))
    yield f"daemon   {paint('running', 'green')}, process {daemon['pid']}, version {version}{memory}"
    since = f", since {moment_text(float(daemon['started']))}" if daemon.get("started") else ""
    yield f"         for {span(float(daemon.get('uptime_s') or 0))}{since}"
    if daemon.get("ready") is False:
        yield "         it still looks at the disk for the first time; what is told is not complete"
    watcher = daemon.get("watcher") or {}
    if watcher.get("watches") is not None:
        most = f" of {int(watcher['limit']):,} that the kernel allows" if watcher.get("limit") else ""
        yield f"watches  {plural(int(watcher['watches']), 'directory', 'directories')}{most}"
    config = daemon.get("config") or {}
    if config.get("path"):
        every = f", full look every {span(float(config['rescan_s']))}" if config.get("rescan_s") else ""
        taken = f", taken anew {ago(reloaded['at'])}" if (reloaded := daemon.get("reloaded")) else ""
        yield f"config   {paint(config['path'])}{every}{taken}"


def _not_running(paint: Paint) -> Iterator[str]:
    yield f"daemon   {paint('not running', 'yellow')}; `ckptd start` starts it"
    yield "         what follows was read from the disk just now"


def _waiting(asks: Sequence[Mapping[str, Any]], paint: Paint) -> Iterator[str]:
    """The plans that go on only when a person confirms them."""
    for ask in asks[:5]:
        name = str(ask.get("name") or str(ask["run"])[:12]) if ask.get("run") else None
        of = "" if name is None else f"{paint(name, 'bold')}: "
        which = "" if name is None else f" {paint(quoted(name))}"
        yield f"{paint('asks', 'yellow')}     {of}{paint(str(ask['text']))}"
        yield f"         look and confirm with `ckpt prune{which}`"
    if len(asks) > 5:
        yield f"         and {plural(len(asks) - 5, 'more run')} like that: `ckpt plan`"


def _announced(announced: Mapping[str, Any]) -> Iterator[str]:
    if announced.get("runs"):
        runs, checkpoints = int(announced["runs"]), int(announced.get("checkpoints") or 0)
        found = f"{plural(checkpoints, 'checkpoint')}, {size_text(int(announced.get('bytes') or 0))}"
        yield f"besides  {plural(runs, 'run')} that trainings announced: {found}"
