"""What `ckpt status`, `watch ls` and `watch add` say of what the daemon told."""

from __future__ import annotations

import time
from typing import Any

from ckpt_tui.output import Paint
from ckpt_tui.render.roots import added_lines, roots_lines
from ckpt_tui.render.status import status_lines

PAINT = Paint(False)


def root(**told: Any) -> dict[str, Any]:
    return {
        "path": "/r", "mode": "observe", "state": "ok", "runs": 2, "checkpoints": 5, "bytes": 10,
        "free_bytes": 3_000_000_000, "full_in_s": None, **told,
    }  # fmt: skip


def status(*roots: dict[str, Any], **daemon: Any) -> list[str]:
    answer = {"daemon": {"pid": 7, "version": "0.1.0", "uptime_s": 200.0, **daemon}, "roots": list(roots)}
    return list(status_lines(answer, paint=PAINT, width=None))


def test_a_daemon_that_is_well() -> None:
    lines = status(root(), rss=30_000_000)
    assert lines[0] == "daemon   running, process 7, version 0.1.0, 30 MB of memory"
    assert lines[1] == "         for 3 min"
    assert lines[-1].split() == ["/r", "observe", "watched", "2", "5", "10", "B", "3.0", "GB"]
    assert not any(line.lstrip().startswith("!") for line in lines)


def test_what_the_daemon_says_of_itself() -> None:
    text = "\n".join(
        status(
            ready=False,
            watcher={"state": "watching", "watches": 1200, "limit": 8192, "blind": 0},
            reloaded={"at": time.time() - 7300, "changed": []},
            config={"path": "/c/config.toml", "rescan_s": 60.0},
            announced={"runs": 3, "checkpoints": 12, "bytes": 3_000_000_000},
        )
    )
    assert "for the first time" in text
    assert "watches  1,200 directories of 8,192 that the kernel allows" in text
    assert "config   /c/config.toml, full look every 1 min, taken anew 2 h ago" in text
    assert "besides  3 runs that trainings announced: 12 checkpoints, 3.0 GB" in text
    assert text.endswith("no directory is watched: `ckpt watch add DIR`")


def test_what_is_not_well_says_what_to_do() -> None:
    lines = status(
        root(path="/a", full_in_s=7300.0),
        root(path="/b", state="degraded", problem="it cannot be reached: No such file or directory"),
        watcher={"state": "polling"},
        problems=["a.json in the catalog was moved aside"],
        errors=2,
        last_error="boom",
        log="/s/ckptd.log",
    )
    text = "\n".join(lines)
    assert "! file events do not come" in text and "ckptd stop && ckptd start tries again" in text
    assert "! a.json in the catalog was moved aside" in text and "see its log: /s/ckptd.log" in text
    assert "! 2 errors, the last: boom" in text
    assert "! the disk of /a is full in 2 h" in text and "`ckpt plan`" in text
    below = lines[next(n for n, line in enumerate(lines) if line.startswith("/b")) + 1 :]
    assert below[0] == "  ! it cannot be reached: No such file or directory"
    assert "nothing in it counts as removed" in below[1]


def test_directories_that_cannot_be_watched_are_counted() -> None:
    text = "\n".join(status(root(), watcher={"state": "watching", "blind": 1}))
    assert "! 1 directory cannot be watched" in text and "`ckpt doctor`" in text


def test_without_a_daemon_nothing_is_watched() -> None:
    lines = list(status_lines({"daemon": {"pid": None}, "roots": [root()]}, paint=PAINT, width=None))
    assert lines[0] == "daemon   not running; `ckptd start` starts it" and "read from the disk" in lines[1]
    assert lines[-1].split()[2] == "readable"


def test_names_from_outside_cannot_drive_the_terminal() -> None:
    odd = root(
        path="/r\x1b[2J",
        exclude=["\x1b]0;x\x07"],
        warnings=["w\x1b\u202e"],
        problem="p\x1b",
    )
    lines = list(roots_lines([odd], paint=PAINT, width=80, details=True))
    lines += added_lines({"root": odd}, paint=PAINT, width=80)
    text = "\n".join([*lines, *status(odd, last_error="e\x1b", errors=1, problems=["p\x1b"])])
    assert "\x1b" not in text and "\u202e" not in text and "\x07" not in text


def test_details_of_a_root() -> None:
    told = root(origin="config.toml", directories=3400, exclude=["old-*", "scratch"], polled="nfs")
    _, _, details, polled = roots_lines([told], paint=PAINT, width=None, details=True)
    assert details == "  named in config.toml  3,400 directories  passes over old-*, scratch"
    assert "looked at again and again instead of watched" in polled and "nfs" in polled


def test_everything_fits_a_terminal() -> None:
    told = root(path="/data/" + "x" * 200, state="degraded", problem="p " * 100, exclude=["e" * 300], full_in_s=5.0)
    lines = list(roots_lines([told], paint=PAINT, width=80, details=True))
    assert all(len(line) <= 80 for line in lines) and "…" in lines[1] and "FULL IN" in lines[0]


def test_a_directory_that_was_named() -> None:
    told = root(directories=12, exclude=["tmp"])
    lines = list(added_lines({"root": told, "absorbed": ["/r/in"], "moved_from": "/old"}, paint=PAINT, width=None))
    assert lines == [
        "watching /r (observe)",
        "  2 runs, 5 checkpoints, 10 B in 12 directories",
        "  passes over tmp",
        "  /r/in lies inside it and is watched with it",
        "  it was /old before; tags, pins and notes came along",
    ]
    assert "no run yet in 1 directory" in "\n".join(
        added_lines({"root": root(runs=0, checkpoints=0, directories=1)}, paint=PAINT, width=None)
    )
