"""The text of the systemd user unit `ckptd.service`, and whether somebody has changed it since. No acts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from ckpt.exceptions import UsageError

UNIT_NAME = "ckptd.service"
WATCHDOG_S = 60
RESTART_S = 5
STOP_S = 90
NICENESS = 10

_HEAD = re.compile(r"# Written by ckptd (?P<version>\S+) \(sha256 (?P<digest>[0-9a-f]{64})\)\.")
_REFUSED = re.compile(r"[\x00-\x1f\x7f'\"\\$]")
"""What systemd does not take in the path of a program, though it takes it in arguments."""


def unit_text(command: Sequence[str], *, reload: Sequence[str], environment: Mapping[str, str], version: str) -> str:
    """The whole file. Its first line holds the hash of the rest.

    `command` is how `ckptd run` is called, `reload` how SIGHUP is sent to $MAINPID, the program's absolute path first.
    Raises UsageError for what a unit file cannot hold.
    """
    lines = [
        "# Changes are kept apart, and win, in `systemctl --user edit ckptd`.",
        "[Unit]",
        "Description=ckptd, which watches the checkpoints of trainings",
        "",
        "[Service]",
        "Type=notify",
        "WorkingDirectory=/",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(environment.items())),
        f"ExecStart={command_line(command)}",
        f"ExecReload={' '.join([_quoted(reload[0]), *reload[1:]])}",
        f"WatchdogSec={WATCHDOG_S}",
        "Restart=on-failure",
        "# A config that is not understood does not heal by itself.",
        "RestartPreventExitStatus=2",
        f"RestartSec={RESTART_S}",
        f"TimeoutStopSec={STOP_S}",
        f"Nice={NICENESS}",
        "IOSchedulingClass=idle",
        "NoNewPrivileges=yes",
        "UMask=0077",
        "",
        "[Install]",
        "WantedBy=default.target",
        "",
    ]
    body = "\n".join(lines)
    return f"# Written by ckptd {version} (sha256 {_digest(body)}).\n{body}"


def is_ours(text: str) -> bool:
    """Whether a unit file is as `unit_text` of any version wrote it."""
    first, _, body = text.partition("\n")
    head = _HEAD.fullmatch(first)
    return head is not None and head["digest"] == _digest(body)


def command_line(command: Sequence[str]) -> str:
    """A command as `ExecStart=` takes it, so that exactly these arguments arrive. Raises UsageError."""
    program, *arguments = command
    if _REFUSED.search(program):
        program, arguments = "/bin/sh", ["-c", 'exec "$0" "$@"', *command]
    return " ".join([_quoted(program), *(_quoted(argument.replace("$", "$$")) for argument in arguments)])


def _quoted(text: str) -> str:
    """One word: quoted where it must be, with specifiers (%) and escapes (\\) taken literally."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            "a unit file holds UTF-8 only, and a path or variable of this installation is not",
            hint="start ckptd with `ckptd start` in a login script instead",
        ) from None
    text = text.replace("%", "%%")
    if re.fullmatch(r"[\w@%+=:,./$-]+", text, re.ASCII):
        return text
    escaped = "".join(_ESCAPES.get(char) or (f"\\x{ord(char):02x}" if ord(char) < 32 else char) for char in text)
    return f'"{escaped}"'


_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\x7f": "\\x7f"}


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
