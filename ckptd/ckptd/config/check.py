"""What `ckptd config check` tells: how the file is understood, and what a reload would change for the daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from ckpt.encoding import path_fields, path_from_fields, printable
from ckptd.config.file import Problem, Reading
from ckptd.config.values import TIMES, Config, Root, effects


def report(reading: Reading, status: Mapping[str, Any] | None) -> dict[str, Any]:
    """The whole answer as plain data.

    `status` is what the running daemon says of itself (`/v1/status`), None without one. Shape: {"path", "exists",
    "understood", "problems", "warnings", "values": {name: {"value", "origin"}}, "roots", "daemon"}; `daemon` is null,
    or {"pid", "path", "same_file", "changes"} with `changes` null where the file is not understood or not its own.
    """
    config = reading.config
    return {
        **path_fields(reading.path),
        "exists": reading.exists,
        "understood": not reading.problems,
        "problems": [_problem_json(problem) for problem in reading.problems],
        "warnings": [_problem_json(warning) for warning in reading.warnings],
        "values": {
            name: {"value": _plain(getattr(config, name)), "origin": origin} for name, origin in reading.origins.items()
        },
        "roots": [
            {**path_fields(root.path), "mode": root.mode, "exclude": list(root.exclude), "poll": root.poll}
            for root in config.roots
        ],
        "daemon": None if status is None else _daemon_json(reading, status),
    }


def lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """The answer of `report` for a person, without the problems."""
    path = answer["path"]
    yield f"{path} is understood" if answer["exists"] else f"{path} does not exist; the defaults hold"
    for name, told in answer["values"].items():
        value = told["value"]
        shown = f"{value:g}" if isinstance(value, float) else ", ".join(map(printable, value)) or "nothing"
        yield f"{name:<12} {shown:<10} ({told['origin']})"
    for root in answer["roots"]:
        details = [f"without {', '.join(map(printable, root['exclude']))}"] if root["exclude"] else []
        details += ["looked at instead of watched"] if root["poll"] else []
        yield "; ".join([f"root         {printable(root['path'])}", *details])
    for warning in answer["warnings"]:
        yield f"warning: {warning['message']}"
    daemon = answer["daemon"]
    if daemon is None:
        yield "no ckptd answers; the next one that starts takes it"
    elif not daemon["same_file"]:
        yield f"ckptd (process {daemon['pid']}) reads another file: {printable(daemon['path'])}"
    elif not daemon["changes"]:
        yield f"ckptd (process {daemon['pid']}) works by it already"
    else:
        yield f"`ckptd reload` would change in ckptd (process {daemon['pid']}):"
        yield from (f"  {change}" for change in daemon["changes"])


def config_of(status: Mapping[str, Any]) -> Config:
    """The config that a running daemon works by, as its status tells."""
    told = status["daemon"].get("config") or {}
    times = {name: float(told[name]) for name in TIMES if told.get(name) is not None}
    return Config(
        exclude=tuple(told.get("exclude", ())),
        from_environment=tuple(told.get("from_environment", ())),
        roots=tuple(_root(root) for root in status["roots"] if root.get("origin") == "config.toml"),
        **times,
    )


def _daemon_json(reading: Reading, status: Mapping[str, Any]) -> dict[str, Any]:
    daemon = status["daemon"]
    told = daemon.get("config") or {}
    path = path_from_fields(told) if "path" in told else ""
    same = _same_file(path, reading.path)
    running = config_of(status)
    changes = effects(running, _for_the_daemon(reading, running)) if same and not reading.problems else None
    return {"pid": daemon["pid"], **path_fields(path), "same_file": same, "changes": changes}


def _for_the_daemon(reading: Reading, running: Config) -> Config:
    """What a reload would take: it reads the daemon's environment, not the one of this shell."""
    decided = {*running.from_environment, *reading.config.from_environment}
    config: Config = reading.config.evolve(**{name: getattr(running, name) for name in decided})
    return config


def _same_file(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _root(told: Mapping[str, Any]) -> Root:
    return Root(
        path=path_from_fields(told),
        mode=told.get("mode", "observe"),
        exclude=tuple(told.get("exclude", ())),
        poll=bool(told.get("poll", False)),
        origin="config.toml",
    )


def _problem_json(problem: Problem) -> dict[str, Any]:
    return {"key": problem.key, "line": problem.line, "message": problem.message}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
