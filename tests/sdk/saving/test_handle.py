"""What a save gives back, by itself: each state, and what it says in it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from ckpt.exceptions import SaveError
from ckpt.records import Checkpoint
from ckpt.saving.handle import SavedCheckpoint

PATH = Path("/r/checkpoints/step-000001.pt")
ELSEWHERE = Path("/r/checkpoints/step-000001-2.pt")
RECORD = Checkpoint(id="i", run="r", path=str(ELSEWHERE), framework="ckpt")


def test_while_it_is_written_only_the_path_is_known() -> None:
    handle = SavedCheckpoint(PATH)
    assert (handle.path, handle.status, handle.done(), handle.id, handle.staged) == (
        PATH,
        "writing",
        False,
        None,
        False,
    )
    assert repr(handle) == "<SavedCheckpoint step-000001.pt, writing>"
    with pytest.raises(TimeoutError, match=r"step-000001\.pt is still being written after 0 s"):
        handle.result(timeout=0)


def test_when_it_is_saved_it_has_the_name_that_it_got() -> None:
    asked: list[str] = []
    handle = SavedCheckpoint(PATH, lambda: asked.append(handle.status))
    handle.saved(RECORD)
    assert (handle.path, handle.status, handle.done(), handle.id) == (ELSEWHERE, "saved", True, "i")
    assert str(handle) == os.fspath(handle) == str(ELSEWHERE)
    assert handle.result() is RECORD
    assert asked == ["saved", "saved"]
    assert not handle.raised


def test_staged_it_has_a_temporary_path_until_it_is_committed() -> None:
    handle = SavedCheckpoint(PATH)
    handle.was_staged(Path("/r/checkpoints/.x.tmp"))
    assert (handle.staged, handle.done(), os.fspath(handle)) == (True, True, "/r/checkpoints/.x.tmp")
    with pytest.raises(SaveError, match=r"\.x\.tmp is staged and not saved yet\ncall commit"):
        handle.result()
    handle.saved(RECORD)
    assert (handle.staged, handle.result()) == (False, RECORD)


@pytest.mark.parametrize("status", ["skipped", "superseded", "failed"])
def test_what_came_to_nothing_says_why_whenever_it_is_opened_or_asked(status: Any) -> None:
    handle = SavedCheckpoint(PATH)
    handle.came_to_nothing(status, "it did not work", "try this")
    assert (handle.status, handle.done(), handle.id, str(handle)) == (status, True, None, str(PATH))
    assert not handle.raised
    for ask in (handle.result, handle.__fspath__):
        with pytest.raises(SaveError, match="it did not work\ntry this"):
            ask()
    assert handle.raised


def test_many_threads_may_wait() -> None:
    handle = SavedCheckpoint(PATH)
    told: list[Any] = []
    threads = [
        threading.Thread(target=lambda ask=ask: told.append(ask()))
        for ask in (handle.result, handle.__str__, handle.__fspath__)
    ]
    for thread in threads:
        thread.start()
    handle.saved(RECORD)
    for thread in threads:
        thread.join(30)
    assert sorted(map(str, told)) == sorted([str(RECORD), str(ELSEWHERE), str(ELSEWHERE)])


def test_one_that_is_staged_while_somebody_opens_it_is_opened_under_its_temporary_path() -> None:
    handle = SavedCheckpoint(PATH)
    told: list[str] = []
    thread = threading.Thread(target=lambda: told.append(os.fspath(handle)))
    thread.start()
    handle.was_staged(Path("/r/checkpoints/.x.tmp"))
    thread.join(30)
    assert told == ["/r/checkpoints/.x.tmp"]
