"""Changes under a key happen once, over threads and restarts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpt.exceptions import AddressError, LockedError, OperationError, UsageError
from ckptd.journal import Journal
from ckptd.serving import repeats
from ckptd.serving.repeats import KeyTaken, Repeats


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.jsonl")
    yield journal
    journal.close()


class Act:
    def __init__(self, error: Exception | None = None) -> None:
        self.calls = 0
        self.error = error

    def __call__(self) -> dict[str, Any]:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return {"call": self.calls}


def test_a_repeat_is_answered_and_not_done_again(journal: Journal) -> None:
    known, act = Repeats(journal), Act()
    for _ in range(3):
        assert known.once("/v1/marks", {"key": "k", "ref": "x"}, act) == {"call": 1}
    assert known.once("/v1/marks", {"key": "other", "ref": "x"}, act) == {"call": 2}
    for _ in range(2):
        known.once("/v1/marks", {"ref": "x"}, act)
    assert act.calls == 4


def test_a_key_stands_for_one_request(journal: Journal) -> None:
    known, act = Repeats(journal), Act()
    known.once("/v1/marks", {"key": "k", "ref": "x", "kind": "pin"}, act)
    # The order of names says nothing.
    known.once("/v1/marks", {"kind": "pin", "ref": "x", "key": "k"}, act)
    for page, body in (("/v1/marks", {"key": "k", "ref": "y", "kind": "pin"}), ("/v1/undo", {"key": "k"})):
        with pytest.raises(KeyTaken, match="another request"):
            known.once(page, body, act)
    assert act.calls == 1
    assert issubclass(KeyTaken, LockedError)


@pytest.mark.parametrize("key", [3, "", "k" * 201, ["k"]])
def test_what_is_no_key_is_refused(journal: Journal, key: Any) -> None:
    with pytest.raises(UsageError, match="'key'"):
        Repeats(journal).once("/v1/marks", {"key": key}, Act())


def test_a_failure_is_not_remembered(journal: Journal) -> None:
    known, act = Repeats(journal), Act(AddressError("nothing"))
    for page in ("/v1/marks", "/v1/undo"):
        for _ in range(2):
            with pytest.raises(AddressError):
                known.once(page, {"key": page}, act)
    assert act.calls == 4
    act.error = None
    assert Repeats(journal).once("/v1/undo", {"key": "/v1/undo"}, act) == {"call": 5}


def test_many_at_once_act_once(journal: Journal) -> None:
    known, go_on, answers = Repeats(journal), threading.Event(), []
    begun: list[int] = []

    def act() -> dict[str, Any]:
        begun.append(1)
        assert go_on.wait(20)
        return {"done": True}

    threads = [
        threading.Thread(target=lambda: answers.append(known.once("/v1/undo", {"key": "k"}, act))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    while not begun:
        time.sleep(0.01)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert answers == [{"done": True}] * 8
    assert len(begun) == 1


def test_an_undo_is_answered_again_after_a_restart_and_other_pages_are_not(journal: Journal) -> None:
    act = Act()
    before = Repeats(journal)
    before.once("/v1/undo", {"key": "k"}, act)
    before.once("/v1/marks", {"key": "m"}, act)
    after = Repeats(journal)
    assert after.once("/v1/undo", {"key": "k"}, act) == {"call": 1}
    with pytest.raises(KeyTaken):
        after.once("/v1/apply", {"key": "k"}, act)
    assert after.once("/v1/marks", {"key": "m"}, act) == {"call": 3}


def test_an_undo_that_a_crash_cut_short_says_so(journal: Journal) -> None:
    journal.record("asked", page="/v1/undo", key="k", digest=repeats._digest("/v1/undo", {"key": "k"}))
    act = Act()
    with pytest.raises(OperationError, match="ended while"):
        Repeats(journal).once("/v1/undo", {"key": "k"}, act)
    assert act.calls == 0


def test_old_keys_are_forgotten(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "REMEMBERED", 3)
    known, act = Repeats(journal), Act()
    for key in "abcd":
        known.once("/v1/marks", {"key": key}, act)
    assert known.once("/v1/marks", {"key": "d"}, act) == {"call": 4}
    assert known.once("/v1/marks", {"key": "a"}, act) == {"call": 5}


def test_an_undo_through_the_service_takes_one_mark_back_over_a_restart(
    make_world: Callable[[], Any], runs: Any
) -> None:
    runs.run("exp1", checkpoints=1)
    world = make_world()
    world.post("/v1/roots", path=str(runs.base))
    for name in ("one", "two"):
        world.post("/v1/marks", ref="exp1@latest", kind="tag", name=name)
    undone = world.post("/v1/undo", key="mine")
    world.journal.close()
    again = make_world()
    again.scanner.full()
    assert again.post("/v1/undo", key="mine") == undone
    tags = again.get("/v1/resolve?ref=exp1@latest")["checkpoint"]["tags"]
    assert ("one" in tags, "two" in tags) == (True, False)
