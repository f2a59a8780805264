"""What holds of every plan: checked on random runs, policies, situations and times."""

from __future__ import annotations

import json
import math
import random
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ckpt import refs
from ckpt.records import Checkpoint, Reason
from ckpt.retention import OWN, Policy, RunPlan, Situation, combine, moving_tags, plan, plan_to_json
from ckpt.retention.outside import SETTLE_S
from ckpt.retention.series import series_of

CASES = settings(max_examples=60, deadline=None)
NOW = 1.7e9
VALUES = st.one_of(
    st.none(), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0]), st.floats(-2, 2), st.floats()
)
EPOCHS = st.one_of(st.none(), st.integers(-1, 12), st.sampled_from([0.5, 2.0, math.nan, math.inf]))
COUNTS = st.one_of(st.none(), st.integers(1, 6))
TIMES = st.one_of(
    st.integers(-8000, 200).map(lambda ago: NOW + ago),
    st.sampled_from([0.0, -5e9, NOW, NOW - 3600, NOW - 60, NOW + 4e8, 1e13]),
    st.integers(-3, 3).map(lambda minutes: NOW + 60.0 * minutes),
)
SPANS = st.sampled_from([1.0, 30.0, 60.0, 300.0, 3600.0, 86400.0])
KINDS = st.sampled_from([{}, {"weights": 7}, {"weights": 7, "optimizer": 9}, {"other": 3}])


@st.composite
def runs(draw: st.DrawFn, own: bool | None = None) -> list[Checkpoint]:
    """Runs of our own, with rollbacks, and of others, with files among them that are no checkpoints."""
    if own is None:
        own = draw(st.booleans())
    checkpoints = []
    for number in range(draw(st.integers(0, 14))):
        metrics = {name: value for name in ("val_loss", "acc") if (value := draw(VALUES)) is not None}
        folder = draw(st.sampled_from(["r", "r/a"]))
        name = draw(st.sampled_from(["step-{}.pt", "step-{}.pt", "fold_1_epoch_{}.pt", "{}.pt", "step-{}/model.pt"]))
        checkpoints.append(
            Checkpoint(
                id=f"{number:012x}",
                run="r",
                path=f"/{folder}/{name.format(number)}",
                framework="ckpt" if own else draw(st.sampled_from(["torch", "lightning", "lightning", "unknown"])),
                kinds=draw(KINDS),
                seq=number if own else None,
                attempt=draw(st.integers(1, 2)) if own else None,
                step=draw(st.one_of(st.none(), st.integers(0, 30))),
                epoch=draw(EPOCHS),
                loss=draw(VALUES),
                metrics=metrics,
                saved_at=draw(TIMES),
                touched_at=0.0 if own else draw(st.one_of(st.just(0.0), TIMES)),
                bytes=draw(st.integers(0, 100)),
                unique_bytes=draw(st.one_of(st.none(), st.integers(0, 100))),
                state=draw(st.sampled_from(["complete"] * 6 + ["writing", "incomplete", "corrupt"])),
                pinned=draw(st.sampled_from([False, False, False, True])),
                tags=draw(st.sampled_from([(), (), ("latest",), ("best-2",), ("paper",)])),
                held_by=draw(st.sampled_from([(), (), (), ("parent of x",)])),
                label=draw(st.sampled_from([None, None, "best", "fork"] if own else [None, None, None, "export"])),
                pointed=not own and draw(st.sampled_from([False, False, False, True])),
            )
        )
    return checkpoints


