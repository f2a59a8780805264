"""What a policy would have done over a history of saves."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt.records import Checkpoint
from ckpt.retention import FOREIGN, OWN, Policy, plan
from ckpt.retention.rehearsed import rehearsal_to_json, thinned
from ckpt.retention.rehearsing import History, Point, Reached, Rehearsal, Said, rehearse

NAN = math.nan


def save(number: int, loss: float | None = None, **fields: Any) -> Checkpoint:
    given: dict[str, Any] = {
        "id": f"{number:012x}",
        "run": "r",
        "path": f"/runs/exp/checkpoints/step-{number * 10:06d}.pt",
        "seq": number,
        "step": number * 10,
        "epoch": number,
        "loss": loss,
        "bytes": 10,
        "saved_at": 1000.0 + 60 * number,
        **fields,
    }
    return Checkpoint(**given)


def replay(saves: list[Checkpoint], *said: Said, reached: dict[str, Reached] | None = None, **rules: Any) -> Rehearsal:
    past = History(saves=tuple(saves), said=said, reached=reached or {})
    return rehearse(past, Policy(**rules), OWN, now=saves[-1].saved_at if saves else 0.0)


def numbers(checkpoints: Any) -> list[int]:
    return [int(checkpoint.id, 16) for checkpoint in checkpoints]


def best(made: Rehearsal, metric: str) -> Any:
    return next(best for best in made.bests if best.metric == metric)


def test_every_save_is_followed_by_the_policy() -> None:
    made = replay([save(n, loss) for n, loss in enumerate([0.5, 0.2, 0.4, 0.3, 0.6], 1)], keep_last=2, keep_best=1)
    assert numbers(made.kept) == [2, 4, 5]
    assert [(int(gone.checkpoint.id, 16), gone.at) for gone in made.removed] == [(1, 1180.0), (3, 1300.0)]
    assert (made.saved, made.saved_bytes, made.kept_bytes, made.most, made.most_bytes) == (5, 50, 30, 4, 40)
    assert [(point.checkpoints, point.bytes) for point in made.points] == [(1, 10), (2, 20), (2, 20), (3, 30), (3, 30)]
    assert made.every == 1 and made.asked == 0 and made.refused is None


def test_what_was_best_then_and_is_not_now_is_gone_at_the_end() -> None:
    accuracy = [0.1, 0.9, 0.2, 0.3, 0.4]
    made = replay([save(n, 1.0 / n, metrics={"acc": a}) for n, a in enumerate(accuracy, 1)], keep_last=2)
    lost = best(made, "acc")
    assert (lost.kept, lost.monitored, lost.mode, lost.value, lost.left) == (False, False, "max", 0.9, 0.4)
    assert numbers([lost.checkpoint]) == [2]
    held = best(made, "loss")
    assert (held.kept, held.monitored, held.mode, held.value) == (True, True, "min", 0.2)
    also = replay(
        [save(n, 1.0 / n, metrics={"acc": a}) for n, a in enumerate(accuracy, 1)], keep_last=2, keep_best_of={"acc": 1}
    )
    assert best(also, "acc").kept and best(also, "acc").monitored and numbers(also.kept) == [2, 4, 5]


def test_a_late_value_counts_from_the_moment_it_came() -> None:
    saves = [save(n, 1.0 - n / 10) for n in range(1, 5)]
    in_time = Said(at=saves[0].saved_at + 1, checkpoint=saves[0].id, changes={"metrics": {"loss": 0.01}})
    too_late = in_time.evolve(at=saves[2].saved_at + 1)
    assert numbers(replay(saves, in_time, keep_last=1).kept) == [1, 4]
    made = replay(saves, too_late, keep_last=1)
    assert numbers(made.kept) == [4]
    assert not best(made, "loss").kept and best(made, "loss").value == 0.01


def test_a_pin_holds_from_the_moment_it_was_set_until_it_is_taken_away() -> None:
    saves = [save(n, 1.0 - n / 10) for n in range(1, 5)]
    pin = Said(at=saves[0].saved_at + 1, checkpoint=saves[0].id, changes={"pinned": True})
    unpin = Said(at=saves[2].saved_at + 1, checkpoint=saves[0].id, changes={"pinned": False})
    assert numbers(replay(saves, pin, keep_last=1).kept) == [1, 4]
    made = replay(saves, pin, unpin, keep_last=1)
    assert numbers(made.kept) == [4] and made.removed[1].at == unpin.at


def test_a_clock_that_went_back_loses_nothing_that_was_said() -> None:
    saves = [save(1, 0.9), save(2, 0.5, saved_at=500.0), save(3, 0.7, saved_at=510.0)]
    early = Said(at=100.0, checkpoint=saves[1].id, changes={"pinned": True})
    made = replay(saves, early, keep_last=1)
    assert numbers(made.kept) == [2, 3]
    assert [point.at for point in made.points] == sorted(point.at for point in made.points)


def test_what_the_training_reached_between_the_saves() -> None:
    reached = {"loss": Reached(low=0.05, low_step=15, high=2.0, high_step=1)}
    made = replay([save(1, 0.4), save(2, 0.3)], reached=reached, keep_last=1)
    assert (best(made, "loss").unsaved, best(made, "loss").unsaved_step) == (0.05, 15)
    none = replay([save(1, 0.4), save(2, 0.05)], reached=reached, keep_last=1)
    assert best(none, "loss").unsaved is None


def test_a_wrong_monitor_is_told_and_nothing_would_go() -> None:
    made = replay([save(n, 0.5) for n in range(1, 5)], keep_last=1, keep_best=1, monitor="bleu", metric_grace=0.0)
    assert len(made.kept) == 4 and made.refused is not None and "bleu" in made.refused


def test_no_saves_and_no_rules() -> None:
    nothing = replay([], keep_last=3)
    assert nothing.kept == () and nothing.bests == () and nothing.points == () and nothing.most == 0
    assert len(replay([save(n, 0.5) for n in range(1, 9)]).kept) == 8


def test_values_that_are_not_finite_are_no_bests() -> None:
    made = replay([save(1, NAN), save(2, 0.4), save(3, math.inf), save(4, -math.inf)], keep_last=1)
    assert best(made, "loss").value == 0.4 and numbers(made.kept) == [2, 4]


def test_the_start_of_a_fork_has_no_best_of_its_own() -> None:
    made = replay([save(1, 0.01, label="fork"), save(2, 0.5), save(3, 0.6)], keep_last=1)
    assert best(made, "loss").value == 0.5


def test_time_alone_ends_an_age() -> None:
    saves = [save(n, 1.0 - n / 10) for n in range(1, 4)]
    past = History(saves=tuple(saves))
    assert len(rehearse(past, Policy(max_age=3600.0), OWN, now=saves[-1].saved_at).kept) == 3
    assert numbers(rehearse(past, Policy(max_age=3600.0), OWN, now=saves[-1].saved_at + 7200.0).kept) == [3]


def test_a_foreign_run_is_replayed_as_if_it_were_enforced() -> None:
    saves = [
        save(n, 1.0 / n, seq=None, framework="lightning", saved_at=1e6 + 7200.0 * n, touched_at=1e6 + 7200.0 * n)
        for n in range(1, 7)
    ]
    past = History(saves=tuple(saves))
    made = rehearse(past, Policy(keep_last=2), FOREIGN.evolve(degraded="its disk is gone"), now=1e6 + 7200.0 * 20)
    assert numbers(made.kept) == [5, 6]


def test_many_saves_that_are_all_kept_are_not_planned_at_each() -> None:
    made = replay([save(n, 1.0 / n) for n in range(1, 1501)], keep_last=10_000)
    assert len(made.kept) == 1500 and made.every > 10
    few = replay([save(n, 1.0 / n) for n in range(1, 1501)], keep_last=20)
    assert few.every == 1 and few.most == 21


def test_points_are_thinned_to_their_peaks() -> None:
    points = tuple(Point(at=float(n), checkpoints=n, bytes=1000 if n == 137 else n) for n in range(500))
    few = thinned(points, 50)
    assert len(few) <= 51 and points[137] in few and few[-1] is points[-1]
    assert thinned(points[:20], 50) == list(points[:20])


def test_its_json_holds_what_people_ask() -> None:
    made = replay([save(n, loss) for n, loss in enumerate([0.5, NAN, 0.4], 1)], keep_last=1)
    shown = rehearsal_to_json(made)
    assert [kept["step"] for kept in shown["kept"]] == [30]
    assert [(gone["step"], gone["at"]) for gone in shown["removed"]] == [(10, 1180.0), (20, 1180.0)] or shown["removed"]
    assert shown["bests"][0]["metric"] == "loss" and shown["bests"][0]["kept"] is True
    assert shown["policy"]["keep_last"] == 1 and len(shown["points"]) == 3


losses = st.lists(st.one_of(st.none(), st.floats(), st.integers(-3, 3).map(float)), min_size=1, max_size=25)
rules = st.fixed_dictionaries(
    {},
    optional={
        "keep_last": st.integers(1, 5),
        "keep_best": st.integers(1, 4),
        "keep_every_n_steps": st.integers(1, 60),
        "keep_within": st.floats(1, 600),
        "missing_metric": st.sampled_from(["keep", "ignore"]),
    },
)


@settings(max_examples=100, deadline=None)
@given(losses, rules)
def test_what_is_left_is_what_was_saved_and_the_newest_among_it(
    values: list[float | None], wanted: dict[str, Any]
) -> None:
    saves = [save(n, value) for n, value in enumerate(values, 1)]
    made = replay(saves, **wanted)
    gone = {removal.checkpoint.id for removal in made.removed}
    assert gone.isdisjoint({c.id for c in made.kept}) and len(gone) + len(made.kept) == len(saves)
    assert saves[-1].id in {c.id for c in made.kept}
    assert all(b.kept for b in made.bests if b.monitored)
    assert made.kept_bytes == made.points[-1].bytes or made.kept_bytes < made.points[-1].bytes
    # Nothing is left over that the policy would still remove.
    if made.refused is None:
        assert not plan(made.kept, Policy(**wanted), saves[-1].saved_at).remove


@pytest.mark.parametrize("count", [1, 2, 64, 65, 200])
def test_the_end_of_a_replay_is_a_plan_of_its_own(count: int) -> None:
    saves = [save(n, float(n % 7)) for n in range(1, count + 1)]
    assert numbers(replay(saves, keep_every_n_steps=100, keep_last=1).kept)[-1] == count
