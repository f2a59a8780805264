from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ckptd.watcher import Dirt, Watcher


class Heard:
    """Dirt that can be waited for."""

    def __init__(self) -> None:
        self._news = threading.Event()
        self.dirt = Dirt(self._news.set)

    def until(self, wanted: str, seconds: float = 5.0) -> bool:
        """Waits until a directory is dirty; its structural flag."""
        deadline = time.monotonic() + seconds
        seen: dict[str, bool] = {}
        while time.monotonic() < deadline:
            self._news.wait(0.05)
            self._news.clear()
            taken, everything = self.dirt.take()
            seen.update(taken)
            if wanted in seen or (everything and wanted == "everything"):
                return seen.get(wanted, True)
        raise AssertionError(f"{wanted} is not among {seen}")

    def quiet(self, seconds: float = 0.3) -> bool:
        time.sleep(seconds)
        return self.dirt.take() == ({}, False)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def watcher(heard: Heard, tmp_path: Path) -> Iterator[Watcher]:
    watcher = Watcher(heard.dirt, tmp_path / "beat")
    watcher.start()
    yield watcher
    watcher.close()


def test_files_and_directories_mark_what_is_dirty(watcher: Watcher, heard: Heard, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    root.mkdir()
    assert watcher.watch([str(root)]) == {str(root)}
    (root / "a.pt").write_bytes(b"x")
    assert heard.until(str(root)) is True
    heard.quiet()
    (root / "notes.txt").write_bytes(b"x")
    assert heard.until(str(root)) is False
    (root / "new").mkdir()
    assert heard.until(str(root / "new")) is True
    (root / "new" / "b.pt").write_bytes(b"x")
    assert heard.until(str(root / "new")) is True


def test_a_rename_into_place_is_seen_and_the_temporary_name_is_not(
    watcher: Watcher, heard: Heard, tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    root.mkdir()
    watcher.watch([str(root)])
    temporary = root / ".step-1.pt.123-0123abcd.tmp"
    temporary.write_bytes(b"x")
    assert heard.quiet()
    temporary.rename(root / "step-1.pt")
    assert heard.until(str(root)) is True


def test_what_trainings_rewrite_all_the_time_is_not_heard(watcher: Watcher, heard: Heard, tmp_path: Path) -> None:
    watcher.watch([str(tmp_path / "beat")])
    root = tmp_path / "runs"
    root.mkdir()
    watcher.watch([str(root)])
    for name in ("states.jsonl", "metrics.csv", "curves.png"):
        (root / name).write_text("x")
    assert heard.quiet()


def test_a_directory_that_is_let_go_is_not_heard(watcher: Watcher, heard: Heard, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    root.mkdir()
    watcher.watch([str(root)])
    watcher.watch([])
    (root / "a.pt").write_bytes(b"x")
    assert heard.quiet()


def test_another_directory_in_the_same_place_is_watched_again(watcher: Watcher, heard: Heard, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    root.mkdir()
    watcher.watch([str(root)])
    root.rename(tmp_path / "old")
    root.mkdir()
    watcher.again(str(root))
    heard.dirt.take()
    (root / "a.pt").write_bytes(b"x")
    assert heard.until(str(root)) is True


def test_the_beat_tells_a_living_watcher_from_a_dead_one(watcher: Watcher) -> None:
    assert watcher.beat(5.0)
    watcher._observer.stop()
    watcher._observer.join()
    assert not watcher.beat(0.3)
    assert watcher.state == "polling"
    watcher.restart()
    assert watcher.beat(5.0)


def test_an_overflow_asks_for_a_full_look_and_later_events_still_come(
    watcher: Watcher, heard: Heard, tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    root.mkdir()
    watcher.watch([str(root)])
    watcher._observer._inotify_fd.handle_event(SimpleNamespace(is_queue_overflow=True))
    assert watcher.overflows == 1
    assert heard.until("everything")
    (root / "a.pt").write_bytes(b"x")
    assert heard.until(str(root))


def test_fill_watches_what_was_made_while_events_were_lost(watcher: Watcher, heard: Heard, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    (root / "seen").mkdir(parents=True)
    watcher.watch([str(root)])
    fd = watcher._observer._inotify_fd
    handle, fd.handle_event = fd.handle_event, lambda event: None
    (root / "missed").mkdir()
    time.sleep(0.2)
    fd.handle_event = handle
    (root / "missed" / "a.pt").write_bytes(b"x")
    assert heard.quiet()
    watcher.fill()
    (root / "missed" / "b.pt").write_bytes(b"x")
    assert heard.until(str(root / "missed"))


def test_a_refused_watch_is_told(watcher: Watcher, tmp_path: Path) -> None:
    fd = watcher._observer._inotify_fd
    root = tmp_path / "runs"
    (root / "a").mkdir(parents=True)

    def refuse(path: bytes, mask: int) -> None:
        raise OSError(28, "inotify watch limit reached")

    watch = fd._get_or_create_watch
    fd._get_or_create_watch = lambda path, mask: refuse(path, mask) if path.endswith(b"/a") else watch(path, mask)
    watcher.watch([str(root)])
    assert list(watcher.blind) == [str(root / "a")]
    fd._get_or_create_watch = watch
    watcher.fill()
    assert watcher.blind == {}


def test_a_handler_never_raises(heard: Heard) -> None:
    from ckptd.watcher import _Handler

    _Handler(heard.dirt).dispatch(SimpleNamespace(src_path=3, dest_path=None, is_directory=False))  # type: ignore[arg-type]
    assert heard.dirt.take() == ({}, True)


def test_too_many_dirty_directories_are_one_full_look(heard: Heard) -> None:
    for number in range(600):
        heard.dirt.add(f"/x/{number}", structural=True)
    directories, everything = heard.dirt.take()
    assert everything
    assert len(directories) < 600
