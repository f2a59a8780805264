from __future__ import annotations

from ckptd.keeping import patience
from ckptd.keeping.patience import Patience, SomeStay


def test_what_failed_is_put_off_longer_each_time_and_told_each_time() -> None:
    told: list[str] = []
    tried: list[str] = []
    waiting = Patience(lambda what, error: told.append(f"{what}: {error}"))

    def fail() -> None:
        tried.append("a")
        raise OSError("no such disk")

    waiting.attempt("a", "the run a", fail)
    waiting.attempt("a", "the run a", fail)
    assert tried == ["a"] and told == ["the run a: no such disk"]
    assert waiting.is_put_off("a") and not waiting.is_put_off("b")
    waiting._later["a"] = (0.0, waiting._later["a"][1])
    waiting.attempt("a", "the run a", fail)
    assert len(tried) == 2 and waiting._later["a"][1] == 4 * patience.RETRY_S
    waiting._later["a"] = (0.0, patience.RETRY_S)
    waiting.attempt("a", "the run a", lambda: None)
    assert not waiting.is_put_off("a")


def test_what_has_to_stay_is_no_failure() -> None:
    told: list[str] = []
    waiting = Patience(lambda what, error: told.append(what))

    def stay() -> None:
        raise SomeStay

    waiting.attempt("a", "the run a", stay)
    assert waiting.is_put_off("a") and told == []
