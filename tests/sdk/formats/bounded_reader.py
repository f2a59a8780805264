"""Inspects paths in processes of their own, under bounds, and reports everything that they did.

Usage: python bounded_reader.py MEGABYTES SECONDS < PATHS, separated by NUL bytes. Writes a line of JSON for each:
`state`, `framework`, `problems`, `bytes_read`, `seconds` of the processor, `peak_mb` of memory above what the process
began with, `events` (what Python's audit hooks saw besides reading below the path), or `died` with how it ended.
"""

from __future__ import annotations

import codecs
import json
import os
import resource
import signal
import sys
import time
import traceback
from typing import Any

from ckpt.formats import inspect, inspection_to_json, reading

WALL_S = 60
_HARMLESS = frozenset({"builtins.id", "os.listdir", "os.scandir", "sys._getframe", "object.__getattr__", "time.sleep"})
_CODECS = ("ascii", "latin-1", "raw-unicode-escape", "unicode-escape", "utf-8", "utf-32-le", "utf-32-be")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def watch(path: str, events: list[str]) -> None:
    """Notes every audited event but that of opening, for reading, what lies at or below `path`."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            opened, _, flags = args
            inside = isinstance(opened, str) and (opened == path or opened.startswith(path + "/"))
            if inside and not (flags or 0) & _WRITING:
                return
        elif event in _HARMLESS:
            return
        if len(events) < 20:
            events.append(f"{event} {args!r}"[:300])

    sys.addaudithook(hook)


def peak_mb() -> float:
    """Most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def held_mb() -> float:
    """Memory that this process holds now."""
    with open("/proc/self/statm", "rb") as stream:
        return int(stream.read().split()[1]) * resource.getpagesize() / (1 << 20)


def answer(path: str) -> dict[str, Any]:
    """What `inspect` makes of one path."""
    events: list[str] = []
    before = held_mb()
    start = time.process_time()
    watch(path, events)
    said: dict[str, Any]
    try:
        found = inspect(path)
        json.dumps(inspection_to_json(found), allow_nan=False)
        said = {"state": found.state, "framework": found.framework, "format": found.format}
        said |= {"problems": [problem[:300] for problem in found.problems[:5]], "bytes_read": found.bytes_read}
        said |= {"unknown_globals": found.unknown_globals[:5]}
    except OSError as error:
        said = {"state": "unreadable", "problems": [str(error.strerror)]}
    seconds = time.process_time() - start
    return {**said, "seconds": seconds, "peak_mb": round(peak_mb() - before, 1), "events": events}


def bounded(path: str, megabytes: int, seconds: int) -> dict[str, Any]:
    """`answer` in a process of its own that may not take more than this."""
    reading_end, writing_end = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading_end)
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        signal.alarm(WALL_S)
        try:
            told = json.dumps(answer(path))
        except BaseException:  # noqa: BLE001
            told = json.dumps({"died": traceback.format_exc(limit=-4)})
        with open(writing_end, "w") as out:
            out.write(told)
        os._exit(0)
    os.close(writing_end)
    with open(reading_end) as stream:
        told = stream.read()
    _, status = os.waitpid(child, 0)
    found: dict[str, Any] = json.loads(told) if told else {"died": f"signal {os.waitstatus_to_exitcode(status)}"}
    return found


def main() -> None:
    """Reads the paths and writes the answers."""
    megabytes, seconds = map(int, sys.argv[1:])
    for name in _CODECS:
        codecs.lookup(name)
    assert reading.FAMILIES
    for raw in sys.stdin.buffer.read().split(b"\0"):
        if raw:
            told = bounded(os.fsdecode(raw), megabytes, seconds)
            sys.stdout.write(json.dumps({"path": os.fsdecode(raw), **told}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
