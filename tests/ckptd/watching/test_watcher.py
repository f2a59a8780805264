from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpt.scan import Excludes
from ckptd.watching.observer import Observed
from ckptd.watching.watcher import Dirt, Watcher


def nothing(path: str) -> bool:
    return False


class Heard:
    """Dirt that can be waited for. Everything that was dirty is remembered."""

    def __init__(self) -> None:
        self._news = threading.Event()
        self.dirt = Dirt(self._news.set)
        self.seen: dict[str, bool] = {}
        self.everything = False

    def take(self) -> None:
        taken, everything = self.dirt.take()
        for directory, structural in taken.items():
            self.seen[directory] = self.seen.get(directory, False) or structural
        self.everything = self.everything or everything

    def forget(self) -> None:
        """Forgets what is dirty, after what is under way has come."""
        time.sleep(0.2)
        self.dirt.take()
        self.seen, self.everything = {}, False

    def knows(self, path: str | Path) -> bool:
        """Whether a look at what is dirty sees a directory."""
        path = str(path)
        return self.everything or path in self.seen or any(s and path.startswith(d + "/") for d, s in self.seen.items())

    def until(self, wanted: str | Path, seconds: float = 10.0) -> bool:
        """Waits until a directory is dirty itself; its structural flag."""
        self.wait(lambda: str(wanted) in self.seen, f"{wanted} is dirty", seconds)
        return self.seen[str(wanted)]

    def wait(self, check: Callable[[], Any], what: str, seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        self.take()
        while not check():
            assert time.monotonic() < deadline, f"not true: {what}; dirty are {sorted(self.seen)[:20]}"
            self._news.wait(0.05)
            self._news.clear()
            self.take()

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


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    root.mkdir()
    return root


# What is heard


def test_files_and_directories_mark_what_is_dirty(watcher: Watcher, heard: Heard, root: Path) -> None:
    assert watcher.watch({str(root): nothing}) == {str(root)}
    assert watcher.watch({str(root): nothing}) == set()
    (root / "a.pt").write_bytes(b"x")
    assert heard.until(root) is True
    heard.forget()
    (root / "notes.txt").write_bytes(b"x")
    assert heard.until(root) is False
    (root / "new").mkdir()
    assert heard.until(root / "new") is True
    heard.forget()
    (root / "new" / "b.pt").write_bytes(b"x")
    assert heard.until(root / "new") is True


def test_a_link_of_any_name_tells_that_something_is_needed(watcher: Watcher, heard: Heard, root: Path) -> None:
    watcher.watch({str(root): nothing})
    (root / "notes.txt").symlink_to("nothing")
    assert heard.until(root) is True


def test_a_rename_into_place_is_seen_and_the_temporary_name_is_not(watcher: Watcher, heard: Heard, root: Path) -> None:
    watcher.watch({str(root): nothing})
    temporary = root / ".step-1.pt.123-0123abcd.tmp"
    temporary.write_bytes(b"x")
    assert heard.quiet()
    temporary.rename(root / "step-1.pt")
    assert heard.until(root) is True


def test_a_link_and_a_removal_are_seen(watcher: Watcher, heard: Heard, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.pt").write_bytes(b"x")
    watcher.watch({str(root): nothing})
    os.link(tmp_path / "outside.pt", root / "a.pt")
    assert heard.until(root) is True
    heard.forget()
    (root / "a.pt").unlink()
    assert heard.until(root) is True


def test_what_trainings_rewrite_all_the_time_is_not_heard(watcher: Watcher, heard: Heard, root: Path) -> None:
    watcher.watch({str(root): nothing})
    for name in ("states.jsonl", "metrics.csv", "curves.png"):
        (root / name).write_text("x")
    assert heard.quiet()


def test_reading_is_not_heard(watcher: Watcher, heard: Heard, root: Path) -> None:
    (root / "a.pt").write_bytes(b"x")
    watcher.watch({str(root): nothing})
    (root / "a.pt").read_bytes()
    os.listdir(root)
    assert heard.quiet()


def test_a_name_that_is_not_text_is_heard(watcher: Watcher, heard: Heard, root: Path) -> None:
    watcher.watch({str(root): nothing})
    raw = os.fsencode(root) + b"/caf\xe9"
    os.mkdir(raw)
    assert heard.until(os.fsdecode(raw)) is True
    heard.forget()
    with open(raw + b"/a.pt", "wb"):
        pass
    assert heard.until(os.fsdecode(raw)) is True


def test_a_directory_that_is_let_go_is_not_heard_and_costs_nothing(watcher: Watcher, heard: Heard, root: Path) -> None:
    before = watcher.watches
    for number in range(10):
        (root / str(number) / "sub").mkdir(parents=True)
    watcher.watch({str(root): nothing})
    assert watcher.watches == before + 21
    watcher.watch({})
    assert watcher.watches == before
    (root / "a.pt").write_bytes(b"x")
    (root / "1" / "a.pt").write_bytes(b"x")
    assert heard.quiet()


def test_roots_in_each_other_are_both_heard_until_one_is_let_go(watcher: Watcher, heard: Heard, root: Path) -> None:
    (root / "inner").mkdir()
    watcher.watch({str(root): nothing, str(root / "inner"): nothing})
    watcher.watch({str(root / "inner"): nothing})
    (root / "inner" / "a.pt").write_bytes(b"x")
    assert heard.until(root / "inner")
    heard.forget()
    watcher.watch({str(root): nothing})
    (root / "inner" / "b.pt").write_bytes(b"x")
    assert heard.until(root / "inner")


# What is left out


def test_left_out_directories_are_neither_watched_nor_walked(watcher: Watcher, heard: Heard, root: Path) -> None:
    for name in ("node_modules", ".git", "kept"):
        (root / name / "deep" / "er").mkdir(parents=True)
    asked: list[str] = []
    passes_over = Excludes(str(root)).passes_over

    def left_out(path: str) -> bool:
        asked.append(path)
        return passes_over(path)

    before = watcher.watches
    watcher.watch({str(root): left_out})
    assert watcher.watches == before + 4
    assert not [path for path in asked if "/node_modules/" in path or "/.git/" in path]
    (root / "node_modules" / "deep" / "a.pt").write_bytes(b"x")
    (root / ".git" / "new").mkdir()
    assert heard.quiet()


def test_left_out_directories_that_appear_move_and_go_wake_nobody(
    watcher: Watcher, heard: Heard, root: Path, tmp_path: Path
) -> None:
    watcher.watch({str(root): Excludes(str(root)).passes_over})
    before = watcher.watches
    (root / "wandb").mkdir()
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    (tmp_path / "outside").rename(root / "venv")
    (root / "wandb" / "a.pt").write_bytes(b"x")
    (root / "venv" / "deep" / "a.pt").write_bytes(b"x")
    (root / "wandb" / "a.pt").unlink()
    (root / "wandb").rmdir()
    assert heard.quiet()
    assert watcher.watches == before


def test_left_out_below_a_directory_that_moved_in(watcher: Watcher, heard: Heard, root: Path, tmp_path: Path) -> None:
    (tmp_path / "project" / "node_modules" / "x").mkdir(parents=True)
    (tmp_path / "project" / "run").mkdir()
    watcher.watch({str(root): Excludes(str(root)).passes_over})
    before = watcher.watches
    (tmp_path / "project").rename(root / "project")
    heard.until(root / "project")
    assert watcher.watches == before + 2
    watcher.again(str(root))
    assert watcher.watches == before + 2


def test_other_excludes_hold_from_then_on_and_for_all_when_watched_anew(
    watcher: Watcher, heard: Heard, root: Path
) -> None:
    (root / "old").mkdir()
    watcher.watch({str(root): nothing})
    before = watcher.watches
    watcher.watch({str(root): Excludes(str(root), ["old", "new"]).passes_over})
    (root / "new").mkdir()
    assert heard.quiet()
    assert watcher.watches == before
    watcher.again(str(root))
    assert watcher.watches == before - 1


# Directories that come, move and go


def test_a_tree_moved_in_is_dirty_and_watched_below(watcher: Watcher, heard: Heard, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside" / "a" / "b").mkdir(parents=True)
    watcher.watch({str(root): nothing})
    (tmp_path / "outside").rename(root / "in")
    assert heard.until(root / "in") is True
    heard.forget()
    (root / "in" / "a" / "b" / "x.pt").write_bytes(b"x")
    assert heard.until(root / "in" / "a" / "b") is True


def test_a_directory_renamed_into_place_is_dirty_and_watched_under_its_new_name(
    watcher: Watcher, heard: Heard, root: Path
) -> None:
    watcher.watch({str(root): Excludes(str(root)).passes_over})
    for name in (".tmp_a", "tmp-b"):
        (root / name / "sub").mkdir(parents=True)
        (root / name / "sub" / "1.pt").write_bytes(b"x")
        (root / name).rename(root / f"{name}.done".lstrip("."))
    for name in ("tmp_a.done", "tmp-b.done"):
        heard.wait(lambda name=name: heard.knows(root / name / "sub"), f"{name} is dirty")  # type: ignore[misc]
    heard.forget()
    for name in ("tmp_a.done", "tmp-b.done"):
        (root / name / "sub" / "2.pt").write_bytes(b"x")
        assert heard.until(root / name / "sub") is True


def test_a_directory_that_left_is_heard_no_more_and_gives_its_watches_back(
    watcher: Watcher, heard: Heard, root: Path, tmp_path: Path
) -> None:
    (root / "run" / "sub").mkdir(parents=True)
    watcher.watch({str(root): nothing})
    before = watcher.watches
    (root / "run").rename(tmp_path / "elsewhere")
    assert heard.until(root / "run") is True
    assert watcher.watches == before - 2
    heard.forget()
    (tmp_path / "elsewhere" / "sub" / "a.pt").write_bytes(b"x")
    assert heard.quiet()


def test_a_directory_removed_and_made_again_is_watched(watcher: Watcher, heard: Heard, root: Path) -> None:
    watcher.watch({str(root): nothing})
    for _ in range(50):
        (root / "run").mkdir()
        (root / "run").rmdir()
    (root / "run").mkdir()
    assert heard.until(root / "run") is True
    heard.forget()
    (root / "run" / "a.pt").write_bytes(b"x")
    assert heard.until(root / "run") is True


def test_five_hundred_directories_moved_in_are_all_dirty_and_watched(
    watcher: Watcher, heard: Heard, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    for number in range(500):
        (outside / str(number) / "sub").mkdir(parents=True)
    watcher.watch({str(root): nothing})
    before = watcher.watches
    for number in range(500):
        (outside / str(number)).rename(root / str(number))
    heard.wait(lambda: all(heard.knows(root / str(n)) for n in range(500)), "all are dirty")
    assert watcher.watches == before + 1000
    heard.forget()
    for number in range(500):
        (root / str(number) / "sub" / "later.pt").write_bytes(b"x")
    heard.wait(lambda: all(heard.knows(root / str(n) / "sub") for n in range(500)), "all are dirty again")


def test_five_thousand_nested_new_directories_are_all_dirty_and_watched(
    watcher: Watcher, heard: Heard, root: Path
) -> None:
    watcher.watch({str(root): nothing})
    before = watcher.watches
    leaves = [root / f"a{n % 10}" / f"b{n % 100}" / f"c{n}" for n in range(4900)]
    for leaf in leaves:
        leaf.mkdir(parents=True)
    heard.wait(lambda: watcher.watches == before + 4900 + 100 + 10, "all are watched")
    heard.wait(lambda: all(heard.knows(leaf) for leaf in leaves[::97]), "all are dirty")
    heard.forget()
    for leaf in leaves[::97]:
        (leaf / "later.pt").write_bytes(b"x")
    heard.wait(lambda: all(heard.knows(leaf) for leaf in leaves[::97]), "later files are seen")


def test_links_to_directories_are_not_followed(watcher: Watcher, heard: Heard, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (root / "loop").symlink_to(root)
    watcher.watch({str(root): nothing})
    before = watcher.watches
    (root / "link").symlink_to(tmp_path / "outside")
    heard.until(root)
    heard.forget()
    (tmp_path / "outside" / "a.pt").write_bytes(b"x")
    assert heard.quiet()
    assert watcher.watches == before


def test_what_comes_while_a_tree_is_walked_stays_watched(watcher: Watcher, heard: Heard, root: Path) -> None:
    made: list[Path] = []

    def left_out(path: str) -> bool:
        # The walk is in the middle of listing the root, and the event is taken before it goes on.
        if threading.current_thread() is threading.main_thread() and len(made) < 20:
            made.append(root / f"new{len(made)}")
            made[-1].mkdir()
            deadline = time.monotonic() + 10
            while not heard.knows(made[-1]) and time.monotonic() < deadline:
                time.sleep(0.002)
                heard.take()
        return False

    for number in range(20):
        (root / str(number)).mkdir()
    watcher.watch({str(root): left_out})
    assert len(made) == 20
    heard.forget()
    for directory in made:
        (directory / "later.pt").write_bytes(b"x")
    heard.wait(lambda: all(heard.knows(directory) for directory in made), "later files are seen")


# Roots that die


def test_another_directory_in_the_place_of_a_root_is_watched(watcher: Watcher, heard: Heard, root: Path) -> None:
    watcher.watch({str(root): nothing})
    root.rename(root.with_name("old"))
    assert heard.until(root) is True
    root.mkdir()
    assert watcher.watch({str(root): nothing}) == {str(root)}
    heard.forget()
    (root.with_name("old") / "ghost.pt").write_bytes(b"x")
    assert heard.quiet()
    (root / "a.pt").write_bytes(b"x")
    assert heard.until(root) is True


def test_a_root_below_a_renamed_directory_is_found_out(watcher: Watcher, heard: Heard, tmp_path: Path) -> None:
    root = tmp_path / "above" / "runs"
    root.mkdir(parents=True)
    watcher.watch({str(root): nothing})
    (tmp_path / "above").rename(tmp_path / "elsewhere")
    assert watcher.watch({str(root): nothing}) == set()
    assert list(watcher.blind) == [str(root)]
    root.mkdir(parents=True)
    heard.forget()
    watcher.poll()
    assert heard.until(root) is True
    assert watcher.blind == {}
    heard.forget()
    (root / "a.pt").write_bytes(b"x")
    assert heard.until(root) is True


def test_a_root_that_was_removed_is_watched_when_it_is_back(watcher: Watcher, heard: Heard, root: Path) -> None:
    watcher.watch({str(root): nothing})
    root.rmdir()
    assert heard.until(root) is True
    assert watcher.watch({str(root): nothing}) == set()
    root.mkdir()
    assert watcher.watch({str(root): nothing}) == {str(root)}
    heard.forget()
    (root / "a.pt").write_bytes(b"x")
    assert heard.until(root) is True


# Losses, and how they are made good


def test_an_overflow_asks_for_a_full_look_and_fill_watches_what_was_missed(
    watcher: Watcher, heard: Heard, root: Path, tmp_path: Path
) -> None:
    (root / "gone" / "sub").mkdir(parents=True)
    (root / "replaced").mkdir()
    watcher.watch({str(root): Excludes(str(root)).passes_over})
    backend: Any = watcher._backend
    kept = watcher.watches
    with backend._lock:
        limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        for number in range(limit // 2 + 3000):
            os.close(os.open(root / f"{number % 50}.txt", os.O_CREAT | os.O_WRONLY))
            os.unlink(root / f"{number % 50}.txt")
        # None of these can be told any more.
        (root / "missed" / "below").mkdir(parents=True)
        (root / "node_modules" / "x").mkdir(parents=True)
        (root / "gone" / "sub").rmdir()
        (root / "gone").rmdir()
        (root / "replaced").rename(tmp_path / "replaced")
        (root / "replaced").mkdir()
    heard.wait(lambda: watcher.overflows > 0 and heard.everything, "the overflow is told")
    heard.wait(lambda: heard.quiet(0.1), "all events have come")
    watcher.fill()
    assert watcher.watches == kept
    heard.forget()
    for name in ("missed/below", "replaced"):
        (root / name / "a.pt").write_bytes(b"x")
        assert heard.until(root / name) is True
    heard.forget()
    (tmp_path / "replaced" / "a.pt").write_bytes(b"x")
    assert heard.quiet()
    assert watcher.overflows == 1
    assert watcher.state == "watching"


def test_fill_does_nothing_when_nothing_was_lost(watcher: Watcher, root: Path) -> None:
    asked: list[str] = []

    def left_out(path: str) -> bool:
        asked.append(path)
        return False

    (root / "a").mkdir()
    watcher.watch({str(root): left_out})
    asked.clear()
    watcher.fill()
    assert asked == []


def test_an_error_while_an_event_is_taken_loses_nothing(watcher: Watcher, heard: Heard, root: Path) -> None:
    trouble = [True]

    def left_out(path: str) -> bool:
        if trouble[0]:
            raise RuntimeError("a predicate that fails")
        return False

    watcher.watch({str(root): left_out})
    (root / "new").mkdir()
    heard.wait(lambda: heard.everything, "everything is dirty")
    assert watcher.state == "watching"
    trouble[0] = False
    watcher.fill()
    heard.forget()
    (root / "new" / "a.pt").write_bytes(b"x")
    assert heard.until(root / "new") is True


def test_the_beat_tells_a_living_watcher_from_a_dead_one(watcher: Watcher, heard: Heard, root: Path) -> None:
    watcher.watch({str(root): nothing})
    assert watcher.beat(5.0)
    backend: Any = watcher._backend
    backend._reader.stop()
    backend._reader.join()
    assert watcher.state == "polling"
    assert not watcher.beat(0.3)
    watcher.restart()
    heard.wait(lambda: heard.everything, "everything is dirty")
    assert watcher.beat(5.0)
    assert watcher.restarts == 1
    heard.forget()
    (root / "a.pt").write_bytes(b"x")
    assert heard.until(root) is True


def test_a_dead_thread_is_replaced_by_watch_and_by_poll(watcher: Watcher, heard: Heard, root: Path) -> None:
    watcher.watch({str(root): nothing})
    for number, again in enumerate((lambda: watcher.watch({str(root): nothing}), watcher.poll)):
        backend: Any = watcher._backend
        backend._reader.stop()
        backend._reader.join()
        again()
        assert watcher.state == "watching"
        heard.wait(lambda: heard.everything, "everything is dirty")
        heard.forget()
        (root / f"{number}.pt").write_bytes(b"x")
        assert heard.until(root) is True
    assert watcher.restarts == 2


def test_a_busy_thread_misses_the_beat(watcher: Watcher) -> None:
    backend: Any = watcher._backend
    with backend._lock:
        assert not watcher.beat(0.2)
    assert watcher.beat(5.0)


def test_closing_twice_is_fine_and_leaves_no_descriptor(heard: Heard, tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    watcher = Watcher(heard.dirt, tmp_path / "beat")
    watcher.start()
    watcher.watch({str(tmp_path): nothing})
    watcher.restart()
    watcher.close()
    watcher.close()
    assert watcher.state == "polling"
    assert watcher.watches == 0
    assert len(os.listdir("/proc/self/fd")) <= len(before)


# Dirt


def test_many_dirty_directories_are_one_full_look() -> None:
    dirt = Dirt(lambda: None)
    for number in range(600):
        dirt.add(f"/x/{number}", structural=True)
    assert dirt.take() == ({}, True)
    assert dirt.take() == ({}, False)


def test_directories_below_a_dirty_one_are_one() -> None:
    dirt = Dirt(lambda: None)
    dirt.add("/runs/a/b", structural=False)
    dirt.add("/runs", structural=True)
    for number in range(5000):
        dirt.add(f"/runs/{number % 70}/{number}", structural=True)
    dirt.add("/runs-2/a", structural=False)
    dirt.add("/other", structural=False)
    dirt.add("/other/a", structural=True)
    directories, everything = dirt.take()
    assert not everything
    assert directories == {"/runs": True, "/runs-2/a": False, "/other": False, "/other/a": True}


def test_a_burst_wakes_seldom_and_no_addition_is_left_asleep() -> None:
    woken: list[float] = []
    dirt = Dirt(lambda: woken.append(time.monotonic()))
    for number in range(400):
        dirt.add(f"/x/{number}", structural=True)
    assert len(woken) < 100
    dirt.take()
    before = len(woken)
    dirt.add("/x/1", structural=False)
    assert len(woken) == before + 1


# Systems without inotify


def test_the_general_observer_hears_and_leaves_out(tmp_path: Path) -> None:
    told: list[tuple[str, str, bool]] = []
    root = tmp_path / "runs"
    (root / "wandb" / "deep").mkdir(parents=True)
    observed = Observed(lambda *change: told.append(change), lambda overflow: None)
    try:
        assert observed.alive
        assert observed.watch(str(root), Excludes(str(root)).passes_over)
        assert not observed.watch(str(tmp_path / "none"), nothing)
        assert list(observed.blind) == [str(tmp_path / "none")]
        assert observed.roots == {str(root)}
        (root / "wandb" / "deep" / "x.pt").write_bytes(b"x")
        (root / "run").mkdir()
        (root / "run" / "a.pt").write_bytes(b"x")
        deadline = time.monotonic() + 10
        while (str(root / "run"), "a.pt", False) not in told and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (str(root), "run", True) in told
        assert (str(root / "run"), "a.pt", False) in told
        assert not [change for change in told if "wandb" in change[0]]
        observed.unwatch(str(root))
        assert observed.watches == 0
    finally:
        observed.close()
    assert not observed.alive
