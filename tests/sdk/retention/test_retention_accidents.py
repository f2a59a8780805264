"""Accidents that really happened to people's checkpoints, as far as a plan decides them; one test each.

The names say what happened; the docstrings say where.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from ckpt.exceptions import StateError, UsageError
from ckpt.records import Checkpoint
from ckpt.retention import FOREIGN, Policy, RunPlan, Situation, moving_tags, plan

START, NOW = 1_700_000_000.0, 1_700_900_000.0
ENFORCED = Situation(own=False, enforced=True, own_policy=False)
NAN = math.nan


def own(number: int, value: float | None = None, **fields: Any) -> Checkpoint:
    given: dict[str, Any] = {
        "id": f"{number:012x}",
        "run": "r1",
        "path": f"/runs/exp/checkpoints/step-{number:06d}.pt",
        "framework": "ckpt",
        "seq": number,
        "step": number,
        "epoch": number,
        "metrics": {} if value is None else {"val_loss": value},
        "bytes": 10,
        "saved_at": START + number,
        **fields,
    }
    return Checkpoint(**given)


def foreign(number: int, value: float | None = None, **fields: Any) -> Checkpoint:
    """A checkpoint of the Transformers Trainer."""
    return own(
        number,
        value,
        **{"seq": None, "epoch": None, "framework": "transformers", "path": f"/runs/hf/checkpoint-{number}", **fields},
    )


def decide(world: Sequence[Checkpoint], situation: Situation | None = None, **rules: Any) -> RunPlan:
    where = situation or (Situation() if all(c.seq is not None for c in world) else ENFORCED)
    return plan(world, Policy(**{"monitor": "val_loss", **rules}), NOW, situation=where)


def steps(decisions: Any) -> list[int]:
    return sorted(decision.checkpoint.step for decision in decisions)


# The first document's own example


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    "best", [{7: 0.11, 23: 0.12, 33: 0.13}, {12: 0.11, 13: 0.12, 20: 0.13}, {47: 0.1, 49: 0.2, 2: 0.3}]
)
def test_fifty_epochs_keep_exactly_what_the_document_names(first: int, best: dict[int, float]) -> None:
    epochs = range(first, first + 50)
    world = [own(n, best.get(epoch, 1.0 + epoch), epoch=epoch) for n, epoch in enumerate(epochs, 1)]
    asked = {"keep_last_n_checkpoints": 5, "keep_best_n_checkpoints": 3, "keep_checkpoint_every_n_epochs": 10}
    made = plan(world, Policy.from_json({"monitor": "val_loss", **asked}), NOW)
    expected = set(epochs[-5:]) | set(best) | {epoch for epoch in epochs if epoch % 10 == 0}
    assert {int(d.checkpoint.epoch or 0) for d in made.keep} == expected
    assert len(made.keep) + len(made.remove) == 50 and made.refused is None and made.ask is None


# The table of real accidents


@pytest.mark.parametrize("rules", [{"keep_last": 1}, {"keep_last": 2}, {"max_bytes": 20}])
@pytest.mark.parametrize("step", [9_999, 99_999])
def test_the_latest_is_not_deleted_because_its_name_sorts_lower(rules: dict[str, Any], step: int) -> None:
    """transformers #27138, #26961: 9900 outlived 10000, by name and by time."""
    numbered = [foreign(n) for n in (step - 1, step, step + 1, step + 2)]
    copied = [c.evolve(saved_at=START, touched_at=START) for c in numbered]
    for world in (numbered, copied, [own(c.step or 0) for c in numbered]):
        assert step + 2 in steps(decide(world, monitor="none", **rules).keep)
        assert step - 1 in steps(decide(world, monitor="none", **rules).remove)


def test_a_rotation_by_mtime_is_not_fooled_by_a_touched_directory() -> None:
    """transformers PR #37260: a file written into checkpoint-100 later made the Trainer delete 200."""
    world = [foreign(n, touched_at=START + n) for n in (100, 200, 300)]
    touched = [world[0].evolve(touched_at=NOW - 90_000), *world[1:]]
    assert steps(decide(touched, keep_last=2, monitor="none").remove) == [100]