RULES = st.fixed_dictionaries(
    {},
    optional={
        "keep_last": COUNTS,
        "keep_best": COUNTS,
        "keep_every_n_epochs": COUNTS,
        "keep_every_n_steps": COUNTS,
        "keep_best_of": st.dictionaries(st.sampled_from(["acc", "loss", "missing"]), st.integers(1, 3), max_size=2),
        "keep_every": st.sampled_from([[60], [3600], ["1m for 10m", "1h"]]),
        "keep_within": SPANS,
        "keep_steps": st.lists(st.integers(0, 30), min_size=1, max_size=4, unique=True),
        "keep_tagged": st.just(True),
        "max_age": SPANS,
    },
)
FOLLOWED = st.fixed_dictionaries(
    {"monitor": st.sampled_from([None, "loss", "val_loss", "acc", "missing"]), "mode": st.sampled_from(["min", "max"])},
    optional={
        "missing_metric": st.sampled_from(["keep", "ignore"]),
        "metric_grace": st.sampled_from([0.0, 100.0, 3600.0]),
        "min_age": st.sampled_from([0.0, 100.0, 3600.0]),
        "include_unknown": st.booleans(),
    },
)
BUDGETS = st.sampled_from([1, 50, 100, 200, 400, 1000])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Checkpoint], Situation]:
    """A run and where it stands: our own, or an enforced one of others."""
    own = draw(st.booleans())
    checkpoints = draw(runs(own))
    in_use = frozenset(c.id for c in checkpoints if draw(st.sampled_from([False] * 9 + [True])))
    if own:
        return checkpoints, Situation(own_policy=draw(st.booleans()), in_use=in_use)
    named = draw(st.sampled_from([False, False, True]))
    guessed = draw(st.sampled_from([False, False, True]))
    return checkpoints, Situation(
        own=False, enforced=True, own_policy=False, named=named, guessed=guessed, in_use=in_use
    )


def gone(made: RunPlan) -> set[str]:
    return {decision.checkpoint.id for decision in made.remove}


def removed(world: tuple[list[Checkpoint], Situation], policy: Policy, now: float = NOW) -> set[str]:
    return gone(plan(world[0], policy, now, situation=world[1]))


def freed(checkpoint: Checkpoint) -> int:
    return checkpoint.bytes if checkpoint.unique_bytes is None else checkpoint.unique_bytes


def said(made: RunPlan) -> str:
    """Everything that a plan says but how long ago something was written."""

    def texts(reasons: tuple[Reason, ...]) -> list[str]:
        return ["settling" if reason.rule == "settling" else repr(reason) for reason in reasons]

    return repr(
        [
            (d.checkpoint.id, d.verdict.action, texts(d.verdict.reasons), texts(d.verdict.near_misses))
            for d in made.decisions
        ]
        + [made.refused, made.ask, made.over_bytes]
    )


def _counted(number: float | None) -> float:
    return -1 if number is None or math.isnan(number) else number


@CASES
@given(worlds(), RULES, FOLLOWED, st.one_of(st.none(), BUDGETS))
def test_every_checkpoint_has_one_verdict_and_the_floor_holds(
    world: tuple[list[Checkpoint], Situation], rules: dict[str, Any], followed: dict[str, Any], budget: int | None
) -> None:
    checkpoints, situation = world
    policy = Policy(**rules, **followed, max_bytes=budget)
    made = plan(checkpoints, policy, NOW, situation=situation)
    assert sorted(d.checkpoint.id for d in made.decisions) == [c.id for c in checkpoints]
    complete = refs.newest_first(c for c in checkpoints if c.state == "complete")
    assert gone(made) <= {c.id for c in complete}
    early = {d.checkpoint.id for d in made.keep if "settling" in [reason.rule for reason in d.verdict.reasons]}
    inside = refs.newest_first(d.checkpoint for d in (*made.keep, *made.remove) if d.checkpoint.id not in early)
    floor = {c.id for c in inside[:1]} | {c.id for c in complete if c.pinned or c.held_by or "paper" in c.tags}
    for metric, mode in [(policy.metric, policy.mode), *((m.metric, m.mode) for m in policy.monitors)]:
        floor |= {c.id for c in refs.best_first([c for c in inside if c.label != "fork"], metric, mode)[:1]}
    floor |= {c.id for c in complete if c.label == "fork"} | situation.in_use
    if not situation.own:
        floor |= {c.id for c in complete if c.pointed}
        rest = max(policy.min_age, SETTLE_S)
        floor |= {c.id for c in complete if (c.touched_at or c.saved_at) > NOW - rest}
        floor |= {max(inside, key=lambda c: (c.saved_at, -inside.index(c))).id} if inside else set()
        for series in {series_of(c) for c in inside}:
            alike = [c for c in inside if series_of(c) == series]
            floor |= {alike[0].id, max(alike, key=lambda c: (_counted(c.step), _counted(c.epoch))).id}
            for metric, mode, _ in policy.monitors:
                ranked = refs.ranking([c.value(metric) for c in alike], mode)
                floor |= {alike[place].id for place in ranked[:1]}
    assert not gone(made) & floor
    assert all(d.verdict.reasons for d in (*made.keep, *made.skip))
    assert all(d.verdict.action == "remove" and not d.verdict.reasons for d in made.remove)
    assert all(d.verdict.near_misses for d in made.remove if d.checkpoint.label != "fork")
    if made.remove:
        assert policy.has_rules and made.refused is None and made.keep
    for part in (made.remove,) if early else (made.keep, made.remove):
        assert [d.checkpoint.id for d in part] == [c.id for c in inside if c.id in {d.checkpoint.id for d in part}]
    json.dumps(plan_to_json(combine([made])), allow_nan=False)


