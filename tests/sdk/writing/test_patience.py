"""Waits for room that anybody may cut short."""

from __future__ import annotations

import threading
import time

from ckpt.writing.patience import Patience


def test_a_wait_lasts_as_long_as_was_said() -> None:
    with Patience().waiting(1, 0.05) as wait:
        began = time.monotonic()
        while wait.pause(0.01):
            pass
        assert time.monotonic() - began >= 0.05 and wait.cut is None
    with Patience().waiting(1, 0.0) as wait:
        assert not wait.pause(10)


def test_a_wait_that_is_cut_ends_at_once_and_says_why() -> None:
    patience, began, ended = Patience(), threading.Event(), threading.Event()

    def work() -> None:
        with patience.waiting(7, 3600) as wait:
            began.set()
            while wait.pause(600):
                pass
            assert wait.cut == "interrupted"
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert began.wait(60)
    patience.cut(8, 0, "another")
    patience.cut(7, 600, "later")
    assert not ended.wait(0.05)
    patience.cut(7, 0, "interrupted")
    assert ended.wait(60)
    thread.join(60)


def test_what_was_cut_before_it_waits_does_not_wait_and_the_next_does() -> None:
    patience = Patience()
    patience.cut(1, 0, "interrupted")
    with patience.waiting(1, 3600) as wait:
        assert not wait.pause(600) and wait.cut == "interrupted"
    with patience.waiting(1, 3600) as wait:
        assert wait.pause(0.0) and wait.cut is None


def test_an_earlier_end_stays() -> None:
    patience = Patience()
    patience.cut(1, 0, "first")
    patience.cut(1, 60, "second")
    with patience.waiting(1, 3600) as wait:
        assert wait.cut == "first"
