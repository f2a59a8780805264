"""What the daemon tells that a person should know or act on, in plain words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ckpt.encoding import path_from_fields, printable, quoted
from ckpt_tui.render.words import full_in
from ckpt_tui.wording import plural

Weight = Literal["note", "warning", "wrong"]
SOON_FULL_S = 86400.0


@dataclass(frozen=True)
class Trouble:
    """Something that is not as it should be, and what to do about it. A note costs time only."""

    text: str
    hint: str | None = None
    weight: Weight = "warning"


def root_troubles(root: Mapping[str, Any]) -> list[Trouble]:
    """What is not well with one watched directory, the worst first."""
    found = list(_root_troubles(root))
    return sorted(found, key=lambda trouble: ("wrong", "warning", "note").index(trouble.weight))


def _root_troubles(root: Mapping[str, Any]) -> Iterator[Trouble]:
    problem = root.get("problem")
    if root.get("state") == "degraded":
        # What else was seen below it is old.
        yield lost_root(root_path(root), str(problem or "it cannot be read"), root.get("origin"))
        return
    if root.get("polled"):
        yield Trouble(f"looked at again and again instead of watched: {root['polled']}", weight="note")
    elif problem:
        yield Trouble(str(problem), "`ckpt doctor` says which limit to raise")
    if root.get("waits"):
        again = f"`ckpt watch add {quoted(path_from_fields(root))} --enforce`"
        yield Trouble("its first plan waits: nothing of other tools is removed yet", f"{again} shows it and asks")
    if root.get("mode") == "enforce" and root.get("by_hand"):
        yield Trouble(
            f"plans are carried out by hand alone: {root['by_hand']}", "`ckpt plan`, then `ckpt apply`", "note"
        )
    for sentence in root.get("warnings") or ():
        yield Trouble(str(sentence))


def lost_root(path: str, problem: str, origin: str | None) -> Trouble:
    """A root that cannot be believed; `origin` says who named it."""
    off = "take it out of config.toml, then `ckptd reload`"
    if origin != "config.toml":
        off = f"`ckpt watch rm {quoted(path)}` takes it off"
    return Trouble(problem, f"until it is back nothing in it counts as removed; if it never comes: {off}", "wrong")


def watcher_trouble(daemon: Mapping[str, Any]) -> Trouble | None:
    """Why changes are not seen at once; None when they are."""
    watcher = daemon.get("watcher") or {}
    if watcher.get("state", "watching") != "watching":
        return Trouble(
            "file events do not come; changes are only seen by the periodic look",
            "`ckpt doctor` shows the limits of this machine; ckptd stop && ckptd start tries again",
            "wrong",
        )
    blind = int(watcher.get("blind") or 0)
    if blind:
        return Trouble(
            f"{plural(blind, 'directory', 'directories')} cannot be watched, and are looked at periodically",
            "`ckpt doctor` shows the limit and how to raise it",
        )
    return None


def daemon_troubles(daemon: Mapping[str, Any]) -> list[Trouble]:
    """What is not well with the daemon itself."""
    found = [trouble] if (trouble := watcher_trouble(daemon)) is not None else []
    log = f"see its log: {daemon['log']}" if daemon.get("log") else None
    found += [Trouble(str(problem), log) for problem in daemon.get("problems") or ()]
    errors = int(daemon.get("errors") or 0)
    if errors:
        found.append(Trouble(f"{plural(errors, 'error')}, the last: {daemon.get('last_error')}", log))
    return found


def root_path(root: Mapping[str, Any]) -> str:
    """The path of a root as it is shown."""
    return printable(path_from_fields(root))


def _foreseen(root: Mapping[str, Any]) -> float:
    """In how many seconds the disk of a root is full; 0 where it nearly is, inf where that is not foreseen."""
    if root.get("full_in_s") is not None:
        return float(root["full_in_s"])
    return 0.0 if root.get("filling") else float("inf")


def disk_troubles(roots: Iterable[Mapping[str, Any]]) -> list[Trouble]:
    """Disks of roots that are full soon, each once."""
    soon: dict[Any, Mapping[str, Any]] = {}
    for root in roots:
        if _foreseen(root) < SOON_FULL_S:
            soon.setdefault(root.get("device", root_path(root)), root)
    return [
        Trouble(
            f"the disk of {root_path(root)} is full in {full_in(_foreseen(root))} at this pace"
            if root.get("full_in_s") is not None
            else f"the disk of {root_path(root)} is nearly full",
            "`ckpt du` shows what is large, `ckpt plan` what the policies would remove, "
            "and `ckpt trash purge` empties the trash",
            "wrong" if root.get("filling") else "warning",
        )
        for root in soon.values()
    ]
