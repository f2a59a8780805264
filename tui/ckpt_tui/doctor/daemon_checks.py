"""Judgements on the daemon: whether it runs and answers, what it watches, what it left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from ckpt.encoding import path_fields
from ckpt_tui.doctor.check import Check, ok, warning, wrong
from ckpt_tui.doctor.facts import Facts, RootSeen
from ckpt_tui.render.words import ago
from ckpt_tui.trouble import Trouble, lost_root, root_troubles, watcher_trouble
from ckpt_tui.wording import plural, size_text

RESTART = "ckptd stop && ckptd start"


def check_daemon(facts: Facts) -> Iterator[Check]:
    """The daemon, its roots, and what is left over of earlier ones."""
    yield _check_life(facts)
    if facts.status is not None:
        yield from _check_health(facts)
    told = {str(root.get("path")): root for root in facts.told_roots}
    for seen in facts.roots:
        yield from _check_root(seen, told.get(path_fields(seen.path)["path"]))
    yield from _check_leftovers(facts)


def _check_life(facts: Facts) -> Check:
    note = facts.note
    if note is None:
        return ok("daemon", "not running; `ckptd start` starts it")
    process = f"process {note.get('pid', '?')}"
    if note.get("protocol") != facts.protocol:
        detail = f"{process} speaks protocol {note.get('protocol')}, this program {facts.protocol}"
        return wrong("daemon", detail, RESTART)
    if facts.status is None:
        return wrong("daemon", f"{process} holds the lock, but {facts.status_problem or 'does not answer'}", RESTART)
    daemon = facts.daemon
    detail = f"{process}, started {ago(note.get('started'), facts.now)}"
    if isinstance(daemon.get("rss"), int):
        detail += f", {size_text(daemon['rss'])} of memory"
    if daemon.get("ready") is False:
        detail += ", still looking at the disk for the first time"
    if daemon.get("log"):
        detail += f", log {daemon['log']}"
    running = daemon.get("version") or note.get("version")
    if running != facts.version:
        return warning("daemon", f"{detail}; it is version {running}, this program {facts.version}", RESTART)
    return ok("daemon", f"{detail}, version {running}")


def _check_health(facts: Facts) -> Iterator[Check]:
    daemon = facts.daemon
    log = f"see its log: {daemon.get('log')}"
    trouble = watcher_trouble(daemon)
    if trouble is not None:
        yield _judged("watcher", trouble)
    else:
        lost = int((daemon.get("watcher") or {}).get("overflows") or 0)
        after = f"; events were lost {plural(lost, 'time')}, and made good by a full look" if lost else ""
        yield ok("watcher", f"alive{after}")
    errors = int(daemon.get("errors") or 0)
    if errors:
        yield warning("errors", f"{plural(errors, 'error')}, the last: {daemon.get('last_error')}", log)
    for problem in daemon.get("problems") or ():
        yield warning("problem", str(problem), log)


def _judged(name: str, trouble: Trouble, *, subject: str | None = None) -> Check:
    if trouble.weight == "note":
        return ok(name, trouble.text, subject=subject)
    judge = wrong if trouble.weight == "wrong" else warning
    return judge(name, trouble.text, trouble.hint, subject=subject)


def _check_root(seen: RootSeen, told: Mapping[str, Any] | None) -> Iterator[Check]:
    troubles = root_troubles(told) if told is not None else []
    if seen.problem is not None and not any(trouble.weight == "wrong" for trouble in troubles):
        # The daemon has not noticed yet, or none runs.
        origin = "config.toml" if seen.in_config else None
        troubles = [lost_root(seen.path, f"it cannot be reached: {seen.problem}", origin)]
    for trouble in troubles:
        yield _judged("root", trouble, subject=seen.path)
    if not troubles:
        where = f", on a network file system ({seen.file_system})" if seen.file_system else ""
        runs = f", {plural(int(told.get('runs') or 0), 'run')}" if told is not None else ""
        yield ok("root", f"can be read{runs}{where}", subject=seen.path)


def _check_leftovers(facts: Facts) -> Iterator[Check]:
    if facts.crashed is not None:
        detail = f"the last daemon (process {facts.crashed.get('pid', '?')}) ended without a word"
        yield warning("left over", detail, "nothing is lost; `ckptd start` goes on where it was")
    if facts.start_log is not None:
        yield warning("left over", f"the last start said: {facts.start_log}", "try `ckptd run` to see it happen")
    if facts.roots_problem is not None:
        yield wrong("left over", facts.roots_problem, "move it away, then name its roots again: `ckpt watch add DIR`")
    if facts.moved_aside:
        names = ", ".join(os.path.basename(path) for path in facts.moved_aside[:3])
        detail = f"{plural(len(facts.moved_aside), 'catalog file')} could not be used and was moved aside: {names}"
        directory = os.path.dirname(facts.moved_aside[0])
        yield warning("left over", detail, f"what they held was read from disk again; remove them from {directory}")
