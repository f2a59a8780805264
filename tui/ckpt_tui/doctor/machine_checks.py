"""Judgements on the machine: places, config.toml, clock, limits of the kernel, disks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from ckpt.paths import SUN_PATH_MAX
from ckpt_tui.doctor.check import Check, ok, warning, wrong
from ckpt_tui.doctor.facts import ConfigFile, Disk, Facts, Inotify, Place
from ckpt_tui.render.words import full_in, span
from ckpt_tui.trouble import SOON_FULL_S
from ckpt_tui.wording import plural, size_text

DAY_S = 86400.0
CLOCK_OFF_S = 3.0  # a file system may store whole or even seconds
CLOCK_WRONG_S = 60.0
FREE_SHARE = 0.03  # of bytes or inodes; less is nearly full
FREE_PLENTY = 50 << 30  # bytes; a large disk may be nearly full by share and still have room
FREE_STATE = 16 << 20  # bytes that the daemon needs to keep its catalog and journal
FREE_FILES = 1000
WATCHES_SHARE = 0.8
WATCHES_LOW = 65536  # old kernels allow 8192 directories
WATCHES_WANTED = 1048576
INSTANCES_WANTED = 1024
_VARIABLES = {
    "config": "CKPTD_CONFIG_HOME",
    "state": "CKPTD_STATE_HOME",
    "runtime": "CKPTD_RUNTIME_DIR",
    "socket": "CKPTD_RUNTIME_DIR",
}


def check_machine(facts: Facts) -> Iterator[Check]:
    """The machine, without the daemon."""
    for place in facts.places:
        yield _check_place(place, facts)
    if facts.config is not None:
        yield from _check_config(facts.config)
    yield _check_clock(facts)
    if facts.inotify is not None:
        yield from _check_inotify(facts.inotify, facts)
    for disk in facts.disks:
        yield _check_disk(disk, facts)


def _check_place(place: Place, facts: Facts) -> Check:
    own = f"set {_VARIABLES[place.name]} to a directory of your own"
    if place.problem is not None:
        return wrong(place.name, place.problem, place.hint or own)
    if not place.nearest_is_directory:
        return wrong(place.name, f"{place.path}: {place.nearest} is not a directory", own)
    if place.name == "config":
        # People write there, not we.
        if not place.readable:
            return wrong("config", f"{place.nearest} cannot be read", f"chmod u+rx {place.nearest}, or {own}")
        return ok("config", place.path if place.exists else f"{place.path} (not there; it need not be)")
    if not place.writable:
        return wrong(place.name, f"{place.path}: {place.nearest} cannot be written", own)
    if place.owner is not None and facts.user is not None and place.owner != facts.user:
        return wrong(place.name, f"{place.path} belongs to user {place.owner}, not to {facts.user}", own)
    if place.mode is not None and place.mode & 0o077:
        if place.name == "socket":
            return wrong("socket", f"{place.path} may be opened by others", "ckptd stop && ckptd start")
        private = f"chmod 700 {place.path}"
        return warning(place.name, f"{place.path} may be read by others (mode {place.mode:o})", private)
    if place.name == "state" and place.file_system is not None:
        return warning(
            "state",
            f"{place.path} lies on a network file system ({place.file_system}): slow, and locks depend on its server",
            "set CKPTD_STATE_HOME to a local disk",
        )
    if place.name == "socket":
        return _check_socket(place, facts)
    return ok(place.name, place.path if place.exists else f"{place.path} (made when it is needed)")


def _check_socket(place: Place, facts: Facts) -> Check:
    length = len(place.path.encode("utf-8", "surrogateescape"))
    if length > SUN_PATH_MAX:
        detail = f"{place.path} has {length} bytes, a socket may have {SUN_PATH_MAX}"
        return wrong("socket", detail, "set CKPTD_RUNTIME_DIR, or TMPDIR, to a shorter path")
    runtime = next((p.path for p in facts.places if p.name == "runtime" and p.problem is None), None)
    if runtime is not None and str(PurePath(place.path).parent) != runtime:
        return ok("socket", f"{place.path} (below {runtime} it would be too long for a socket)")
    return ok("socket", place.path)


def _check_config(config: ConfigFile) -> Iterator[Check]:
    if config.problem is not None:
        yield wrong("config.toml", config.problem, config.hint or f"correct {config.path}; `ckptd config check` looks")
        return
    for told in config.warnings:
        yield warning("config.toml", told, f"correct {config.path}, if it is not meant so")
    if config.other is not None:
        yield warning("config.toml", f"the daemon reads {config.other}, not {config.path}", "see CKPTD_CONFIG_HOME")
    elif config.waiting:
        yield warning("config.toml", f"the daemon has not taken it: {'; '.join(config.waiting)}", "ckptd reload")
    elif not config.exists:
        yield ok("config.toml", f"{config.path} does not exist; the defaults hold")
    elif not config.warnings:
        yield ok("config.toml", f"{config.path} is understood, {plural(len(config.roots), 'root')}")


def _check_clock(facts: Facts) -> Check:
    set_it = "set the clock: timedatectl set-ntp true"
    if facts.now < facts.installed_at - DAY_S:
        return wrong("clock", "earlier than this program was installed, so every age is wrong", set_it)
    theirs = facts.daemon.get("now")
    if facts.asked_at is not None and isinstance(theirs, int | float):
        apart = theirs - facts.asked_at
        if abs(apart) > CLOCK_OFF_S:
            return wrong("clock", f"the daemon's clock is {_apart(apart)} ours", "ckptd stop && ckptd start")
    apart = facts.state_clock or 0.0
    if abs(apart) > CLOCK_OFF_S:
        detail = f"the state directory's disk is {_apart(apart)} this clock"
        return (wrong if abs(apart) > CLOCK_WRONG_S else warning)("clock", detail, set_it + " here and on the server")
    return ok("clock", "plausible")


def _apart(seconds: float) -> str:
    return f"{span(abs(seconds))} {'ahead of' if seconds > 0 else 'behind'}"


def _check_inotify(limits: Inotify, facts: Facts) -> Iterator[Check]:
    watcher = facts.daemon.get("watcher") or {}
    used = watcher.get("watches")
    needed = sum(int(root.get("directories") or 0) for root in facts.told_roots)
    most = limits.max_watches
    parts = [f"{most:,} directories may be watched" if most is not None else "its limits cannot be read"]
    if used is not None:
        parts.append(f"the daemon watches {used:,}")
    parts.append(f"{limits.max_events:,} events may wait" if limits.max_events is not None else "")
    detail = ", ".join(part for part in parts if part)
    if most is not None and max(used or 0, needed) >= most * WATCHES_SHARE:
        there = f", {needed:,} directories lie below the roots" if needed > (used or 0) else ""
        yield warning("inotify", detail + there, raise_limit("max_user_watches", max(WATCHES_WANTED, 2 * needed)))
    elif most is not None and most < WATCHES_LOW:
        yield warning("inotify", f"{detail}: few for large trees", raise_limit("max_user_watches", WATCHES_WANTED))
    else:
        yield ok("inotify", detail)
    if limits.max_instances is not None and limits.instances is not None:
        held = f"{limits.instances} of {limits.max_instances:,} instances of this user are taken"
        if limits.instances >= limits.max_instances:
            hint = raise_limit("max_user_instances", max(INSTANCES_WANTED, 2 * limits.max_instances))
            yield warning("instances", f"{held}: nothing more can watch files", hint)
        else:
            yield ok("instances", held)


def raise_limit(name: str, value: int) -> str:
    """How a limit of inotify is raised, now and for good."""
    setting = f"fs.inotify.{name}={value}"
    return f"sudo sysctl {setting}   (for good: echo {setting} | sudo tee /etc/sysctl.d/90-ckptd.conf)"


def _check_disk(disk: Disk, facts: Facts) -> Check:
    about = ", ".join(disk.paths)
    if disk.problem is not None:
        return warning("disk", f"cannot be asked: {disk.problem}", subject=about)
    free, total = disk.free_bytes or 0, disk.total_bytes or 0
    detail = f"{size_text(free)} of {size_text(total)} free"
    if disk.total_files:
        detail += f", {disk.free_files or 0:,} of {disk.total_files:,} inodes"
    state = next((p.path for p in facts.places if p.name == "state"), None)
    if state in disk.paths and free < FREE_STATE:
        hint = "free some space: the daemon can write neither catalog nor journal"
        return wrong("disk", detail, hint, subject=about)
    room = "make room: `ckpt du` and `ckpt plan` show what is large and what could go"
    if total and free < min(FREE_SHARE * total, FREE_PLENTY):
        return warning("disk", f"nearly full: {detail}", room, subject=about)
    if disk.total_files and (disk.free_files or 0) < min(FREE_SHARE * disk.total_files, FREE_FILES):
        return warning("disk", f"nearly out of inodes: {detail}", "remove small files", subject=about)
    seconds = min((s for s in map(_full_in, _roots_on(disk, facts)) if s is not None), default=None)
    if seconds is not None and seconds < SOON_FULL_S:
        return warning("disk", f"{detail}, full in {full_in(seconds)} at this pace", room, subject=about)
    return ok("disk", detail, subject=about)


def _roots_on(disk: Disk, facts: Facts) -> list[dict[str, object]]:
    return [dict(root) for root in facts.told_roots if root.get("path") in disk.paths]


def _full_in(root: dict[str, object]) -> float | None:
    value = root.get("full_in_s")
    return float(value) if isinstance(value, int | float) else None
