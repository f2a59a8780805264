"""A daemon in which a part breaks when asked: `python broken_daemon.py PART TRIGGER ckptd-arguments…`.

    deaf      the kernel's queue of changes is closed under the one who reads it
    threads   an exception is raised in every thread that belongs to watching
    looks     every look at what changed fails
    full      every full look fails

It breaks as soon as the file TRIGGER exists, and the looks work again when that is gone.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ckptd import cli
from ckptd.looking.scanner import Scanner


def close_queues() -> None:
    """Puts an empty file into the place of every inotify descriptor."""
    for name in os.listdir("/proc/self/fd"):
        try:
            is_queue = "inotify" in os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if is_queue:
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, int(name))
            os.close(null)


def kill_threads() -> None:
    """Raises in the threads of the watching library; one that waits dies when it wakes."""
    for thread in threading.enumerate():
        if "watchdog" in type(thread).__module__ and thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(RuntimeError))


def breaking(act: Any, trigger: Path) -> Any:
    """A method that fails while the trigger is there."""

    def broken(*arguments: Any, **options: Any) -> Any:
        if trigger.exists():
            raise RuntimeError("broken on purpose")
        return act(*arguments, **options)

    return broken


def main() -> None:
    """Runs the daemon as its command does."""
    part, trigger = sys.argv[1], Path(sys.argv[2])
    sys.argv[:] = ["ckptd", *sys.argv[3:]]
    if part == "looks":
        Scanner.dirty = breaking(Scanner.dirty, trigger)  # type: ignore[method-assign]
    elif part == "full":
        Scanner.full = breaking(Scanner.full, trigger)  # type: ignore[method-assign]
    else:
        act = {"deaf": close_queues, "threads": kill_threads}[part]

        def wait() -> None:
            while True:
                time.sleep(0.01)
                if trigger.exists():
                    act()
                    trigger.unlink()

        threading.Thread(target=wait, daemon=True).start()
    cli.main()


if __name__ == "__main__":
    main()
