"""The command `ckptd` as a process whose output goes nowhere good."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COMMANDS = (["--help"], ["config", "check"], ["once"])


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", COMMANDS)
def test_output_that_cannot_be_written_is_told_in_a_line(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-m", "ckptd", *arguments], stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (3, b"ckptd: No space left on device\n")


@pytest.mark.parametrize("arguments", COMMANDS)
def test_closed_streams_are_no_mistake(arguments: list[str]) -> None:
    command = ["sh", "-c", 'exec "$0" "$@" >&-', sys.executable, "-m", "ckptd", *arguments]
    done = subprocess.run(command, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")
