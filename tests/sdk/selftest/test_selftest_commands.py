"""How a training is started again: by a script, or as its run tells."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from ckpt.exceptions import OperationError, UsageError
from ckpt.selftest.commands import of_run, of_script

PYTHON = sys.executable


def test_a_script_is_run_by_this_interpreter_in_this_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").touch()
    command = of_script("train.py", ["--name", "a b"])
    assert command.argv == (PYTHON, "train.py", "--name", "a b") and command.cwd == os.getcwd()
    assert str(command) == f"{PYTHON} train.py --name 'a b'"


@pytest.mark.parametrize(
    ("text", "is_python"),
    [
        ("#!/bin/sh\nexec python train.py", False),
        ("\x7fELF", False),
        ("#!/usr/bin/env python3\n", True),
        ("x = 1", True),
    ],
)
def test_programs_of_another_kind_are_refused(tmp_path: Path, text: str, is_python: bool) -> None:
    (tmp_path / "run").write_text(text)
    if is_python:
        assert of_script(str(tmp_path / "run")).argv[1:] == (str(tmp_path / "run"),)
        return
    with pytest.raises(UsageError, match="is not a Python script"):
        of_script(str(tmp_path / "run"))


@pytest.mark.parametrize(
    "arguments", [["-W", "ignore", "-m", "project.train", "--lr", "1"], ["-u", "train.py"], ["-mproject", "-c", "x"]]
)
def test_a_run_is_started_as_its_last_attempt_with_more_behind_it(runs: Any, arguments: list[str]) -> None:
    attempts = [{"command": ["/other", "x.py"], "cwd": "/gone"}, {"command": [PYTHON, *arguments], "cwd": "/"}]
    command = of_run(runs.run("exp1", attempts=attempts), ["--epochs", "2"])
    assert command.argv == (PYTHON, *arguments, "--epochs", "2") and command.cwd == "/"


@pytest.mark.parametrize(
    ("attempt", "error", "why"),
    [
        ({}, UsageError, "does not tell how it was started"),
        ({"command": [], "cwd": "/"}, UsageError, "does not tell how it was started"),
        ({"command": "train.py", "cwd": "/"}, UsageError, "does not tell how it was started"),
        ({"command": [PYTHON, "-c", "import ckpt"], "cwd": "/"}, UsageError, "with `python -c`"),
        ({"command": [PYTHON, "-"], "cwd": "/"}, UsageError, "from standard input"),
        ({"command": [PYTHON], "cwd": "/"}, UsageError, "at a prompt"),
        ({"command": [PYTHON, "-X", "dev"], "cwd": "/"}, UsageError, "at a prompt"),
        ({"command": [PYTHON, "-m", "ipykernel_launcher", "-f", "x"], "cwd": "/"}, UsageError, "in a notebook"),
        (
            {"command": [PYTHON, "t.py", "--key", "[hidden]"], "cwd": "/"},
            UsageError,
            "with a secret, which was not kept",
        ),
        ({"command": [PYTHON, "t.py"], "cwd": "/", "world_size": 2}, UsageError, "as one of 2 processes"),
        ({"command": [PYTHON, "t.py"], "cwd": "/gone"}, OperationError, "in /gone, which is gone"),
        ({"command": ["/gone/python", "t.py"], "cwd": "/"}, OperationError, "by /gone/python, which is gone"),
    ],
)
def test_what_cannot_be_started_again(runs: Any, attempt: dict[str, Any], error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        of_run(runs.run("exp1", attempts=[{"started": 1.0, **attempt}]))
