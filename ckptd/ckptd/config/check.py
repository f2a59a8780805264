"""What `ckptd config check` tells: how the file is understood, and what a reload would change for the daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from ckpt.encoding import path_fields, path_from_fields, printable
from ckpt.retention.quantities import size_text
from ckpt.retention.writing import given_text, time_text
from ckptd.config.file import Reading
from ckptd.config.problems import Problem
from ckptd.config.values import Config, Limits


def report(
    reading: Reading, status: Mapping[str, Any] | None, foretold: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The whole answer as plain data.

    `status` is what the running daemon says of itself (`/v1/status`), None without one; `foretold` what it says that a
    reload would change (`/v1/reload`), None where it was not asked. Shape: {"path", "exists",
    "understood", "problems", "warnings", "values": {name: {"value", "origin"}}, "policy", "roots", "runs", "daemon"};
    policies are given fields; `daemon` is null, or {"pid", "path", "same_file", "changes", "warnings"} with `changes`
    null where the file is not understood or not its own.
    """
    config = reading.config
    return {
        **path_fields(reading.path),
        "exists": reading.exists,
        "understood": not reading.problems,
        "problems": [_problem_json(problem) for problem in reading.problems],
        "warnings": [_problem_json(warning) for warning in reading.warnings],
        "values": {
            name: {"value": _plain(_value(config, name)), "origin": origin} for name, origin in reading.origins.items()
        },
        "policy": config.policy,
        "roots": [
            {
                **path_fields(root.path),
                "mode": root.mode,
                "policy": root.policy,
                "exclude": list(root.exclude),
                "poll": root.poll,
            }
            for root in config.roots
        ],
        "runs": runs_json(config),
        "daemon": None if status is None else _daemon_json(reading, status, foretold),
    }


def lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """The answer of `report` for a person, without the problems."""
    path = answer["path"]
    yield f"{path} is understood" if answer["exists"] else f"{path} does not exist; the defaults hold"
    for name, told in answer["values"].items():
        yield f"{name:<18} {_value_text(name, told['value']):<10} ({told['origin']})"
    if answer["policy"]:
        yield f"policy             {given_text(answer['policy'])}"
    for rule in answer["runs"]:
        yield f"run                {printable(rule['match'])}; policy {given_text(rule['policy']) or 'without a rule'}"
    for root in answer["roots"]:
        details = ["mode enforce"] if root["mode"] == "enforce" else []
        details += [f"policy {given_text(root['policy'])}"] if root["policy"] else []
        details += [f"without {', '.join(map(printable, root['exclude']))}"] if root["exclude"] else []
        details += ["looked at instead of watched"] if root["poll"] else []
        yield "; ".join([f"root               {printable(root['path'])}", *details])
    for warning in answer["warnings"]:
        yield f"warning: {warning['message']}"
    daemon = answer["daemon"]
    if daemon is not None:
        yield from (f"warning: {warning}" for warning in daemon["warnings"])
    if daemon is None:
        yield "no ckptd answers; the next one that starts takes it"
    elif not daemon["same_file"]:
        yield f"ckptd (process {daemon['pid']}) reads another file: {printable(daemon['path'])}"
    elif daemon["changes"] is None:
        yield f"ckptd (process {daemon['pid']}) was not asked what a reload would change"
    elif not daemon["changes"]:
        yield f"ckptd (process {daemon['pid']}) works by it already"
    else:
        yield f"`ckptd reload` would change in ckptd (process {daemon['pid']}):"
        yield from (f"  {change}" for change in daemon["changes"])


def runs_json(config: Config) -> list[dict[str, Any]]:
    """The policies of single runs as plain data."""
    return [{"match": rule.match, "policy": rule.policy} for rule in config.runs]


def is_of(status: Mapping[str, Any], reading: Reading) -> bool:
    """Whether a daemon, as its status says, reads the file of a reading."""
    return os.path.realpath(_path(status)) == os.path.realpath(reading.path)


def _daemon_json(reading: Reading, status: Mapping[str, Any], foretold: Mapping[str, Any] | None) -> dict[str, Any]:
    told = foretold or {"changed": None, "warnings": []}
    return {
        "pid": status["daemon"]["pid"],
        **path_fields(_path(status)),
        "same_file": is_of(status, reading),
        "changes": told["changed"],
        "warnings": told["warnings"],
    }


def _path(status: Mapping[str, Any]) -> str:
    told = status["daemon"].get("config") or {}
    return path_from_fields(told) if "path" in told else ""


def _problem_json(problem: Problem) -> dict[str, Any]:
    return {"key": problem.key, "line": problem.line, "message": problem.message}


def _value(config: Config, name: str) -> Any:
    return getattr(config.limits if name in Limits.__struct_fields__ else config, name)


def _value_text(name: str, value: Any) -> str:
    if name in ("warn_before", "reload_delay"):
        return time_text(value)
    if name == "bytes_per_run":
        return size_text(value)
    return f"{value:g}" if isinstance(value, int | float) else ", ".join(map(printable, value)) or "nothing"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