def test_the_best_and_the_last_are_a_set_and_not_a_rotated_list() -> None:
    """transformers #11748: the best was moved to the end of the list, and the last was deleted in its stead."""
    world = [own(1, 0.1), own(2, 0.5), own(3, 0.4)]
    assert steps(decide(world, keep_last=1, keep_best=1).keep) == [1, 3]
    assert steps(decide(list(reversed(world)), keep_last=1, keep_best=1).keep) == [1, 3]


@pytest.mark.parametrize("name", ["keep_last", "keep_best", "keep_every_n_steps", "max_bytes", "max_age"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_limit_of_one_never_deletes_everything(name: str, count: int) -> None:
    """transformers #25136: save_total_limit=1 left nothing."""
    for make in (own, foreign):
        made = decide([make(number, number / 10) for number in range(1, count + 1)], **{name: 1})
        assert count in steps((*made.keep, *made.skip)) and not made.refused


def test_the_old_one_stays_until_the_new_one_is_whole() -> None:
    """Lightning #1150: the old checkpoint was deleted before the new one was written."""
    for state in ("writing", "incomplete", "corrupt"):
        for make in (own, foreign):
            world = [make(1), make(2), make(3, state=state)]
            made = decide(world, keep_last=1, monitor="none")
            assert steps(made.keep) == [2] and steps(made.skip) == [3]


def test_the_checkpoint_that_was_resumed_from_stays() -> None:
    """Lightning #17189, #11379: resuming deleted the checkpoint resumed from, and with it several days."""
    forked = [own(0, label="fork"), *(own(n, n / 10) for n in range(1, 9))]
    assert 0 in steps(decide(forked, keep_last=1).keep)
    parent = [own(1, held_by=("parent of exp2",)), *(own(n, n / 10) for n in range(2, 9))]
    assert 1 in steps(decide(parent, keep_last=1).keep)
    resumed = [foreign(1, pointed=True), *(foreign(n) for n in range(2, 9))]
    assert 1 in steps(decide(resumed, keep_last=1, monitor="none").keep)


def test_no_plan_reaches_into_another_run() -> None:
    """Lightning #16426, fvcore PR #25: a rotation counted and deleted what other runs had saved."""
    with pytest.raises(UsageError):
        decide([own(1), own(2, run="r2"), own(3)], keep_last=1)
    beside = [foreign(n, path=f"/runs/hf/other/checkpoint-{n}") for n in (100, 200)]
    made = decide([*(foreign(n) for n in (1, 2, 3)), *beside], keep_last=1, monitor="none")
    assert {3, 200} <= set(steps(made.keep)), "of every directory the newest"


def test_a_tracked_top_k_file_stays_while_the_trainer_names_it() -> None:
    """NeMo #12804, Ray: the trainer crashes when a file that its own list names is gone."""
    world = [foreign(n, n / 10) for n in range(1, 9)]
    world[4] = world[4].evolve(held_by=("best_k_models of last.ckpt",))
    assert 5 in steps(decide(world, keep_last=1).keep)


def test_nan_takes_no_place_among_the_best() -> None:
    """Orbax BestN: of 3.0, NaN, 1.0, 2.0 the best 1 by max kept 2.0; of .1 .9 nan .2 the best 2 kept nan and .2."""
    world = [own(n, value) for n, value in enumerate([3.0, NAN, 1.0, 2.0], 1)]
    assert steps(decide(world, keep_best=1, mode="max").keep) == [1, 4]
    world = [own(n, value) for n, value in enumerate([0.1, 0.9, NAN, 0.2], 1)]
    assert steps(decide(world, keep_best=2, mode="max").keep) == [2, 4]


def test_a_missing_metric_is_never_the_best() -> None:
    """Ray Train: with mode=min a missing score became +inf x -1 and ranked first."""
    world = [own(1, 0.3), own(2), own(3, 0.2), own(4), own(5)]
    made = decide(world, keep_best=1, mode="min")
    assert steps(made.keep) == [3, 5]
    assert moving_tags(world, made.policy)[f"{3:012x}"] == ("best", "best-1")


# Pains


def test_pain_1_names_of_pointers_are_no_protection_and_no_danger() -> None:
    """`last` as a link meant the last best: the moving names protect nothing, what they stand for is worked out."""
    world = [own(1, 0.9, tags=("best", "last", "latest")), own(2, 0.1), own(3, 0.5)]
    assert steps(decide(world, keep_last=1).keep) == [2, 3]


def test_pain_2_bytes_that_two_names_share_are_counted_once() -> None:
    """save_last wrote the tensors twice; what is shared frees nothing and fills no budget twice."""
    world = [foreign(n, bytes=100, unique_bytes=0) for n in range(1, 6)]
    made = decide(world, max_bytes=100, monitor="none")
    assert made.remove == () and made.over_bytes == 0


@pytest.mark.parametrize("make", [own, foreign])
def test_pain_3_keeping_the_best_never_evicts_the_newest(make: Any) -> None:
    """Orbax #526: best 3 of a worsening metric kept 100, 200, 300 of 500, and nothing to go on from."""
    world = [make(n, n / 100) for n in (100, 200, 300, 400, 500)]
    assert steps(decide(world, keep_best=3).keep) == [100, 200, 300, 500]


@pytest.mark.parametrize("make", [own, foreign])
def test_pain_4_keeping_the_newest_never_deletes_the_best(make: Any) -> None:
    """transformers #15089, ART #117."""
    world = [make(n, 0.1 if n == 2 else 0.5) for n in range(1, 30)]
    assert steps(decide(world, keep_last=2).keep) == [2, 28, 29]


def test_pain_4_nothing_goes_when_nobody_recorded_the_metric() -> None:
    world = [own(n, n / 10) for n in range(1, 9)]
    made = decide(world, monitor="val_los", keep_best=2, keep_last=1)
    assert made.remove == () and made.refused is not None and "did you mean val_loss?" in made.refused


def test_pain_5_a_rollback_makes_the_abandoned_branch_no_newer() -> None:
    """transformers #27138, accelerate #1163: neither step nor mtime tells what was saved last."""
    abandoned = [own(n, seq=n, attempt=1, step=n * 100, saved_at=START + 9_000 + n) for n in range(1, 6)]
    again = [own(n, seq=n, attempt=2, step=(n - 3) * 100 + 50, saved_at=START + n) for n in range(6, 8)]
    made = decide([*abandoned, *again], keep_last=2, monitor="none")
    assert [d.checkpoint.seq for d in made.keep] == [7, 6]


def test_pain_6_what_others_wrote_goes_only_where_that_was_asked_for() -> None:
    world = [foreign(n) for n in range(1, 9)]
    assert decide(world, FOREIGN, keep_last=1, monitor="none").remove == ()
    assert decide(world, ENFORCED, keep_last=1, monitor="none").remove


def test_pain_7_the_ranking_needs_no_memory_of_the_training() -> None:
    """Lightning #4911: top-k forgot everything at a restart. A plan is made from what lies there, every time."""
    world = [own(n, abs(n - 4) / 10, attempt=1 if n < 6 else 2) for n in range(1, 10)]
    made = decide(world, keep_best=2, keep_last=1)
    assert steps(made.keep) == [4, 5, 9]
    left = [d.checkpoint for d in made.keep]
    assert steps(decide(left, keep_best=2, keep_last=1).keep) == [4, 5, 9]


def test_pain_8_a_failed_save_prunes_nothing() -> None:
    """Accelerate deletes before it saves: what is not complete counts for nothing."""
    world = [own(1, 0.5), own(2, 0.4)]
    failed = [*world, *(own(n, state="incomplete") for n in range(3, 9))]
    assert decide(world, keep_last=2).remove == decide(failed, keep_last=2).remove == ()


def test_pain_21_a_metric_that_became_nan_falls_back_to_the_newest() -> None:
    """Lightning #1008, ultralytics #19357."""
    world = [own(n, NAN) for n in range(1, 6)]
    made = decide(world, keep_best=2)
    assert steps(made.keep) == [5] and made.refused is None
    world = [own(1, 0.5), own(2, 0.4), *(own(n, NAN) for n in range(3, 9))]
    assert steps(decide(world, keep_best=2).keep) == [1, 2, 8]


def test_pain_22_a_value_that_was_measured_elsewhere_ranks_as_what_it_is() -> None:
    """Lightning #20919: a stale validation ranked the wrong weights; a fork's start shows its parent's value."""
    world = [own(0, 0.01, label="fork"), own(1, 0.5), own(2, 0.4, measured={"val_loss": 2}), own(3, 0.6)]
    made = decide(world, keep_best=1)
    assert steps(made.keep) == [0, 2, 3]
    assert "best" not in {reason.rule for reason in made.verdicts()[f"{0:012x}"].reasons}


def test_pain_23_what_waits_for_its_evaluation_is_still_there() -> None:
    """torchtitan PR #4152, llm-foundry PR #702: the evaluation came, and the checkpoint was gone."""
    world = [own(n, 0.5 if n < 4 else None, saved_at=NOW - 100 + n) for n in range(1, 8)]
    made = decide(world, keep_best=1, keep_last=1)
    assert steps(made.keep) == [3, 4, 5, 6, 7]
    arrived = [*world[:4], world[4].evolve(metrics={"val_loss": 0.1}, measured={"val_loss": 5}), *world[5:]]
    assert 5 in steps(decide(arrived, keep_best=1, keep_last=1, missing_metric="ignore").keep)


def test_pain_24_what_somebody_reads_stays() -> None:
    """prime-rl PR #1763, composer #204: a checkpoint was deleted under its reader."""
    world = [foreign(n) for n in range(1, 6)]
    made = decide(world, ENFORCED.evolve(in_use=frozenset({f"{2:012x}"})), keep_last=1, monitor="none")
    assert steps(made.skip) == [2] and steps(made.remove) == [1, 3, 4]


# Typos that would delete everything


@pytest.mark.parametrize("rules", [{"keep_last": 0}, {"keep_last": 0, "keep_best": 0}, {"save_total_limit": 0}])
def test_a_policy_of_zeros_is_none(rules: dict[str, Any]) -> None:
    with pytest.raises(StateError):
        Policy.from_json(rules)


def test_an_empty_policy_removes_nothing() -> None:
    """restic and borg refuse it; Determined takes 0/0/0 for all."""
    for make in (own, foreign):
        made = decide([make(n, n / 10) for n in range(1, 9)])
        assert made.remove == () and len(made.keep) == 8


def test_a_stricter_policy_over_a_large_run_asks_first() -> None:
    """keep_last = 1 pushed to 200 runs."""
    world = [own(n, n / 10) for n in range(1, 101)]
    pushed = plan(world, Policy(keep_last=1), NOW, situation=Situation(own_policy=False))
    assert pushed.ask is not None and pushed.ask.startswith("removes 99 of 100 (99 %)")


def test_a_pause_of_a_year_lets_nothing_melt_away() -> None:
    """Retention that counts from now empties a run over a holiday."""
    world = [own(n, n / 10, saved_at=START + 3600 * n) for n in range(1, 49)]
    rules: dict[str, Any] = {"keep_within": "12h", "keep_every": "1h for 1d, 1d"}
    made = plan(world, Policy(**rules), START + 3600 * 49)
    later = plan(world, Policy(**rules), START + 3600 * 49 + 365 * 86400)
    assert steps(made.keep) == steps(later.keep)


@pytest.mark.parametrize(
    ("rules", "asks"),
    [
        ({"keep_within": "36h"}, "keep_within"),
        ({"keep_every": "1m for 36h"}, "keep_every"),
        ({"max_age": "36h", "keep_within": "1h"}, "keep_within, max_age"),
        ({"keep_every": "1m"}, None),
        ({"keep_last": 1}, None),
        ({"keep_within": "36h", "keep_last": 6}, None),
        ({"keep_within": "36h", "max_share": 1.0}, None),
    ],
)
def test_the_first_save_after_a_pause_asks_where_a_rule_of_time_leaves_over_nearly_all(
    rules: dict[str, Any], asks: str | None
) -> None:
    world = [own(n, 1 / n, saved_at=START + 60 * n) for n in range(1, 11)] + [own(11, 0.01, saved_at=START + 3 * 86400)]
    ask = plan(world, Policy(**{"monitor": "val_loss", **rules}), START + 3 * 86400).ask
    expected = f"removes 10 of 11 (90.9 %), more than max_share 50 %, and goes by time ({asks})"
    assert ask == (None if asks is None else expected)
