"""What a policy keeps, removes and skips, and what it says of each."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from ckpt.exceptions import StateError, UsageError
from ckpt.records import Checkpoint, Verdict
from ckpt.retention import OWN, Policy, RunPlan, combine, moving_tags, plan, plan_to_json

NAN = math.nan


def checkpoint(number: int, value: float | None = None, **fields: Any) -> Checkpoint:
    given: dict[str, Any] = {
        "id": f"{number:012x}",
        "run": "r1",
        "path": f"/runs/exp/checkpoints/step-{number:06d}.pt",
        "seq": number,
        "step": number * 100,
        "epoch": number,
        "metrics": {} if value is None else {"val_loss": value},
        "bytes": 10,
        "saved_at": 1000.0 + number,
        **fields,
    }
    return Checkpoint(**given)


def decide(checkpoints: list[Checkpoint], **rules: Any) -> RunPlan:
    settings = {"monitor": "val_loss", **rules}
    return plan(checkpoints, Policy(**settings), 5000.0)


def kept(made: RunPlan) -> set[int]:
    return {int(decision.checkpoint.id, 16) for decision in made.keep}


def verdict(made: RunPlan, number: int) -> Verdict:
    return made.verdicts()[f"{number:012x}"]


def reasons(made: RunPlan, number: int) -> list[str]:
    return [reason.text for reason in verdict(made, number).reasons]


def misses(made: RunPlan, number: int) -> list[str]:
    return [reason.text for reason in verdict(made, number).near_misses]


def test_fifty_epochs_keep_the_last_five_the_best_three_and_every_tenth() -> None:
    best = {7: 0.11, 23: 0.12, 48: 0.13}
    world = [checkpoint(epoch, best.get(epoch, 0.5 + epoch / 1000)) for epoch in range(1, 51)]
    made = decide(world, keep_last=5, keep_best=3, keep_every_n_epochs=10)
    assert kept(made) == {46, 47, 48, 49, 50} | {7, 23, 48} | {10, 20, 30, 40, 50}
    assert len(made.keep) + len(made.remove) == 50 and made.skip == ()
    assert reasons(made, 50) == ["last #1 of 5", "every 10 epochs: epoch 50", "newest complete (floor)"]
    assert reasons(made, 48) == ["last #3 of 5", "best #3 of 3 by val_loss (0.13)"]
    assert misses(made, 45) == [
        "last: #6, keeps 5",
        "best: #46, keeps 3 (0.42 worse than #3)",
        "every 10 epochs: nearest grid 50 taken",
    ]
    assert combine([made]).freed_at_purge == 10 * len(made.remove)
    assert combine([made]).freed_now == 0


def test_reasons_carry_rank_limit_value_and_cutoff() -> None:
    made = decide([checkpoint(n, n / 10) for n in range(1, 7)], keep_best=2)
    best = verdict(made, 1).reasons[0]
    assert (best.rule, best.rank, best.limit, best.metric, best.value) == ("best", 1, 2, "val_loss", 0.1)
    near = verdict(made, 4).near_misses[0]
    assert (near.rule, near.rank, near.limit, near.value, near.cutoff) == ("best", 4, 2, 0.4, 0.2)


def test_lists_are_newest_first() -> None:
    made = decide([checkpoint(n, n / 10) for n in range(1, 9)], keep_last=2)
    assert [d.checkpoint.seq for d in made.keep] == [8, 7, 1]
    assert [d.checkpoint.seq for d in made.remove] == [6, 5, 4, 3, 2]


def test_a_policy_without_rules_keeps_everything_complete() -> None:
    made = decide([checkpoint(1), checkpoint(2, state="incomplete"), checkpoint(3)])
    assert kept(made) == {1, 3} and made.remove == ()
    assert reasons(made, 1) == ["no rule: everything is kept"]
    assert reasons(made, 2) == ["incomplete"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"pinned": True}, "pinned"),
        ({"tags": ("best-2", "paper", "v1")}, "tagged paper, v1"),
        ({"held_by": ("parent of exp2",)}, "held: parent of exp2"),
        ({"label": "fork"}, "start of this fork"),
    ],
)
def test_the_floor_keeps_what_is_protected(fields: dict[str, Any], reason: str) -> None:
    world = [checkpoint(1, 0.9, **fields), checkpoint(2, 0.1), checkpoint(3, 0.5), checkpoint(4, 0.4)]
    made = decide(world, keep_last=1)
    assert kept(made) == {1, 2, 4}
    assert reasons(made, 1) == [reason]
    assert reasons(made, 2) == ["best by val_loss (0.1)"]
    assert reasons(made, 4) == ["last #1 of 1", "newest complete (floor)"]


def test_the_floor_keeps_what_links_elsewhere_lead_to() -> None:
    world = [checkpoint(1, 0.9), checkpoint(2, 0.1), checkpoint(3, 0.5), checkpoint(4, 0.4)]
    situation = OWN.evolve(linked={world[0].id: ("paper/fi\ngure.pt", "b/base"), world[3].id: ("latest",), "x": ("y",)})
    made = plan(world, Policy(monitor="val_loss", keep_last=1), 5000.0, situation=situation)
    assert kept(made) == {1, 2, 4}
    assert reasons(made, 1) == ["linked from paper/fi\\x0agure.pt, b/base"]
    assert reasons(made, 4) == ["last #1 of 1", "newest complete (floor)", "linked from latest"]
    assert misses(made, 3) == misses(decide(world, keep_last=1), 3), "it is no rule that anything comes near to"


def test_tags_that_move_by_themselves_protect_nothing() -> None:
    world = [checkpoint(1, 0.9, tags=("best", "best-1", "last", "latest")), checkpoint(2, 0.1), checkpoint(3, 0.2)]
    assert kept(decide(world, keep_last=1)) == {2, 3}


def test_newest_goes_by_the_saves_not_by_step_or_name() -> None:
    rolled_back = [checkpoint(1, step=9900), checkpoint(2, step=10000), checkpoint(3, step=500)]
    made = plan(rolled_back, Policy(keep_last=1), 0.0)
    assert kept(made) == {3}
    foreign_order = [checkpoint(n, seq=None, step=n, saved_at=9.0) for n in (9900, 10000)]
    assert kept(plan(foreign_order, Policy(keep_last=1), 0.0)) == {10000}


def test_best_follows_the_direction_and_of_equals_the_newer() -> None:
    world = [checkpoint(1, 0.5), checkpoint(2, 0.9), checkpoint(3, 0.9), checkpoint(4, 0.1), checkpoint(5, 0.3)]
    made = decide(world, keep_best=1, mode="max")
    assert kept(made) == {3, 5}
    assert misses(made, 2) == ["best: #2, keeps 1 (equal to #1, older)"]
    assert kept(decide(world, keep_best=1, mode="min")) == {4, 5}


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("odd", [NAN, math.inf, -math.inf])
def test_values_that_are_not_finite_are_never_best_and_move_no_other(odd: float, mode: str) -> None:
    plain = [checkpoint(1, 3.0), checkpoint(3, 1.0), checkpoint(4, 2.0), checkpoint(9, 2.5)]
    without = decide(plain, keep_best=2, mode=mode)
    with_odd = decide([*plain, checkpoint(2, odd), checkpoint(5)], keep_best=2, mode=mode)
    assert kept(with_odd) == kept(without)
    said = "val_loss is NaN: not ranked" if math.isnan(odd) else "val_loss is infinite: not ranked"
    assert misses(with_odd, 2) == [said]
    assert misses(with_odd, 5) == ["no val_loss within 1 hour of its save: not ranked"]


def test_a_kept_checkpoint_with_a_value_that_cannot_be_ranked_says_so() -> None:
    made = decide([checkpoint(1, 0.2), checkpoint(2, NAN)], keep_last=1)
    assert reasons(made, 2) == ["last #1 of 1", "newest complete (floor)"]
    assert misses(made, 2) == ["val_loss is NaN: not ranked"]


def test_a_run_of_nan_alone_keeps_its_newest() -> None:
    made = decide([checkpoint(n, NAN) for n in range(1, 5)], keep_best=3)
    assert kept(made) == {4} and made.refused is None


def test_a_monitor_that_nobody_recorded_removes_nothing_and_says_what_exists() -> None:
    world = [checkpoint(n, n / 10, pinned=n == 1) for n in range(1, 6)]
    made = plan(world, Policy(keep_best=1, monitor="val_los"), 5000.0)
    assert made.refused == "no checkpoint has val_los recorded, so the best is unknown; did you mean val_loss?"
    assert made.remove == () and kept(made) == {1, 5}
    assert [d.checkpoint.seq for d in made.skip] == [4, 3, 2]
    assert reasons(made, 2) == [f"not removed: {made.refused}"]
    assert combine([made]).freed_at_purge == 0
    assert plan(world, Policy(keep_last=1, monitor="accuracy"), 0.0).refused is not None
    assert plan(world, Policy(keep_last=1), 0.0).refused is None, "nobody asked for the loss"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"state": "writing"}, "still being written"),
        ({"state": "incomplete", "problems": ("no marker",)}, "incomplete: no marker"),
        ({"state": "corrupt", "problems": ("bad \x1b[31mCRC",)}, "unreadable: bad \\x1b[31mCRC"),
        ({"state": "trashed"}, "already in the trash"),
    ],
)
def test_what_is_not_complete_is_skipped_and_counts_for_nothing(fields: dict[str, Any], reason: str) -> None:
    made = decide([checkpoint(1, 0.5), checkpoint(2, 0.4), checkpoint(3, 0.1, pinned=True, **fields)], keep_last=1)
    assert kept(made) == {2}
    assert verdict(made, 3).action == "skip" and reasons(made, 3) == [reason]
    assert moving_tags([checkpoint(1), checkpoint(3, 0.1, **fields)], Policy()) == {f"{1:012x}": ("latest",)}


def test_an_empty_run_has_an_empty_plan() -> None:
    made = plan([], Policy(keep_last=1), 1.0)
    assert (made.run, made.keep, made.remove, made.skip, made.refused) == ("", (), (), (), None)
    assert plan([], Policy(), 1.0, run="r9").run == "r9"


def test_checkpoints_of_two_runs_are_refused() -> None:
    with pytest.raises(UsageError, match="of 2 runs"):
        plan([checkpoint(1), checkpoint(2, run="r2")], Policy(keep_last=1), 0.0)


def test_the_moving_tags() -> None:
    world = [checkpoint(1, 0.3), checkpoint(2, 0.1), checkpoint(3, 0.2), checkpoint(4, NAN), checkpoint(5, 0.9)]
    one, two, three, five = (f"{n:012x}" for n in (1, 2, 3, 5))
    policy = Policy(monitor="val_loss", keep_best=3)
    assert moving_tags(world, policy) == {
        five: ("latest",),
        two: ("best", "best-1"),
        three: ("best-2",),
        one: ("best-3",),
    }
    assert moving_tags(world, Policy(monitor="val_loss")) == {five: ("latest",), two: ("best", "best-1")}
    assert moving_tags(world, Policy(monitor="val_loss", tag_best=False)) == {five: ("latest",)}
    assert moving_tags([checkpoint(1, loss=0.5)], Policy(monitor="none")) == {one: ("latest",)}
    assert moving_tags([checkpoint(4, NAN)], policy) == {f"{4:012x}": ("latest",)}
    assert moving_tags([], policy) == {}
    newest_and_best = moving_tags([checkpoint(1, 0.3), checkpoint(2, 0.1)], Policy(monitor="val_loss"))
    assert newest_and_best == {two: ("best", "best-1", "latest")}


def test_a_fork_start_is_never_best() -> None:
    world = [checkpoint(0, 0.01, label="fork"), checkpoint(1, 0.5), checkpoint(2, 0.6)]
    assert moving_tags(world, Policy(monitor="val_loss"))[f"{1:012x}"] == ("best", "best-1")
    assert reasons(decide(world, keep_best=1), 0) == ["start of this fork"]


def test_the_same_world_has_the_same_plan_id_at_any_time() -> None:
    world = [checkpoint(n, n / 10) for n in range(1, 6)]
    policy = Policy(keep_last=2, monitor="val_loss")
    first = combine([plan(world, policy, 1.0)])
    assert len(first.id) == 8 and int(first.id, 16) >= 0
    assert combine([plan(world[::-1], policy, 9e9)]).id == first.id
    changes: list[tuple[list[Checkpoint], Policy]] = [
        (world, Policy(keep_last=3, monitor="val_loss")),
        ([*world, checkpoint(6, 0.6)], policy),
        ([world[0].evolve(pinned=True), *world[1:]], policy),
        ([*world[:-1], world[-1].evolve(tags=("paper",))], policy),
        ([world[0].evolve(state="corrupt"), *world[1:]], policy),
        ([*world[:-1], world[-1].evolve(held_by=("parent of x",))], policy),
        ([c.evolve(run="other") for c in world], policy),
    ]
    ids = {combine([plan(changed, other, 1.0)]).id for changed, other in changes}
    assert len(ids) == len(changes) and first.id not in ids
    moved = [world[0], world[1], *(c.evolve(tags=("latest",)) for c in world[2:])]
    assert combine([plan(moved, policy, 1.0)]).id == first.id, "tags that follow from the rest do not matter"


def test_plans_of_several_runs_are_one_plan_whatever_their_order() -> None:
    one = plan([checkpoint(n, n / 10) for n in range(1, 5)], Policy(keep_last=1), 0.0)
    two = plan([checkpoint(n, n / 10, run="r2", bytes=7) for n in range(1, 4)], Policy(keep_last=1), 0.0)
    both = combine([one, two])
    assert both.id == combine([two, one]).id and both.id != combine([one]).id
    assert both.runs == (one, two)
    assert both.freed_at_purge == 3 * 10 + 2 * 7


def test_the_json_of_a_plan() -> None:
    world = [checkpoint(1, 0.5), checkpoint(2, 0.1), checkpoint(3, NAN), checkpoint(4, state="writing")]
    made = combine([decide(world, keep_last=1)])
    shown = plan_to_json(made)
    assert list(shown) == ["id", "runs", "freed_now", "freed_at_purge"]
    assert (shown["id"], shown["freed_now"], shown["freed_at_purge"]) == (made.id, 0, 10)
    (run,) = shown["runs"]
    assert run["run"] == "r1" and run["policy"]["keep_last"] == 1 and run["refused"] is None
    assert [[c["step"] for c in run[part]] for part in ("keep", "remove", "skip")] == [[300, 200], [100], [400]]
    removed = run["remove"][0]
    assert {"id", "path", "step", "epoch", "bytes", "metrics", "saved_at", "reasons", "near_misses"} <= removed.keys()
    assert [miss["rule"] for miss in removed["near_misses"]] == ["last", "best"]
    assert run["keep"][0]["nonfinite"] == ["val_loss"]
    json.dumps(shown, allow_nan=False)


def test_a_policy_survives_its_json() -> None:
    policy = Policy(keep_last=5, keep_best=3, monitor="acc", keep_every_n_steps=10, tag_best=False, keep_for=1.5)
    assert policy.mode == "max"
    assert Policy.from_json(json.loads(json.dumps(policy.to_json()))) == policy
    assert Policy.from_json({}) == Policy() == Policy.from_json(Policy().to_json())
    assert Policy.from_json({"keep_last": None, "monitor": None, "mode": None}) == Policy()


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [(None, "min"), ("val_loss", "min"), ("accuracy", "max"), ("val_error", "min"), ("bleu", "max")],
)
def test_a_direction_left_out_follows_the_name(monitor: str | None, mode: str) -> None:
    assert Policy(monitor=monitor).mode == mode


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({"keep_lst": 5}, "'keep_lst' is no field of a policy\ndid you mean keep_last?"),
        ({"zzz": 5}, "known: keep_last"),
        ({"keep_last": 0}, "a policy with keep_last = 0 would keep nothing"),
        ({"keep_last": 0, "keep_best": 0}, "keep_last = 0 and keep_best = 0 would keep nothing"),
        ({"keep_last": 0, "keep_best": 3}, "keep_last is 0, and has to be 1 or more"),
        ({"keep_best": -1}, "keep_best is -1, and has to be 1 or more"),
        ({"keep_every_n_epochs": True}, "keep_every_n_epochs is True, and has to be a whole number"),
        ({"keep_every_n_steps": 2.0}, "keep_every_n_steps is 2.0, and has to be a whole number"),
        ({"keep_last": "5"}, "keep_last is '5', and has to be a whole number"),
        ({"monitor": ""}, "monitor is ''"),
        ({"monitor": 3}, "monitor is 3"),
        ({"mode": "lowest"}, "mode is 'lowest', and has to be 'min' or 'max'"),
        ({"tag_best": 1}, "tag_best is 1"),
        ({"tag_best": None}, "tag_best is None"),
        ({"keep_for": -1}, "keep_for is -1, and has to be 0 seconds or more"),
        ({"keep_for": "1 month"}, "keep_for is '1 month'"),
        ({"keep_for": NAN}, "keep_for is nan"),
        ([], "a policy has to be an object"),
        ("keep_last=5", "a policy has to be an object"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(raw: Any, text: str) -> None:
    with pytest.raises(StateError) as caught:
        Policy.from_json(raw)
    assert text in str(caught.value)
