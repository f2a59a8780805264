"""What going from one config to another changes, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ckpt.encoding import printable
from ckpt.paths import is_inside
from ckpt.retention.quantities import size_text
from ckpt.retention.writing import given_text, time_text
from ckptd.config.values import TIMES, Config, Limits, Root, RunRule

_NAMED = {
    "config.toml": "config.toml names it, and goes before what commands said of it",
    "command": "it stays watched, as commands have it",
    "session": "it stays watched for this daemon's life",
}
"""Who names a root now that somebody else named before."""


def effects(old: Config, new: Config) -> list[str]:
    """What going from one config to the other changes but for its roots, one sentence each; empty for nothing."""
    told = [
        f"{name}: {getattr(old, name):g} -> {getattr(new, name):g}"
        for name in TIMES
        if getattr(old, name) != getattr(new, name)
    ]
    if set(old.exclude) != set(new.exclude):
        told.append(f"exclude: {_patterns(old.exclude)} -> {_patterns(new.exclude)}")
    if old.warn_before != new.warn_before:
        told.append(f"warn_before: {time_text(old.warn_before)} -> {time_text(new.warn_before)}")
    told += [
        f"{name}: {limit_text(name, old.limits)} -> {limit_text(name, new.limits)}"
        for name in Limits.__struct_fields__
        if getattr(old.limits, name) != getattr(new.limits, name)
    ]
    if old.policy != new.policy:
        told.append(f"policy: {_policy(old.policy)} -> {_policy(new.policy)}")
    told += _run_effects(old.runs, new.runs)
    return told


def root_effects(old: Iterable[Root], new: Iterable[Root]) -> list[str]:
    """What changes of the directories that are watched, whoever names them; one sentence each."""
    before = {root.path: root for root in old}
    after = {root.path: root for root in new}
    told = [f"watches {printable(path)}{_acts(root)}" for path, root in after.items() if path not in before]
    for path in before:
        if path in after:
            continue
        above = next((outer for outer in after if is_inside(path, outer)), None)
        if above is not None:
            told.append(f"{printable(path)} is watched as a part of {printable(above)}, by what holds there")
        else:
            told.append(f"no longer watches {printable(path)}; its files, marks and trash stay")
    for path, root in after.items():
        if path in before:
            told += [f"{printable(path)}: {change}" for change in _root_effects(before[path], root)]
    return told


def limit_text(name: str, limits: Limits) -> str:
    """The value of one limit, for people."""
    value = getattr(limits, name)
    if name == "reload_delay":
        return time_text(value)
    return size_text(value) if name == "bytes_per_run" else str(value)


def _run_effects(old: tuple[RunRule, ...], new: tuple[RunRule, ...]) -> list[str]:
    before = {rule.match: rule.policy for rule in old}
    after = {rule.match: rule.policy for rule in new}
    told = [
        f"policy of {printable(match)}: {_policy(before.get(match, {}))} -> {_policy(after.get(match, {}))}"
        for match in (*after, *(match for match in before if match not in after))
        if before.get(match, {}) != after.get(match, {})
    ]
    if not told and old != new:
        told.append(f"runs: the order is {', '.join(printable(rule.match) for rule in new)}")
    return told


def _root_effects(old: Root, new: Root) -> list[str]:
    told = []
    if old.origin != new.origin:
        told.append(_NAMED[new.origin])
    if old.mode != new.mode:
        told.append(f"mode {old.mode} -> {new.mode}")
    if old.policy != new.policy:
        told.append(f"policy {_policy(old.policy)} -> {_policy(new.policy)}")
    if old.policy.get("keep_for") != new.policy.get("keep_for"):
        told.append(f"keep_for there {_keep_for(old)} -> {_keep_for(new)}")
    if set(old.exclude) != set(new.exclude):
        told.append(f"exclude {_patterns(old.exclude)} -> {_patterns(new.exclude)}")
    if old.poll != new.poll:
        told.append("changes are looked for" if new.poll else "changes are told by events")
    return told


def _keep_for(root: Root) -> str:
    given = root.policy.get("keep_for")
    return "as elsewhere" if given is None else time_text(given)


def _acts(root: Root) -> str:
    said = [*(["mode enforce"] if root.mode == "enforce" else []), *([_policy(root.policy)] if root.policy else [])]
    return f" ({', '.join(said)})" if said else ""


def _policy(given: dict[str, object]) -> str:
    return given_text(given) or "no rule"


def _patterns(patterns: tuple[str, ...]) -> str:
    return ", ".join(printable(pattern) for pattern in patterns) or "nothing"
