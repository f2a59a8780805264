"""`ckpt` as a program: streams, exit codes, what it loads, signals, odd bytes."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

CKPT = str(Path(sys.executable).parent / "ckpt")
COMMANDS = [
    "ls", "show", "inspect", "diff", "verify", "status", "doctor", "tag add", "tag rm", "pin", "unpin", "note", "plan",
    "apply", "prune", "trash ls", "trash restore", "trash purge", "undo", "restore", "fork", "watch add", "watch ls",
    "watch rm", "events", "tui", "selftest",
]  # fmt: skip


def run(*argv: str | bytes | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [CKPT, *argv], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False, **options
    )


def test_data_on_stdout_and_nothing_else(runs: Any) -> None:
    runs.run("exp1", checkpoints=1)
    done = run("ls", runs.base, "--json")
    assert done.returncode == 0 and done.stderr == b""
    assert [r["name"] for r in json.loads(done.stdout)["runs"]] == ["exp1"]


def test_no_run_is_known_yet() -> None:
    done = run("ls", "--json")
    assert done.returncode == 0 and json.loads(done.stdout) == {"runs": []}
    assert b"no run is known yet: `ckpt watch add DIR`" in done.stderr


@pytest.mark.parametrize("argv", [("--help",), ("ls", "."), ("show", "nothing.pt"), ("ls", "--filter", "<")])
def test_nothing_heavy_is_loaded(argv: tuple[str, ...], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom ckpt_tui.cli import main\n"
        f"try:\n    main({list(argv)!r})\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write('LOADED ' + ' '.join(m for m in ('torch', 'numpy', 'textual', 'rich') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.rpartition("LOADED ")[2] == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command: str, ckpt: Any) -> None:
    answer = ckpt(*command.split(), "--help")
    assert answer.code == 0
    assert f"Usage: ckpt {command}" in answer.out and f"Examples:\n    ckpt {command}" in answer.out
    assert "\b" not in answer.out


def test_help_names_every_command_whole(ckpt: Any) -> None:
    for argv in ([], ["tag"], ["trash"], ["watch"]):
        text = ckpt(*argv, "--help").out
        listed = text.partition("Commands:")[2]
        for command in COMMANDS:
            parts = command.split()
            if parts[:-1] == argv:
                assert re.search(rf"^  {parts[-1]} ", listed, re.MULTILINE), command
        assert "..." not in listed


def test_no_words_is_help(ckpt: Any) -> None:
    assert ckpt().out == ckpt("--help").out


def test_version(ckpt: Any) -> None:
    assert re.fullmatch(r"ckpt \d+\.\d+\.\d+\n", ckpt("--version").out)


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        (["lss"], "No such command 'lss'", "ckpt --help"),
        (["tag", "ad"], "No such command 'ad'", "ckpt tag --help"),
        (["show"], "Missing argument", "ckpt show --help"),
        (["ls", "--nope"], "--nope", "ckpt ls --help"),
        (["ls", "--limit", "x"], "--limit", "ckpt ls --help"),
        (["trash", "restore"], "Missing argument", "ckpt trash restore --help"),
    ],
)
def test_wrong_usage_exits_2_in_our_words(ckpt: Any, argv: list[str], message: str, hint: str) -> None:
    answer = ckpt(*argv, "--json")
    assert answer.code == 2 and answer.out == ""
    assert answer.err.startswith("ckpt: ") and message in answer.error["message"] and hint in answer.error["hint"]
    assert answer.error["exit_code"] == 2
    assert "{" not in ckpt(*argv).err


def test_a_group_without_a_command(ckpt: Any) -> None:
    answer = ckpt("tag")
    assert (answer.code, answer.err) == (2, "ckpt: Missing command.\nsee `ckpt tag --help`\n")


def test_an_error_of_the_system_is_told_and_exits_3(runs: Any, ckpt: Any, tmp_path: Path) -> None:
    directory = runs.run("exp1", checkpoints=1)
    (directory / "marks.jsonl").mkdir()
    answer = ckpt("pin", directory, "--json")
    assert answer.code == 3 and "marks.jsonl" in answer.error["message"]


def test_a_reader_that_goes_away_is_no_error(runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    process = subprocess.Popen(
        [CKPT, "show", directory, "--json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_control_c_exits_130(daemon: Any) -> None:
    process = subprocess.Popen(
        [CKPT, "events", "--json", "--follow", "--since", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    assert json.loads(process.stdout.readline())["seq"] > 0
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert process.stderr.read() == b""
    process.stdout.close()
    process.stderr.close()


def test_control_c_while_still_loading(ckpt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ckpt_tui.commands import app

    def interrupted(command: str | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "build", interrupted)
    answer = ckpt("ls")
    assert (answer.code, answer.out, answer.err) == (130, "", "")


def test_bytes_that_are_not_utf8_in_argv(runs: Any, tmp_path: Path) -> None:
    directory = runs.run("exp1", checkpoints=1)
    odd = os.path.join(os.fsencode(runs.base), b"ex\xffp")
    os.rename(directory, odd)
    done = run("ls", odd, "--json")
    assert done.returncode == 0 and len(json.loads(done.stdout)["checkpoints"]) == 1
    done = run("show", odd + b"@best", "-q")
    assert done.stdout == odd + b"/checkpoints/step-000010.pt\n"
    done = run("show", odd + b"@bst")
    assert done.returncode == 2 and b"did you mean" in done.stderr
    done = run("ls", b"n\xffpe", "--json")
    assert done.returncode == 2 and b"xffpe" in done.stderr and b"\xff" not in done.stderr


def test_a_locale_that_cannot_say_it(runs: Any) -> None:
    directory = runs.run("exp1", checkpoints=1)
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = run("diff", f"{directory}@best", directory, env=environment)
    assert done.returncode == 0 and done.stderr == b""
    done = run("inspect", directory / "checkpoints" / "step-000010.pt", env=environment)
    assert done.returncode == 0 and b"4\\xd73" in done.stdout


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="needs /dev/full")
@pytest.mark.parametrize("words", [("--help",), ("doctor",), ("doctor", "--json")])
def test_a_full_disk_behind_stdout_is_told(words: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([CKPT, *words], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith(b"ckpt: No space left on device") and b"Traceback" not in done.stderr


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_streams_that_the_caller_closed(closed: int) -> None:
    for words, code in (("doctor", 0), ("nope", 2)):
        done = subprocess.run(
            ["sh", "-c", f'exec "$0" {words} {closed}{"<" if closed == 0 else ">"}&-', CKPT],
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code and b"Traceback" not in done.stderr


def test_a_mistake_of_ours_does_not_look_like_an_answer(ckpt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ckpt_tui.answers import doctor

    monkeypatch.setattr(doctor, "gather", lambda: 1 / 0)
    answer = ckpt("doctor", "--json")
    assert answer.code == 3 and answer.error["kind"] == "OperationError"
    assert "Traceback" in answer.err and "please report" in answer.error["hint"]


def test_a_terminal_gets_colours_and_a_fitting_table(runs: Any) -> None:
    runs.run("exp-" + "x" * 120, checkpoints=1)
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "CLICOLOR", "COLUMNS")}
    environment |= {"TERM": "xterm", "COLUMNS": "80"}
    main, child = pty.openpty()
    process = subprocess.Popen([CKPT, "ls", runs.base], stdin=child, stdout=child, stderr=child, env=environment)
    os.close(child)
    seen = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([main], [], [], 0.2)[0]:
            continue
        try:
            part = os.read(main, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    assert process.wait(timeout=30) == 0
    os.close(main)
    assert b"\x1b[1m" in seen
    plain = re.sub(r"\x1b\[[0-9;]*m", "", seen.decode())
    assert all(len(line) <= 80 for line in plain.splitlines()) and "…" in plain
