"""What holds of every plan: checked on random runs and policies."""

from __future__ import annotations

import math
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt import refs
from ckpt.records import Checkpoint
from ckpt.retention import Policy, combine, moving_tags, plan

VALUES = st.one_of(
    st.none(), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0]), st.floats(-2, 2), st.floats()
)
EPOCHS = st.one_of(st.none(), st.integers(-1, 12), st.sampled_from([0.5, 2.0, math.nan, math.inf]))
COUNTS = st.one_of(st.none(), st.integers(1, 6))


@st.composite
def runs(draw: st.DrawFn) -> list[Checkpoint]:
    count = draw(st.integers(0, 14))
    own = draw(st.booleans())
    checkpoints = []
    for number in range(count):
        metrics = {name: value for name in ("val_loss", "acc") if (value := draw(VALUES)) is not None}
        checkpoints.append(
            Checkpoint(
                id=f"{number:012x}",
                run="r",
                path=f"/r/{number}",
                seq=number if own else None,
                step=draw(st.one_of(st.none(), st.integers(0, 30))),
                epoch=draw(EPOCHS),
                loss=draw(VALUES),
                metrics=metrics,
                saved_at=float(draw(st.integers(0, 5))),
                bytes=draw(st.integers(0, 100)),
                state=draw(st.sampled_from(["complete"] * 6 + ["writing", "incomplete", "corrupt"])),
                pinned=draw(st.sampled_from([False, False, False, True])),
                tags=draw(st.sampled_from([(), (), ("latest",), ("best-2",), ("paper",)])),
                held_by=draw(st.sampled_from([(), (), (), ("parent of x",)])),
                label=draw(st.sampled_from([None, None, "best", "fork"])),
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
    },
)
FOLLOWED = st.fixed_dictionaries(
    {"monitor": st.sampled_from([None, "loss", "val_loss", "acc", "missing"]), "mode": st.sampled_from(["min", "max"])}
)


def removed(checkpoints: list[Checkpoint], policy: Policy) -> set[str]:
    return {decision.checkpoint.id for decision in plan(checkpoints, policy, 0.0).remove}


@settings(max_examples=400, deadline=None)
@given(runs(), RULES, FOLLOWED)
def test_every_checkpoint_has_one_verdict_and_the_floor_holds(
    checkpoints: list[Checkpoint], rules: dict[str, Any], followed: dict[str, Any]
) -> None:
    policy = Policy(**rules, **followed)
    made = plan(checkpoints, policy, 0.0)
    assert sorted(d.checkpoint.id for d in made.decisions) == [c.id for c in checkpoints]
    gone = {d.checkpoint.id for d in made.remove}
    complete = refs.newest_first(c for c in checkpoints if c.state == "complete")
    assert gone <= {c.id for c in complete}
    floor = {c.id for c in complete[:1]}
    floor |= {c.id for c in refs.best_first([c for c in complete if c.label != "fork"], policy.metric, policy.mode)[:1]}
    floor |= {c.id for c in complete if c.pinned or c.held_by or "paper" in c.tags}
    assert not gone & floor
    assert all(d.verdict.reasons for d in (*made.keep, *made.skip))
    assert all(d.verdict.action == "remove" for d in made.remove)
    assert all(d.verdict.near_misses for d in made.remove if d.checkpoint.label != "fork")
    if gone:
        assert policy.has_rules and made.refused is None
    if policy.keep_last is not None:
        assert not gone & {c.id for c in complete[: policy.keep_last]}


@settings(max_examples=400, deadline=None)
@given(runs(), RULES, RULES, FOLLOWED)
def test_another_rule_never_removes_more(
    checkpoints: list[Checkpoint], rules: dict[str, Any], more: dict[str, Any], followed: dict[str, Any]
) -> None:
    fewer = Policy(**rules, **followed)
    added = {name: count for name, count in more.items() if rules.get(name) is None}
    if fewer.has_rules:
        assert removed(checkpoints, Policy(**{**rules, **added}, **followed)) <= removed(checkpoints, fewer)


@settings(max_examples=200, deadline=None)
@given(runs(), RULES, FOLLOWED)
def test_a_larger_number_never_removes_more(
    checkpoints: list[Checkpoint], rules: dict[str, Any], followed: dict[str, Any]
) -> None:
    larger = {name: rules[name] + 1 for name in ("keep_last", "keep_best") if rules.get(name)}
    more = removed(checkpoints, Policy(**{**rules, **larger}, **followed))
    assert more <= removed(checkpoints, Policy(**rules, **followed))


@settings(max_examples=200, deadline=None)
@given(runs(), RULES, FOLLOWED, st.randoms(use_true_random=False), st.floats(0, 1e12))
def test_neither_order_nor_time_changes_a_plan(
    checkpoints: list[Checkpoint],
    rules: dict[str, Any],
    followed: dict[str, Any],
    chance: random.Random,
    now: float,
) -> None:
    policy = Policy(**rules, **followed)
    shuffled = list(checkpoints)
    chance.shuffle(shuffled)
    first, second = plan(checkpoints, policy, 0.0), plan(shuffled, policy, now)
    assert [(d.checkpoint.id, d.verdict.action) for d in first.decisions] == [
        (d.checkpoint.id, d.verdict.action) for d in second.decisions
    ]
    assert repr([d.verdict for d in first.decisions]) == repr([d.verdict for d in second.decisions])
    assert combine([first]).id == combine([second]).id
    assert moving_tags(checkpoints, policy) == moving_tags(shuffled, policy)


@settings(max_examples=200, deadline=None)
@given(runs(), RULES, FOLLOWED)
def test_applying_a_plan_leaves_nothing_to_remove_but_what_ranks_move(
    checkpoints: list[Checkpoint], rules: dict[str, Any], followed: dict[str, Any]
) -> None:
    """What a plan keeps, the next plan over the rest keeps too: nothing melts away pass by pass."""
    policy = Policy(**rules, **followed)
    gone = removed(checkpoints, policy)
    assert removed([c for c in checkpoints if c.id not in gone], policy) == set()


@settings(max_examples=200, deadline=None)
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