@CASES
@given(runs(own=False), RULES, FOLLOWED, st.one_of(st.none(), BUDGETS), st.sampled_from(["observed", "degraded", "on"]))
def test_of_others_only_what_a_training_plainly_wrote_goes_and_only_when_enforced(
    checkpoints: list[Checkpoint], rules: dict[str, Any], followed: dict[str, Any], budget: int | None, mode: str
) -> None:
    policy = Policy(**rules, **followed, max_bytes=budget)
    situation = Situation(
        own=False, enforced=mode != "observed", own_policy=False, degraded="odd" if mode == "degraded" else None
    )
    made = plan(checkpoints, policy, NOW, situation=situation)
    if mode != "on":
        assert not made.remove and made.ask is None
    for decision in made.remove:
        c = decision.checkpoint
        assert c.framework != "unknown" and c.label != "export" and (c.step is not None or c.epoch is not None)
        assert c.framework == "lightning" or c.kinds.get("weights")
    if made.remove and len(made.remove) > policy.max_share * (len(made.keep) + len(made.remove)):
        assert made.ask is not None and "max_share" in made.ask
    if made.remove and policy.monitor is None and not policy.keep_best_of:
        assert made.ask is not None and "no metric" in made.ask


@CASES
@given(runs(own=False), runs(own=False), RULES, FOLLOWED, st.one_of(st.none(), BUDGETS))
def test_files_that_are_no_checkpoints_never_push_one_out(
    checkpoints: list[Checkpoint],
    others: list[Checkpoint],
    rules: dict[str, Any],
    followed: dict[str, Any],
    budget: int | None,
) -> None:
    policy = Policy(**rules, **followed, max_bytes=budget)
    situation = Situation(own=False, enforced=True, own_policy=False)
    strange = [c.evolve(id=f"f{c.id[1:]}", framework="unknown", state="complete") for c in others]
    without = plan(checkpoints, policy, NOW, situation=situation)
    beside = plan([*checkpoints, *strange], policy, NOW, situation=situation)
    assert gone(beside) == gone(without)
    assume(policy.has_rules)
    assert [d.checkpoint.id for d in beside.keep] == [d.checkpoint.id for d in without.keep]


@CASES
@given(worlds(), RULES, RULES, FOLLOWED)
def test_another_rule_never_removes_more(
    world: tuple[list[Checkpoint], Situation], rules: dict[str, Any], more: dict[str, Any], followed: dict[str, Any]
) -> None:
    fewer = Policy(**rules, **followed)
    added = {name: value for name, value in more.items() if not rules.get(name)}
    if fewer.has_rules:
        assert removed(world, Policy(**{**rules, **added}, **followed)) <= removed(world, fewer)


