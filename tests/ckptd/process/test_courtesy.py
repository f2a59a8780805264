"""Priorities of real processes, as the system tells them."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from typing import Any

import pytest

linux = pytest.mark.skipif(
    not (sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")), reason="I/O classes are Linux's"
)
# ioprio_get: the number of the call is one above that of ioprio_set on both machines.
ASK = """
import ctypes, json, os, threading
from ckptd.process import courtesy
def facts():
    number = courtesy._IOPRIO_SET[os.uname().machine] + 1
    threads = [int(name) for name in os.listdir("/proc/self/task")]
    classes = [ctypes.CDLL(None).syscall(ctypes.c_long(number), 1, one) >> 13 for one in threads]
    return {"nice": [os.getpriority(os.PRIO_PROCESS, one) for one in threads], "classes": classes}
"""


def in_a_process(code: str, *wrap: str) -> Any:
    done = subprocess.run([*wrap, sys.executable, "-c", ASK + code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@linux
def test_it_steps_back_with_all_its_threads_and_children() -> None:
    told = in_a_process(
        "waiting = threading.Event(); early = threading.Thread(target=waiting.wait); early.start()\n"
        "missed = courtesy.be_courteous()\n"
        "child = os.popen('nice').read().strip()\n"
        "print(json.dumps({**facts(), 'missed': missed, 'child': child})); waiting.set()"
    )
    assert told == {"nice": [10, 10], "classes": [3, 3], "missed": [], "child": "10"}


@linux
def test_who_is_nicer_already_stays_so_and_still_gets_the_io_class() -> None:
    told = in_a_process("courtesy.be_courteous(); print(json.dumps(facts()))", "nice", "-n", "15")
    assert told == {"nice": [15], "classes": [3]}


@linux
@pytest.mark.skipif(
    subprocess.run(["sh", "-c", "command -v strace"], capture_output=True).returncode != 0, reason="strace"
)
def test_what_is_refused_is_told() -> None:
    told = in_a_process(
        "print(json.dumps({'missed': courtesy.be_courteous()}))",
        *("strace", "-f", "-o", "/dev/null", "-e", "trace=ioprio_set,setpriority"),
        *("-e", "inject=ioprio_set,setpriority:error=EPERM"),
    )
    assert told["missed"] == [
        "nice 10 could not be had: Operation not permitted",
        "idle I/O class could not be had: Operation not permitted",
    ]


def test_as_many_files_as_may_be_open() -> None:
    code = (
        "import resource\nfrom ckptd.process import courtesy\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 900))\n"
        "print(courtesy.raise_descriptor_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "900 900 900\n"
