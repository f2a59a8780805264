"""What `ckptd` makes of config.toml: asked as a process, because terminal and daemon share no code but the library."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from ckpt import encoding
from ckpt.client import daemon_command
from ckpt_tui.doctor.facts import ConfigFile

CHECK_S = 20.0  # a cold start on a network file system


def ask_ckptd(home: Path) -> ConfigFile:
    """The answer of `ckptd config check`."""
    path = str(home / "config.toml")
    command = [*daemon_command(), "config", "check", "--json"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=CHECK_S, check=False)
    except subprocess.TimeoutExpired:
        return ConfigFile(path, problem=f"`ckptd config check` did not end within {CHECK_S:g} s")
    except OSError as error:
        return ConfigFile(path, problem=f"{command[0]} cannot be run: {error.strerror}", hint="pip install ckptd")
    answer = _object(done.stdout)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip() or f"`ckptd config check` exits {done.returncode}"
        problems = [_sentence(problem) for problem in answer.get("problems") or ()]
        return ConfigFile(path, exists=True, problem="; ".join(problems) or said.removeprefix("ckptd: "))
    daemon = answer.get("daemon") or {}
    return ConfigFile(
        path,
        exists=bool(answer.get("exists")),
        warnings=tuple(_sentence(warning) for warning in answer.get("warnings") or ()),
        other=str(daemon["path"]) if daemon.get("same_file") is False else None,
        waiting=tuple(map(str, daemon.get("changes") or ())),
        roots=tuple(answer.get("roots") or ()),
    )


def _sentence(told: dict[str, Any]) -> str:
    line = f"line {told['line']}: " if told.get("line") else ""
    return f"{line}{told.get('message')}"


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = encoding.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
