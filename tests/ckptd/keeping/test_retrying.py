from __future__ import annotations

import itertools

from ckptd.keeping import retrying
from ckptd.keeping.retrying import Retries, SomeStay


class Steady:
    def __init__(self) -> None:
        self.now = 10.0

    def __call__(self) -> float:
        return self.now


def test_what_failed_is_put_off_longer_each_time_and_told_each_time() -> None:
    told: list[str] = []
    tried: list[float] = []
    clock = Steady()
    waiting = Retries(lambda what, error: told.append(f"{what}: {error}"), clock)

    def fail() -> None:
        tried.append(clock.now)
        raise OSError("no such disk")

    end = clock.now + 3 * retrying.RETRY_MAX_S
    while clock.now < end:
        waiting.attempt("a", "the run a", fail)
        clock.now += 1.0
    apart = [later - earlier for earlier, later in itertools.pairwise(tried)]
    assert apart[:3] == [60.0, 120.0, 240.0] and apart[-1] == retrying.RETRY_MAX_S
    assert told == ["the run a: no such disk"] * len(tried)
    assert waiting.is_put_off("a") and not waiting.is_put_off("b")


def test_what_went_well_is_not_put_off_and_begins_anew() -> None:
    clock = Steady()
    waiting = Retries(lambda what, error: None, clock)

    def fail() -> None:
        raise OSError

    for _ in range(3):
        waiting.attempt("a", "the run a", fail)
        clock.now += retrying.RETRY_MAX_S
    waiting.attempt("a", "the run a", lambda: None)
    assert not waiting.is_put_off("a")
    waiting.attempt("a", "the run a", fail)
    clock.now += retrying.RETRY_S
    assert not waiting.is_put_off("a")


def test_what_has_to_stay_is_no_failure() -> None:
    told: list[str] = []
    waiting = Retries(lambda what, error: told.append(what))

    def stay() -> None:
        raise SomeStay

    waiting.attempt("a", "the run a", stay)
    assert waiting.is_put_off("a") and told == []


def test_what_is_never_tried_again_is_forgotten() -> None:
    clock = Steady()
    waiting = Retries(lambda what, error: None, clock)

    def fail() -> None:
        raise OSError

    for number in range(100):
        waiting.attempt(f"run {number}", "a run", fail)
    clock.now += 3 * retrying.RETRY_MAX_S
    waiting.attempt("another", "a run", fail)
    assert set(waiting._later) == {"another"}