@CASES
@given(worlds(), RULES, FOLLOWED, BUDGETS)
def test_a_budget_beside_rules_never_removes_more(
    world: tuple[list[Checkpoint], Situation], rules: dict[str, Any], followed: dict[str, Any], budget: int
) -> None:
    """A budget lets stay what no rule keeps. So with it never more goes, in number and in bytes, than without."""
    without = Policy(**rules, **followed)
    if without.has_rules:
        assert removed(world, without.evolve(max_bytes=budget)) <= removed(world, without)


@CASES
@given(runs(own=True), RULES, FOLLOWED, BUDGETS)
def test_a_budget_takes_the_oldest_of_what_nothing_keeps_and_no_more_than_it_needs(
    checkpoints: list[Checkpoint], rules: dict[str, Any], followed: dict[str, Any], budget: int
) -> None:
    """What a further rule does beside a budget: others may go in place of what it keeps, so the set that goes may
    differ; but only of what no rule keeps, oldest first, and by less than one checkpoint more than is needed."""
    made = plan(checkpoints, Policy(**rules, **followed, max_bytes=budget), NOW)
    assume(made.refused is None)
    staying = [d.checkpoint for d in made.keep]
    used = sum(freed(c) for c in staying) + sum(freed(d.checkpoint) for d in made.remove)
    remaining = sum(freed(c) for c in staying)
    assert made.over_bytes == max(0, remaining - budget)
    room = [d.checkpoint for d in made.keep if [r.rule for r in d.verdict.reasons] == ["max_bytes"]]
    if used <= 0.85 * budget:
        assert not made.remove
    if made.remove:
        assert used > 0.85 * budget
        assert remaining + freed(made.remove[0].checkpoint) > 0.8 * budget, "one fewer would not have been enough"
        oldest_that_stays = min((c.seq or 0 for c in room if freed(c)), default=math.inf)
        assert all((d.checkpoint.seq or 0) < oldest_that_stays for d in made.remove)
    if used > 0.85 * budget and remaining > 0.8 * budget:
        assert not any(freed(c) for c in room), "all that would help is gone"


@CASES
@given(worlds(), RULES, FOLLOWED)
def test_a_larger_number_never_removes_more(
    world: tuple[list[Checkpoint], Situation], rules: dict[str, Any], followed: dict[str, Any]
) -> None:
    names = ("keep_last", "keep_best", "keep_within", "max_age")
    larger = {name: rules[name] + 1 for name in names if rules.get(name)}
    more = removed(world, Policy(**{**rules, **larger}, **followed))
    assert more <= removed(world, Policy(**rules, **followed))


@CASES
@given(worlds(), RULES, FOLLOWED, st.one_of(st.none(), BUDGETS), st.randoms(use_true_random=False))
def test_the_same_world_has_the_same_plan_in_any_order(
    world: tuple[list[Checkpoint], Situation],
    rules: dict[str, Any],
    followed: dict[str, Any],
    budget: int | None,
    chance: random.Random,
) -> None:
    checkpoints, situation = world
    policy = Policy(**rules, **followed, max_bytes=budget)
    shuffled = list(checkpoints)
    chance.shuffle(shuffled)
    first, second = (plan(given, policy, NOW, situation=situation) for given in (checkpoints, shuffled))
    assert said(first) == said(second) and combine([first]).id == combine([second]).id
    assert first.changes_at == second.changes_at
    assert moving_tags(checkpoints, policy) == moving_tags(shuffled, policy)


@CASES
@given(
    worlds(),
    RULES,
    FOLLOWED,
    st.one_of(st.none(), BUDGETS),
    st.one_of(st.just(NOW), TIMES),
    st.floats(0, 1),
)
def test_time_alone_changes_nothing_before_a_plan_says_so(
    world: tuple[list[Checkpoint], Situation],
    rules: dict[str, Any],
    followed: dict[str, Any],
    budget: int | None,
    now: float,
    part: float,
) -> None:
    checkpoints, situation = world
    policy = Policy(**rules, **followed, max_bytes=budget)
    made = plan(checkpoints, policy, now, situation=situation)
    assert made.changes_at is None or made.changes_at > now
    end = now + 1e15 if made.changes_at is None else made.changes_at
    for later in (now + part * (end - now), math.nextafter(end, -math.inf)):
        if now <= later < end:
            again = plan(checkpoints, policy, later, situation=situation)
            assert said(again) == said(made) and again.changes_at == made.changes_at
            assert combine([again]).id == combine([made]).id


