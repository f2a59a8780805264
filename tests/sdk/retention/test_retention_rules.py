"""Every rule of a policy, alone and beside others: what it keeps, and what it says of the rest."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ckpt.records import Checkpoint, Verdict
from ckpt.retention import Policy, RunPlan, combine, plan

HOUR, DAY = 3600.0, 86400.0
NOON = 1_700_006_400.0 - 1_700_006_400.0 % DAY + 12 * HOUR
"""Noon of a day in UTC."""
NAN = math.nan


def checkpoint(number: int, **fields: Any) -> Checkpoint:
    given: dict[str, Any] = {
        "id": f"{number:012x}",
        "run": "r1",
        "path": f"/runs/exp/checkpoints/step-{number:06d}.pt",
        "seq": number,
        "step": number,
        "epoch": number,
        "bytes": 10,
        "saved_at": NOON + number,
        **fields,
    }
    return Checkpoint(**given)


def decide(checkpoints: list[Checkpoint], now: float = NOON + 10 * DAY, **rules: Any) -> RunPlan:
    return plan(checkpoints, Policy(**rules), now)


def kept(made: RunPlan) -> set[int]:
    return {decision.checkpoint.seq or 0 for decision in made.keep}


def verdict(made: RunPlan, number: int) -> Verdict:
    return made.verdicts()[f"{number:012x}"]


def reasons(made: RunPlan, number: int) -> list[str]:
    return [reason.text for reason in verdict(made, number).reasons]


def misses(made: RunPlan, number: int) -> list[str]:
    return [reason.text for reason in verdict(made, number).near_misses]


# Every N epochs, every N steps


def by_epoch(*epochs: float | None) -> list[Checkpoint]:
    return [checkpoint(number, epoch=epoch) for number, epoch in enumerate(epochs, 1)]


def epochs_kept(made: RunPlan) -> list[float | None]:
    """Epochs that the rule keeps, whatever else does."""
    return sorted(d.checkpoint.epoch for d in made.keep if any(r.rule == "every_n_epochs" for r in d.verdict.reasons))  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("n", "epochs", "expected"),
    [
        (10, range(1, 51), [10, 20, 30, 40, 50]),
        (10, range(50), [0, 10, 20, 30, 40, 49]),
        (10, range(1, 58), [10, 20, 30, 40, 50, 57]),
        (10, [7, 12, 21, 29, 33], [12, 21, 29]),
        (10, [8, 12], [12]),
        (10, [5], [5]),
        (10, [4], []),
        (10, [0, 1, 4], [0]),
        (10, [9, 10, 11], [10]),
        (10, [14, 15], [14, 15]),
        (3, [1, 2, 4, 5], [4, 5]),
        (1, [1, 1.5, 2, 2.25], [1, 2]),
        (1, [0.5, 1.4], [1.4]),
        (2, [-4, -2, -1, 0, 1], [-4, -2, 0, 1]),
        (7, [NAN, math.inf, -math.inf, None, 7], [7]),
        (1000, [2**60, 10**300], []),
    ],
)
def test_every_n_keeps_the_multiple_or_the_closest_to_it(n: int, epochs: Any, expected: list[float]) -> None:
    assert epochs_kept(decide(by_epoch(*epochs), keep_every_n_epochs=n)) == expected


def test_every_n_keeps_the_newest_of_several_of_one_value() -> None:
    made = decide([*by_epoch(10, 10, 20, 19, 20, 11), checkpoint(9)], keep_every_n_epochs=10)
    assert kept(made) == {2, 5, 9}
    assert misses(made, 1)[0] == "every 10 epochs: a newer one of epoch 10 is kept"
    assert misses(made, 4)[0] == "every 10 epochs: nearest grid 20 taken"
    assert misses(made, 6)[0] == "every 10 epochs: nearest grid 10 taken"


def test_every_n_says_what_it_is_closest_to() -> None:
    world = [checkpoint(n, step=step) for n, step in enumerate([100, 990, 1010, 1900, None, 60], 1)]
    made = decide(world, keep_every_n_steps=1000)
    assert kept(made) == {3, 4, 6}
    assert reasons(made, 3) == ["every 1000 steps: step 1010, closest to 1000"]
    assert misses(made, 2)[0] == "every 1000 steps: nearest grid 1000 taken by 1010"
    assert misses(made, 1)[0] == "every 1000 steps: nearest grid 0 takes step 0 alone"
    assert misses(made, 5)[0] == "every 1000 steps: no step recorded"


def test_steps_that_drifted_after_a_resume_still_have_one_for_each_multiple() -> None:
    drifted = [*range(100, 1000, 100), *range(1037, 3000, 100)]
    made = decide([checkpoint(n, step=step) for n, step in enumerate(drifted, 1)], keep_every_n_steps=500)
    by_rule = [d.checkpoint.step for d in made.keep if any(r.rule == "every_n_steps" for r in d.verdict.reasons)]
    assert by_rule == [2937, 2537, 2037, 1537, 1037, 500]


# Listed steps, tags


def test_listed_steps_stay_and_of_one_step_the_newest() -> None:
    world = [checkpoint(n, step=step) for n, step in enumerate([5, 7, 7, 8, None, 9], 1)]
    made = decide(world, keep_steps=(7, 8, 1000))
    assert kept(made) == {3, 4, 6}
    assert reasons(made, 4) == ["step 8 is listed"]
    assert misses(made, 2)[0] == "steps: a newer one of the same step is kept"
    assert misses(made, 1)[0] == misses(made, 5)[0] == "steps: not listed"


def test_keep_tagged_alone_leaves_the_tagged_and_the_floor() -> None:
    world = [checkpoint(1), checkpoint(2, tags=("paper",)), checkpoint(3, tags=("best", "best-2")), checkpoint(4)]
    made = decide(world, keep_tagged=True)
    assert kept(made) == {2, 4}
    assert "tagged: no tag" in misses(made, 1) and "tagged: no tag" in misses(made, 3)


# Stretches of time


def test_the_newest_of_every_hour_stays() -> None:
    times = [0, 10, 59.9, 60, 100, 121, 300]
    world = [checkpoint(n, saved_at=NOON + 60 * minutes) for n, minutes in enumerate(times, 1)]
    made = decide(world, keep_every=[{"every": HOUR}])
    assert kept(made) == {3, 5, 6, 7}
    assert reasons(made, 3)[0].startswith("every hour: newest from ") and reasons(made, 3)[0].endswith(
        "12:00:00 UTC on"
    )
    assert "a newer one from" in misses(made, 1)[0]


def test_stretches_within_count_back_from_the_newest_and_not_from_now() -> None:
    world = [checkpoint(n, saved_at=NOON + n * HOUR / 2) for n in range(1, 101)]
    policy = {"keep_every": ["1h for 1d", "1d"]}
    made = decide(world, **policy)
    hours = {n for n in range(1, 101) if any("every hour" in text for text in texts(made, n))}
    newest = NOON + 50 * HOUR
    assert hours == {100} | {n for n in range(1, 100, 2) if NOON + n * HOUR / 2 >= newest - DAY}
    assert "every hour within 1 day of the newest: too old" in misses(made, 2)
    assert kept(made) == kept(decide(world, now=NOON + 400 * DAY, **policy)), "a pause lets nothing melt away"


def texts(made: RunPlan, number: int) -> list[str]:
    return reasons(made, number) if verdict(made, number).action == "keep" else []


def test_a_growing_run_keeps_one_of_every_closed_stretch_for_good() -> None:
    policy = Policy(keep_every=({"every": HOUR, "within": None},))
    present: list[Checkpoint] = []
    first_kept: dict[int, int] = {}
    for number in range(1, 200):
        present.append(checkpoint(number, saved_at=NOON + number * 1000.0, metrics={"loss": number % 7}))
        gone = {d.checkpoint.id for d in plan(present, policy, NOON + number * 1000.0 + 5).remove}
        present = [c for c in present if c.id not in gone]
        closed = {
            int(c.saved_at // HOUR): c.seq or 0 for c in present if c.saved_at < present[-1].saved_at // HOUR * HOUR
        }
        for hour, kept_one in closed.items():
            assert first_kept.setdefault(hour, kept_one) == kept_one
    assert set(first_kept) == set(range(int(NOON // HOUR), int(present[-1].saved_at // HOUR)))


def test_keep_within_counts_back_from_the_newest() -> None:
    world = [checkpoint(n, saved_at=NOON + n * HOUR) for n in range(1, 11)]
    made = decide(world, now=NOON + 1000 * DAY, keep_within=3 * HOUR)
    assert kept(made) == {7, 8, 9, 10} and made.changes_at is None
    assert reasons(made, 8) == ["within 3 hours of the newest"]
    assert misses(made, 6)[0].startswith("within 3 hours of the newest: saved ")


def test_a_time_that_is_still_to_come_moves_no_window() -> None:
    """A machine whose clock ran ten years ahead for one save."""
    world = [checkpoint(n, saved_at=NOON + n * HOUR) for n in range(1, 6)]
    odd = world[2].evolve(saved_at=NOON + 3650 * DAY)
    made = decide([*world[:2], odd, *world[3:]], now=NOON + 6 * HOUR, keep_within=2 * HOUR)
    assert kept(made) == {3, 4, 5}
    assert made.changes_at == odd.saved_at
    ahead = [c.evolve(saved_at=c.saved_at + 3650 * DAY) for c in world]
    assert kept(decide(ahead, now=NOON, keep_within=HOUR)) == {1, 2, 3, 4, 5}
    first = decide([*world[:4], world[4].evolve(saved_at=NOON + 3650 * DAY)], now=NOON + 6 * HOUR, keep_within=HOUR)
    assert kept(first) == {3, 4, 5}


def test_times_of_1970_and_beyond_all_calendars_are_times() -> None:
    world = [checkpoint(1, saved_at=0.0), checkpoint(2, saved_at=-5e9), checkpoint(3, saved_at=1e15), checkpoint(4)]
    made = decide(world, keep_every=["1h"], keep_within=HOUR, max_age=HOUR)
    assert kept(made) == {1, 2, 3, 4}
    assert reasons(made, 1) == ["every hour: newest from 1970-01-01 00:00:00 UTC on"]
    assert all(texts(made, n) for n in range(1, 5))


def test_max_age_goes_by_the_clock_and_leaves_the_floor() -> None:
    world = [checkpoint(n, saved_at=NOON + n * DAY, metrics={"loss": n}) for n in range(1, 6)]
    made = decide(world, now=NOON + 6 * DAY, max_age=2 * DAY)
    assert kept(made) == {1, 5}, "the one of exactly that age is too old; the best and the newest stay"
    assert made.changes_at == NOON + 7 * DAY
    assert misses(made, 4)[0].startswith("older than max_age 2 days since ")
    assert kept(decide(world, now=NOON + 6 * DAY - 1, max_age=2 * DAY)) == {1, 4, 5}
    old = decide(world, now=NOON + 600 * DAY, max_age=2 * DAY)
    assert kept(old) == {1, 5} and old.changes_at is None


# The best by several metrics, and metrics that are not there yet


def measured(number: int, **metrics: float) -> Checkpoint:
    return checkpoint(number, metrics=metrics)


def test_the_best_of_each_metric_stay_in_its_own_direction() -> None:
    world = [measured(n, val_loss=abs(n - 3), acc=abs(n - 6), wer=n) for n in range(1, 11)]
    made = decide(world, monitor="val_loss", keep_best=1, keep_best_of={"acc": 2, "wer": {"keep": 1, "mode": "max"}})
    assert kept(made) == {3} | {1, 10} | {10}
    assert reasons(made, 10) == ["best #2 of 2 by acc (4)", "best #1 of 1 by wer (10)", "newest complete (floor)"]
    assert misses(made, 9) == [
        "best: #9, keeps 1 (6 worse than #1)",
        "best by acc: #4, keeps 2 (1 worse than #2)",
        "best by wer: #2, keeps 1 (1 worse than #1)",
    ]


def test_no_monitor_holds_no_best_one() -> None:
    world = [measured(n, loss=n) for n in range(1, 6)]
    assert kept(decide(world, keep_last=2)) == {1, 4, 5}
    assert kept(decide(world, keep_last=2, monitor="none")) == {4, 5}
    assert kept(decide(world, keep_last=2, monitor="none", keep_best_of={"loss": 1})) == {1, 4, 5}


def test_a_metric_that_may_still_come_keeps_its_checkpoint_waiting() -> None:
    world = [measured(1, val_loss=0.1), measured(2), measured(3, val_loss=NAN), measured(4), measured(5, val_loss=0.2)]
    rules = {"monitor": "val_loss", "keep_best": 1, "metric_grace": 600.0}
    made = decide(world, now=NOON + 100, **rules)
    assert kept(made) == {1, 2, 4, 5}, "NaN is a value: nothing better is to be expected"
    assert reasons(made, 2)[0].startswith("waits for val_loss until ") and reasons(made, 2)[0].endswith("12:10:02 UTC")
    assert made.changes_at == NOON + 602
    later = decide(world, now=NOON + 603, **rules)
    assert kept(later) == {1, 4, 5} and later.changes_at == NOON + 604
    assert misses(later, 2) == ["no val_loss within 10 minutes of its save: not ranked"]
    ignored = decide(world, now=NOON + 100, missing_metric="ignore", **rules)
    assert kept(ignored) == {1, 5} and misses(ignored, 2) == ["no val_loss recorded: not ranked"]


def test_the_start_of_a_fork_waits_for_nothing() -> None:
    world = [checkpoint(1, label="fork"), measured(2, val_loss=1.0), measured(3, val_loss=2.0)]
    made = decide(world, now=NOON + 9, monitor="val_loss", keep_best=1)
    assert reasons(made, 1) == ["start of this fork"] and made.changes_at is None


def test_every_metric_that_a_rule_asks_for_is_waited_for_and_no_other() -> None:
    world = [measured(1, loss=1.0, acc=0.5), measured(2, loss=2.0), measured(3, loss=3.0), measured(4, loss=4.0)]
    assert kept(decide(world, now=NOON + 9, keep_last=1)) == {1, 4}
    made = decide(world, now=NOON + 9, keep_last=1, keep_best_of={"acc": 1})
    assert kept(made) == {1, 2, 3, 4} and reasons(made, 2)[0].startswith("waits for acc until")


def test_a_metric_that_came_late_ranks_at_once() -> None:
    world = [measured(n, val_loss=n) for n in range(1, 5)]
    rules = {"monitor": "val_loss", "keep_best": 1, "keep_last": 1}
    assert kept(decide(world, **rules)) == {1, 4}
    world[2] = world[2].evolve(metrics={"val_loss": 0.5}, measured={"val_loss": 3})
    assert kept(decide(world, **rules)) == {3, 4}


# The size of a run


def sized(*sizes: int) -> list[Checkpoint]:
    return [checkpoint(number, bytes=size) for number, size in enumerate(sizes, 1)]


@pytest.mark.parametrize(
    ("used", "limit", "gone"),
    [
        ([10] * 8, 100, 0),
        ([10] * 8 + [5], 100, 0),
        ([10] * 9, 100, 1),
        ([10] * 10, 100, 2),
        ([10] * 20, 100, 12),
        ([30, 30, 30], 100, 1),
        ([100], 50, 0),
        ([0, 0, 90, 5], 100, 1),
    ],
)
def test_the_oldest_go_from_85_percent_on_until_80(used: list[int], limit: int, gone: int) -> None:
    made = decide(sized(*used), max_bytes=limit)
    removed = [d.checkpoint.seq for d in made.remove]
    assert len(removed) == gone
    weighing = [number for number, size in enumerate(used, 1) if size]
    assert sorted(removed) == weighing[:gone], "the oldest of those by which something is gained"


def test_a_budget_takes_only_what_no_rule_keeps_and_says_by_how_much_it_is_missed() -> None:
    made = decide(sized(*[10] * 20), max_bytes=100, keep_last=12)
    assert kept(made) == set(range(9, 21)) and made.over_bytes == 20
    assert misses(made, 1) == [
        "last: #20, keeps 12",
        "max_bytes: 200 % of 100 bytes used, oldest #1 of what no rule keeps",
    ]
    enough = decide(sized(*[10] * 10), max_bytes=100, keep_last=3)
    assert kept(enough) == {3, 4, 5, 6, 7, 8, 9, 10} and enough.over_bytes == 0
    assert reasons(enough, 3) == ["max_bytes: room, 80 % of 100 bytes used when older ones are gone"]
    assert reasons(decide(sized(*[10] * 5), max_bytes=100, keep_last=1), 2) == [
        "max_bytes: room, 50 % of 100 bytes used"
    ]


def test_bytes_that_have_another_name_elsewhere_are_not_gained() -> None:
    shared = [checkpoint(n, bytes=50, unique_bytes=0 if n < 3 else 30) for n in range(1, 6)]
    made = decide(shared, max_bytes=100)
    assert kept(made) == {1, 2, 4, 5}
    assert combine([made]).freed_at_purge == 30
    without = decide(shared, keep_last=1)
    assert combine([without]).freed_at_purge == 60


# Together


def test_all_rules_together_keep_the_union_and_say_every_reason() -> None:
    world = [
        checkpoint(n, metrics={"val_loss": abs(n - 30), "acc": n % 9}, saved_at=NOON + n * HOUR, bytes=1)
        for n in range(1, 61)
    ]
    rules: dict[str, Any] = {
        "keep_last": 2,
        "keep_best": 2,
        "keep_every_n_epochs": 25,
        "keep_every_n_steps": 20,
        "keep_best_of": {"acc": 1},
        "keep_every": ["1d"],
        "keep_within": 3 * HOUR,
        "keep_steps": [7],
        "keep_tagged": True,
        "max_age": 2 * HOUR,
    }
    now = NOON + 60 * HOUR
    together = decide(world, now=now, monitor="val_loss", **rules)
    alone: set[int] = set()
    for name, value in rules.items():
        alone |= kept(decide(world, now=now, monitor="val_loss", **{name: value}))
    assert kept(together) == alone
    assert [reason.rule for reason in verdict(together, 60).reasons] == [
        "last", "every_n_steps", "every", "within", "max_age", "newest",
    ]  # fmt: skip
    missed = {reason.rule for reason in verdict(together, 2).near_misses}
    assert missed == {
        "last",
        "best",
        "every_n_epochs",
        "every_n_steps",
        "steps",
        "every",
        "within",
        "max_age",
        "tagged",
    }
    everything = decide(world, now=now, monitor="val_loss", max_bytes=1000, **rules)
    assert kept(everything) == set(range(1, 61)), "there is room"
