"""The text of the systemd unit: what arrives as arguments, and what systemd itself says of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ckpt.exceptions import UsageError
from ckptd.process.service_unit import command_line, is_ours, unit_text

AWKWARD = [
    "plain",
    "with space",
    "50%h",
    "$HOME",
    "${HOME}",
    'quo"te',
    "it's",
    "back\\slash",
    "tab\there",
    "new\nline",
    "é",
]


def text(command: list[str] | None = None, **environment: str) -> str:
    return unit_text(
        command or ["/usr/bin/python3", "-P", "-m", "ckptd", "run"],
        reload=["/bin/kill", "-HUP", "$MAINPID"],
        environment=environment,
        version="1.2",
    )


def arrive(line: str) -> list[str]:
    """The arguments that systemd makes of a command line: words, escapes, specifiers and variables, by its manual."""
    words: list[str] = []
    rest = line
    while rest:
        word, quoted = "", rest[0] == '"'
        rest = rest[quoted:]
        while rest and rest[0] != ('"' if quoted else " "):
            if rest[0] == "\\":
                known = {"n": "\n", "t": "\t", "\\": "\\", '"': '"'}
                if rest[1] == "x":
                    word, rest = word + chr(int(rest[2:4], 16)), rest[4:]
                else:
                    word, rest = word + known[rest[1]], rest[2:]
            else:
                word, rest = word + rest[0], rest[1:]
        rest = rest[quoted:].lstrip(" ")
        words.append(word.replace("%%", "%"))
    return [words[0], *(word.replace("$$", "$") for word in words[1:])]


@pytest.mark.parametrize("argument", AWKWARD)
def test_arguments_arrive_as_they_are(argument: str) -> None:
    line = command_line(["/usr/bin/python3", "run", argument])
    assert "\n" not in line
    assert arrive(line) == ["/usr/bin/python3", "run", argument]


@pytest.mark.parametrize("name", AWKWARD)
def test_programs_of_any_name_are_called(name: str, tmp_path: Path) -> None:
    program = tmp_path / name / "program"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    program.chmod(0o755)
    call = arrive(command_line([str(program), "run", "a b$"]))
    # What systemd does not take as the program's own path has to go through the shell.
    assert call[0] == "/bin/sh" or not set(call[0]) & set("'\"\\$\n\t")
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stdout == "run|a b$|"


def test_it_says_what_the_daemon_needs() -> None:
    lines = text(CKPTD_STATE_HOME="/a b/50%").splitlines()
    for line in (
        "Type=notify",
        "ExecStart=/usr/bin/python3 -P -m ckptd run",
        "ExecReload=/bin/kill -HUP $MAINPID",
        'Environment="CKPTD_STATE_HOME=/a b/50%%"',
        "Restart=on-failure",
        "Nice=10",
        "IOSchedulingClass=idle",
        "NoNewPrivileges=yes",
        "UMask=0077",
        "WantedBy=default.target",
    ):
        assert line in lines
    assert {line.partition("=")[0] for line in lines} >= {"WatchdogSec", "RestartSec", "TimeoutStopSec"}


def test_its_first_line_tells_whether_somebody_edited_it() -> None:
    unit = text()
    assert is_ours(unit)
    assert not is_ours(unit.replace("Nice=10", "Nice=5"))
    assert not is_ours(unit + "\n")
    assert not is_ours("[Service]\nExecStart=/bin/true\n")
    assert not is_ours("")


def test_what_a_unit_file_cannot_hold_is_refused() -> None:
    with pytest.raises(UsageError, match="UTF-8"):
        text(["/usr/bin/\udcff"])
    with pytest.raises(UsageError, match="UTF-8"):
        text(CKPTD_STATE_HOME="/\udcff")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("name", ["plain", *(name for name in AWKWARD if "\n" not in name)])
def test_systemd_finds_nothing_wrong_with_it(name: str, tmp_path: Path) -> None:
    program = tmp_path / name / "python"
    program.parent.mkdir()
    program.symlink_to("/bin/true")
    file = tmp_path / "ckptd.service"
    file.write_text(text([str(program), "-P", "-m", "ckptd", "run"], CKPTD_STATE_HOME=f"/x/{name}"), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", "--man=no", str(file)],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if "ckptd.service" in line]
    assert (done.returncode, complaints) == (0, []), done.stderr