@CASES
@given(worlds(), RULES, FOLLOWED, st.one_of(st.none(), BUDGETS))
def test_applying_a_plan_leaves_nothing_to_remove(
    world: tuple[list[Checkpoint], Situation], rules: dict[str, Any], followed: dict[str, Any], budget: int | None
) -> None:
    """What a plan keeps, the next plan over the rest keeps too: nothing melts away pass by pass."""
    policy = Policy(**rules, **followed, max_bytes=budget)
    left = [c for c in world[0] if c.id not in removed(world, policy)]
    assert removed((left, world[1]), policy) == set()


@CASES
@given(
    st.lists(st.tuples(st.integers(0, 40), EPOCHS, VALUES, st.integers(1, 900)), max_size=25),
    RULES,
    st.sampled_from(["min", "max"]),
)
def test_a_growing_run_that_is_planned_at_every_save_ends_like_one_that_is_planned_once(
    saves: list[tuple[int, float | None, float | None, int]], rules: dict[str, Any], mode: str
) -> None:
    """Nothing is lost by acting early: no rule lets go of what it would want again."""
    policy = Policy(**rules, monitor="loss", mode=mode, missing_metric="ignore")
    everything: list[Checkpoint] = []
    present: list[Checkpoint] = []
    now = NOW
    for number, (step, epoch, loss, pause) in enumerate(saves):
        now += pause
        metrics = {} if loss is None else {"acc": -loss}
        new = Checkpoint(
            id=f"{number:012x}", run="r", path=f"/r/{number}", seq=number, step=step, epoch=epoch, loss=loss,
            metrics=metrics, saved_at=now,
        )  # fmt: skip
        everything.append(new)
        present.append(new)
        lost = gone(plan(present, policy, now))
        present = [c for c in present if c.id not in lost]
    once = plan(everything, policy, now)
    if once.refused is None:
        assert {c.id for c in present} == {d.checkpoint.id for d in once.keep}


@CASES
@given(runs(own=True), RULES, FOLLOWED, st.lists(st.sampled_from([None, math.nan, math.inf, -math.inf])))
def test_values_that_cannot_be_ranked_move_no_other(
    checkpoints: list[Checkpoint], rules: dict[str, Any], followed: dict[str, Any], odd: list[float | None]
) -> None:
    """Whatever stands in place of a value that is none: what is kept as best stays the same."""
    policy = Policy(**{**rules, "keep_best": 2}, **{**followed, "monitor": "val_loss", "missing_metric": "ignore"})
    places = [n for n, c in enumerate(checkpoints) if not math.isfinite(c.metrics.get("val_loss", math.nan))]
    changed = list(checkpoints)
    for place, value in zip(places, odd, strict=False):
        rest = {name: v for name, v in changed[place].metrics.items() if name != "val_loss"}
        changed[place] = changed[place].evolve(metrics=rest if value is None else {**rest, "val_loss": value})

    def best(world: list[Checkpoint]) -> list[tuple[str, int | None]]:
        made = plan(world, policy, NOW, situation=OWN)
        return [
            (d.checkpoint.id, r.rank)
            for d in made.keep
            for r in d.verdict.reasons
            if r.rule == "best" and r.metric == "val_loss"
        ]

    assert best(changed) == best(checkpoints)


@CASES
@given(runs(), FOLLOWED)
def test_moving_tags_name_existing_complete_checkpoints_once(
    checkpoints: list[Checkpoint], followed: dict[str, Any]
) -> None:
    tags = moving_tags(checkpoints, Policy(keep_best=3, **followed))
    complete = {c.id for c in checkpoints if c.state == "complete"}
    assert tags.keys() <= complete
    names = [name for found in tags.values() for name in found]
    assert len(names) == len(set(names))
    assert ("latest" in names) == bool(complete)
