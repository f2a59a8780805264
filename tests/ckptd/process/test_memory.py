"""Arenas of a real process, as its C library counts them."""

from __future__ import annotations

import platform
import re
import subprocess
import sys

import pytest

ASK = """
import ctypes, sys, threading
from ckptd.process import memory
if "share" in sys.argv: assert memory.share_arenas()
ready, done = threading.Barrier(9), threading.Event()
def work():
    held = [bytes(3000) for _ in range(50)]
    ready.wait(); done.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
ready.wait()
ctypes.CDLL(None).malloc_stats()
done.set()
"""


def arenas(*arguments: str) -> int:
    done = subprocess.run([sys.executable, "-c", ASK, *arguments], capture_output=True, text=True, check=True)
    return len(re.findall(r"^Arena \d+:", done.stderr, re.MULTILINE))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_threads_share_two_arenas() -> None:
    assert arenas() > 2
    assert arenas("share") == 2
