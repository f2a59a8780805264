"""What waits for a person's word: told once, and forgotten with its run."""

from __future__ import annotations

from ckptd.events import Events
from ckptd.journal import Journal
from ckptd.keeping.asks import TOGETHER, Asks


def test_what_waits_is_told_once() -> None:
    events = Events(Journal(None))
    asks = Asks(events, lambda run: True)
    asks.ask("a", "plan-1", "too many")
    asks.ask("a", "plan-1", "too many")
    asks.ask(TOGETHER, "plan-2", "too many together")
    assert [(event["run"], event["plan"]) for event in events.since(None)] == [("a", "plan-1"), (None, "plan-2")]
    asks.ask("a", "plan-3", "too many")
    assert [ask["plan"] for ask in asks.all()] == ["plan-3", "plan-2"]
    asks.settle("a")
    assert [ask["run"] for ask in asks.all()] == [None]


def test_what_waited_for_a_run_that_is_gone_is_forgotten() -> None:
    known = {"a", "b"}
    asks = Asks(Events(Journal(None)), known.__contains__)
    for run in (*sorted(known), TOGETHER):
        asks.ask(run, f"plan of {run}", "too many")
    known.remove("a")
    assert {ask["run"] for ask in asks.all()} == {"b", None}
    known.clear()
    known.add("c")
    asks.ask("c", "plan of c", "too many")
    assert set(asks._waiting) == {"c", TOGETHER}, "nobody has to ask for it to be forgotten"
