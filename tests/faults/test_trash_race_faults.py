"""The trash beside others at the same moment: a second process that does the same, a trainer, a swapped link."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import ckpt
from ckpt.exceptions import CkptError, OperationError
from ckpt.trash import Trash, TrashEntry, placing, stamp_of

TRIES = 8  # of one kind of race in one round
ACTOR = """
import sys
sys.path[:0] = sys.argv[1].split(":")
from pathlib import Path
from ckpt.exceptions import CkptError
from ckpt.trash import placing
print("ready", flush=True)
for line in sys.stdin:
    root, act, what = line.rstrip("\\n").split("\\t")
    trash = placing.possible(root)[0].open()
    try:
        if act == "remove":
            said = trash.remove([Path(what)], run="r", checkpoint={}, plan="p", reasons=[], keep_for_s=60.0).id
        else:
            said = f"{act}d {getattr(trash, act)(what)}"
    except CkptError as error:
        said = "refused: " + error.message.replace("\\n", " ")
    print(said, flush=True)
"""


class Actor:
    """Another process that acts on a trash when it is told to."""

    def __init__(self) -> None:
        places = f"{Path(ckpt.__file__).parent.parent}:{sysconfig.get_path('platlib')}"
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", ACTOR, places], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.hear() == "ready"

    def tell(self, root: Path, act: str, what: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{root}\t{act}\t{what}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")


@pytest.fixture
def actors() -> Iterator[tuple[Actor, Actor]]:
    pair = (Actor(), Actor())
    yield pair
    for actor in pair:
        actor.process.communicate()


def checkpoint(root: Path, name: str = "checkpoint-5", files: int = 20) -> Path:
    directory = root / "exp" / name
    (directory / "inner").mkdir(parents=True)
    for number in range(files):
        (directory / "inner" / f"{number}.pt").write_bytes(name.encode() * 50 + bytes([number]))
    return directory


def remove(trash: Trash, path: Path) -> TrashEntry:
    return trash.remove([path], run="r", checkpoint={}, plan="p", reasons=[], keep_for_s=60.0)


def both(actors: tuple[Actor, Actor], root: Path, first: tuple[str, str], second: tuple[str, str]) -> list[str]:
    """What two processes answer that were told at the same moment."""
    for actor, (act, what) in zip(actors, (first, second), strict=True):
        actor.tell(root, act, what)
    return [actor.hear() for actor in actors]


@pytest.mark.usefixtures("turn")
def test_of_two_that_do_the_same_one_succeeds(actors: tuple[Actor, Actor], tmp_path: Path) -> None:
    directory = checkpoint(tmp_path)
    trash = placing.possible(tmp_path)[0].open()
    stamp = stamp_of(directory)
    for _ in range(TRIES):
        said = both(actors, tmp_path, ("remove", str(directory)), ("remove", str(directory)))
        assert sum(line.startswith("refused: ") for line in said) == 1, said
        (entry,) = trash.entries()
        assert entry.id in said and not directory.exists()
        said = both(actors, tmp_path, ("restore", entry.id), ("restore", entry.id))
        assert sum(line.startswith("refused: ") for line in said) == 1, said
        assert trash.entries() == [] and stamp_of(directory) == stamp
    assert trash.recover() == []


@pytest.mark.usefixtures("turn")
def test_a_restore_beside_a_purge_gives_all_back_or_nothing(actors: tuple[Actor, Actor], tmp_path: Path) -> None:
    trash = placing.possible(tmp_path)[0].open()
    for number in range(TRIES):
        directory = checkpoint(tmp_path, f"checkpoint-{number}")
        stamp = stamp_of(directory)
        entry = remove(trash, directory)
        said = both(actors, tmp_path, ("restore", entry.id), ("purge", entry.id))
        assert sum(line.startswith("refused: ") for line in said) == 1, said
        if said[0].startswith("restored"):
            assert stamp_of(directory) == stamp
        else:
            assert not directory.exists()
        assert trash.entries() == []
    assert trash.recover() == []


@contextlib.contextmanager
def meanwhile(act: Callable[[threading.Event], None]) -> Iterator[None]:
    """Something that goes on in a thread, until the event that it is given is set."""
    stop = threading.Event()
    thread = threading.Thread(target=act, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.usefixtures("turn")
def test_a_trainer_that_deletes_the_directory_meanwhile(tmp_path: Path, chance: random.Random) -> None:
    """Whoever comes first has it. What is left is in one place, and nothing of it is doubled or comes back."""
    trash = placing.possible(tmp_path)[0].open()
    for number in range(TRIES):
        directory = checkpoint(tmp_path, f"checkpoint-{number}", files=40)
        names = {path.name for path in (directory / "inner").iterdir()}
        delay = threading.Event()

        def delete(_: threading.Event, directory: Path = directory, delay: threading.Event = delay) -> None:
            delay.wait(chance.random() * 0.004)
            shutil.rmtree(directory, ignore_errors=True)

        with meanwhile(delete):
            try:
                entry = remove(trash, directory)
            except OperationError:
                entry = None
        assert not directory.exists() or entry is None
        if entry is None:
            assert trash.entries() == []
            shutil.rmtree(directory, ignore_errors=True)
            continue
        shelf = trash.directory / entry.id / "exp" / directory.name / "inner"
        if shelf.exists():
            assert {path.name for path in shelf.iterdir()} <= names
        trash.purge(entry.id)
    assert trash.entries() == [] and trash.recover() == []


@pytest.mark.usefixtures("turn")
@pytest.mark.parametrize("place", ["the checkpoint", "its run"])
def test_a_link_that_is_swapped_in_again_and_again_leads_nowhere(tmp_path: Path, place: str) -> None:
    root, precious = tmp_path / "root", checkpoint(tmp_path / "elsewhere")
    directory = checkpoint(root)
    held = stamp_of(precious.parent)
    where = placing.possible(root)[0]
    placing.make(where)
    swapped, target = (directory, precious) if place == "the checkpoint" else (directory.parent, precious.parent)
    aside = swapped.with_name(".aside")

    def swap(stop: threading.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                os.rename(swapped, aside)
                os.symlink(target, swapped)
            with contextlib.suppress(OSError):
                if swapped.is_symlink():
                    os.unlink(swapped)
                os.rename(aside, swapped)

    acts = 0
    swapping: AbstractContextManager[None] = meanwhile(swap)
    with swapping:
        for _ in range(20 * TRIES):
            trash = where.open()
            with contextlib.suppress(CkptError):
                remove(trash, directory)
                acts += 1
            with contextlib.suppress(CkptError):
                for entry in trash.entries():
                    trash.restore(entry.id)
            assert stamp_of(precious.parent) == held, "what the link leads to was touched"
    for entry in where.open().entries():
        where.open().restore(entry.id)
    found = [*root.rglob("inner/0.pt")]
    assert len(found) == 1, f"{found} after {acts} removals"
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["exp"]
