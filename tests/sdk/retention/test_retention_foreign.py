"""What a plan does with checkpoints that somebody else's trainer wrote: what may go at all, and what it asks first."""

from __future__ import annotations

from typing import Any

import pytest

from ckpt.exceptions import UsageError
from ckpt.records import Checkpoint, Verdict
from ckpt.retention import (
    FOREIGN,
    GUESS,
    Layer,
    Policy,
    RunPlan,
    Situation,
    combine,
    merge,
    outside,
    plan,
    plan_to_json,
)
from ckpt.retention.refusing import refusal

START, NOW = 1_700_000_000.0, 1_700_100_000.0
ENFORCED = Situation(own=False, enforced=True, own_policy=False)


def saved(number: int, **fields: Any) -> Checkpoint:
    """A checkpoint of a Transformers run, written in the order of its number."""
    given: dict[str, Any] = {
        "id": f"{number:012x}",
        "run": "r1",
        "path": f"/runs/exp/checkpoint-{number}",
        "framework": "transformers",
        "step": number,
        "metrics": {"eval_loss": 10.0 - number / 1000},
        "bytes": 10,
        "saved_at": START + number,
        "touched_at": START + number,
        **fields,
    }
    return Checkpoint(**given)


def trained(count: int = 6) -> list[Checkpoint]:
    return [saved(number * 100) for number in range(1, count + 1)]


def decide(checkpoints: list[Checkpoint], situation: Situation = ENFORCED, now: float = NOW, **rules: Any) -> RunPlan:
    return plan(checkpoints, Policy(**{"monitor": "eval_loss", "keep_last": 2, **rules}), now, situation=situation)


def ids(decisions: Any) -> set[int]:
    return {int(decision.checkpoint.id, 16) for decision in decisions}


def verdict(made: RunPlan, number: int) -> Verdict:
    return made.verdicts()[f"{number:012x}"]


def reasons(made: RunPlan, number: int) -> list[str]:
    return [reason.text for reason in verdict(made, number).reasons]


def test_an_enforced_run_is_pruned_like_any_other() -> None:
    made = decide(trained())
    assert ids(made.keep) == {500, 600} and ids(made.remove) == {100, 200, 300, 400}
    assert made.skip == () and made.refused is None


# What is no known training checkpoint


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"framework": "unknown"}, "what wrote it is not known"),
        ({"framework": ""}, "what wrote it is not known"),
        ({"step": None}, "it has neither step nor epoch"),
        ({"step": None, "epoch": float("nan")}, "it has neither step nor epoch"),
        ({"label": "export"}, "a model for use, nothing to go on from"),
        ({"framework": "torch"}, "no weights or optimizer are known in it"),
        ({"framework": "safetensors", "kinds": {"other": 9}}, "no weights or optimizer are known in it"),
        ({"framework": "torch", "kinds": {"weights": 0}}, "no weights or optimizer are known in it"),
    ],
)
def test_what_is_no_training_checkpoint_never_goes_and_takes_no_place(fields: dict[str, Any], why: str) -> None:
    strange = [saved(number, **fields) for number in (50, 150, 650, 700)]
    made = decide([*trained(), *strange])
    assert ids(made.skip) == {50, 150, 650, 700}
    assert reasons(made, 650) == [f"not a known training checkpoint: {why}"]
    assert ids(made.keep) == ids(decide(trained()).keep), "what is newer and unknown pushes nothing out"
    assert made.ask == decide(trained()).ask


@pytest.mark.parametrize(
    "fields",
    [
        {"framework": "torch", "kinds": {"weights": 5}},
        {"framework": "safetensors", "kinds": {"optimizer": 5}},
        {"framework": "lightning"},
        {"step": None, "epoch": 3.0},
        {"step": None, "epoch": 0.0},
    ],
)
def test_what_a_training_plainly_wrote_may_go(fields: dict[str, Any]) -> None:
    world = [saved(number, **fields) for number in (100, 200, 300)]
    assert ids(decide(world, keep_last=1).remove) == {100, 200}


def test_what_is_alone_in_its_series_stays() -> None:
    alone = [
        saved(10, path="/runs/exp/last.ckpt", framework="lightning"),
        saved(20, path="/runs/exp/other/checkpoint-20"),
        saved(30, path="/runs/exp/checkpoint-30", framework="deepspeed"),
        saved(40, path="/runs/exp/epoch=4.ckpt"),
    ]
    made = decide([*trained(), *alone])
    assert ids(made.skip) == {10, 20, 30, 40}
    assert all("the only one of its kind" in reasons(made, number)[0] for number in (10, 20, 30, 40))


@pytest.mark.parametrize(
    "names",
    [
        ["epoch=10-step=1.ckpt", "epoch=20-step=2.ckpt", "epoch=30-step=3.ckpt"],
        ["1.pt", "2.pt", "3.pt"],
        ["global_step1", "global_step2", "global_step3"],
        ["model-0001.ckpt", "model-0002.ckpt", "model-0003.ckpt"],
    ],
)
def test_names_that_differ_in_what_they_count_are_a_series(names: list[str]) -> None:
    world = [saved(n, path=f"/r/{name}", framework="lightning") for n, name in enumerate(names, 1)]
    assert ids(decide(world, keep_last=1).remove) == {1, 2}


@pytest.mark.parametrize(
    "name",
    [
        "step-{}/model.pt",
        "epoch_{}/state.pt",
        "checkpoints/global_step_{}/model_world_size_2_rank_0.pt",
        "epoch={}-val/acc=0.{}.ckpt",
        "epoch={}-val/acc=0.{}-test/acc=0.5.ckpt",
    ],
)
def test_what_lies_in_the_directories_of_steps_is_a_series(name: str) -> None:
    world = [saved(n, path=f"/r/{name.format(n, n)}", framework="torch", kinds={"weights": 5}) for n in (1, 2, 12)]
    assert ids(decide(world, keep_last=1).remove) == {1, 2}
    others = [
        saved(31, path="/r/step-31/vocabulary.pt", framework="torch", kinds={"weights": 5}),
        saved(32, path="/r/other/step-32/model.pt", framework="torch", kinds={"weights": 5}),
        saved(33, path="/r/data-33/model.pt", framework="torch", kinds={"weights": 5}),
        saved(34, path="/r/data-34/model.pt", framework="torch", kinds={"weights": 5}),
    ]
    assert ids(decide([*world, *others], keep_last=1).skip) == {31, 32, 33, 34}


def test_a_model_for_use_that_is_named_like_its_series_stays() -> None:
    full = [c.evolve(kinds={"weights": 5, "optimizer": 10}) for c in trained()]
    merged = [saved(n, path=f"/runs/exp/checkpoint-{n}-merged", kinds={"weights": 5}) for n in (150, 250)]
    made = decide([*full, *merged], keep_last=1)
    assert ids(made.skip) == {150, 250} and ids(made.remove) == {100, 200, 300, 400, 500}
    assert "weights alone" in reasons(made, 150)[0]
    only_weights = [c.evolve(kinds={"weights": 5}) for c in trained()]
    assert ids(decide(only_weights, keep_last=1).remove) == {100, 200, 300, 400, 500}, "all of them are saved like that"


def test_data_sets_base_models_and_exports_beside_a_run_never_go() -> None:
    others = [
        saved(901, path="/runs/exp/train.pt", framework="torch", step=None, bytes=10**12),
        saved(902, path="/runs/exp/embeddings.pt", framework="torch", step=5),
        saved(903, path="/runs/exp/base/model.safetensors", framework="safetensors", step=None),
        saved(904, path="/runs/exp/ema.pt", framework="torch", step=7, label="export", kinds={"weights": 9}),
        saved(905, path="/runs/exp/data_1.pt", framework="torch", step=1),
        saved(906, path="/runs/exp/data_2.pt", framework="torch", step=2),
        saved(907, path="/runs/exp/data.bin", framework="unknown", step=None, epoch=None),
    ]
    for rules in ({"keep_last": 1}, {"max_bytes": 20}, {"keep_every_n_steps": 10**6}, {"max_age": 1.0}):
        made = decide([*trained(), *others], **{"keep_last": None, **rules})
        assert not ids(made.remove) & set(range(900, 910)) and ids(made.skip) == set(range(901, 908))
    budget = decide([*trained(), *others], max_bytes=100)
    assert ids(budget.remove) == set(), "bytes that are no checkpoint's fill no budget"


def test_a_file_of_another_time_does_not_change_which_of_a_copied_run_is_newest() -> None:
    """All times of a copied run are about the same and say nothing; a data set beside it has a time of its own."""
    copied = [saved(n, saved_at=START + 1 - n / 1000, touched_at=START) for n in (100, 200, 300)]
    data = saved(9, path="/runs/exp/train.pt", framework="torch", step=None, saved_at=START - 10**6)
    assert ids(decide(copied, keep_last=1, monitor="none").remove) == {200}, "300 is the newest, 100 is so by its time"
    assert ids(decide([*copied, data], keep_last=1, monitor="none").remove) == {200}


def test_only_a_policy_that_names_the_run_reaches_what_is_unknown() -> None:
    world = [saved(number, framework="unknown", step=None) for number in (100, 200, 300)]
    named = ENFORCED.evolve(named=True)
    assert ids(decide(world, keep_last=1, include_unknown=True).skip) == {100, 200, 300}
    assert ids(decide(world, named, keep_last=1).skip) == {100, 200, 300}
    made = decide(world, named, keep_last=1, include_unknown=True)
    assert ids(made.remove) == {100, 200}
    protected = [world[0].evolve(pinned=True), world[1].evolve(touched_at=NOW - 10), *world[2:]]
    made = decide(protected, named, keep_last=1, include_unknown=True)
    assert made.remove == () and reasons(made, 200) == ["settling: written 10 s ago (needs 60 s)"]


# Rest


def test_what_was_just_written_is_outside_until_it_settled() -> None:
    world = [*trained(), saved(700, metrics={"eval_loss": 99.0}, touched_at=NOW - 12)]
    made = decide(world)
    assert reasons(made, 700) == ["settling: written 12 s ago (needs 60 s)"]
    assert ids(made.keep) == {500, 600}, "it pushes nothing out before it has settled"
    assert made.changes_at == NOW + 48
    settled = decide(world, now=NOW + 48)
    assert {600, 700} <= ids(settled.keep)
    assert reasons(decide(world, now=NOW - 100), 700) == ["settling: its time is 88 seconds ahead of the clock"]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"pinned": True}, "pinned"),
        ({"tags": ("paper",)}, "tagged paper"),
        ({"held_by": ("trainer_state.json",)}, "held: trainer_state.json"),
        ({"pointed": True}, "the trainer goes on from it (floor)"),
        ({"metrics": {"eval_loss": 1.0}}, "best by eval_loss (1)"),
    ],
)
def test_what_stays_whatever_comes_says_so_before_it_has_settled(fields: dict[str, Any], why: str) -> None:
    worst = {"metrics": {"eval_loss": 99.0}}
    made = decide([*trained(), saved(700, **{**worst, **fields}, touched_at=NOW - 12)], keep_best=1)
    assert verdict(made, 700).action == "keep"
    assert reasons(made, 700) == [why, "settling: written 12 s ago (needs 60 s)"]
    assert ids(made.keep) == {500, 600, 700} and [d.checkpoint.step for d in made.keep] == [700, 600, 500]
    assert reasons(made, 600)[1] == "best #1 of 1 by eval_loss (9.4)", "it counts for no rule meanwhile"


def test_what_is_linked_from_elsewhere_says_so_before_it_has_settled() -> None:
    fresh = saved(700, metrics={"eval_loss": 99.0}, touched_at=NOW - 12)
    made = decide([*trained(), fresh], ENFORCED.evolve(linked={fresh.id: ("paper/figure",)}), keep_best=1)
    assert reasons(made, 700) == ["linked from paper/figure", "settling: written 12 s ago (needs 60 s)"]


def test_what_settles_and_is_no_training_checkpoint_is_not_decided_on() -> None:
    made = decide([*trained(), saved(700, framework="unknown", pinned=True, touched_at=NOW - 12)])
    assert verdict(made, 700).action == "skip" and len(reasons(made, 700)) == 2


@pytest.mark.parametrize("min_age", [0, 20, 3600])
def test_what_was_written_a_moment_ago_settles_whatever_min_age_says(min_age: float) -> None:
    """It may be half of what a trainer is about to write, and says so in no other way."""
    world = [*trained(), saved(650, touched_at=NOW - 12), saved(700, touched_at=NOW - 61)]
    made = decide(world, keep_last=1, min_age=min_age)
    assert 650 not in ids(made.remove) and reasons(made, 650)[-1] == "settling: written 12 s ago (needs 60 s)"
    assert made.changes_at == NOW + 48
    assert 650 in ids(decide(world, now=NOW + 48, keep_last=1, min_age=0).remove)


@pytest.mark.parametrize("min_age", [0, 20, 3600])
@pytest.mark.parametrize("settle_s", [0.0, 60.0])
def test_a_time_that_is_still_to_come_is_young(
    monkeypatch: pytest.MonkeyPatch, settle_s: float, min_age: float
) -> None:
    monkeypatch.setattr(outside, "SETTLE_S", settle_s)
    made = decide([*trained(), saved(50, touched_at=NOW + 100)], keep_last=1, min_age=min_age)
    assert 50 not in ids(made.remove) and ids(made.remove)
    assert 50 in ids(decide([*trained(), saved(50, touched_at=NOW - 0.1)], now=NOW + 4000, keep_last=1).remove)


def test_nothing_goes_that_was_touched_within_min_age() -> None:
    world = [saved(n, touched_at=NOW - 7200 + n) for n in (100, 200, 300)]
    made = decide(world, keep_last=1, min_age=7100.0)
    assert ids(made.remove) == {100} and ids(made.keep) == {200, 300}
    assert reasons(made, 200)[0].startswith("younger than min_age 7100 seconds until ")
    assert made.changes_at == NOW + 100
    assert ids(decide(world, now=NOW + 100, keep_last=1, min_age=7100.0).remove) == {100, 200}
    assert decide(world, keep_last=1, min_age=0).changes_at is None
    copied = [saved(n, saved_at=START, touched_at=NOW - 100) for n in (100, 200, 300)]
    assert decide(copied, keep_last=1).remove == (), "an old file that was copied a minute ago is young"
    unknown = [c.evolve(touched_at=0.0, saved_at=NOW - 100 + n) for n, c in enumerate(trained())]
    assert decide(unknown, keep_last=1).remove == ()


# The floor of a foreign run


def test_the_newest_by_time_and_what_the_trainer_points_at_stay_too() -> None:
    world = trained()
    world[0] = world[0].evolve(saved_at=START + 5000)
    world[2] = world[2].evolve(pointed=True)
    made = decide(world, keep_last=1, monitor="none")
    assert reasons(made, 300) == ["last #1 of 1", "newest complete (floor)", "the trainer goes on from it (floor)"]
    assert reasons(made, 100) == ["newest by the time of its save (floor)"]
    assert reasons(made, 600) == ["last #1 of 1 by step", "newest by its step (floor)"]
    assert ids(made.remove) == {200, 400, 500}


def test_the_newest_of_every_series_stays() -> None:
    other = [saved(n, path=f"/runs/exp/ema-{n}.pt", framework="torch", kinds={"weights": 1}) for n in (101, 201)]
    made = decide([*trained(), *other], keep_last=1, monitor="none")
    assert ids(made.keep) == {600, 201}
    assert reasons(made, 201) == ["last #1 of 1", "newest of ema-#.pt (floor)"]


def test_rules_hold_for_every_series_by_itself_and_a_budget_for_the_run() -> None:
    """Folds of a cross validation that were trained one after another into one directory."""
    folds = [
        saved(100 * fold + epoch, path=f"/runs/cv/fold_{fold}_epoch_{epoch}.pt", framework="torch", step=None,
              epoch=float(epoch), kinds={"weights": 5, "optimizer": 5}, metrics={"eval_loss": loss - fold})
        for fold in (0, 1, 2) for epoch, loss in ((1, 0.1), (2, 0.3), (3, 0.2), (4, 0.5), (5, 0.6))
    ]  # fmt: skip
    made = decide(folds, keep_last=1, keep_best=2)
    assert ids(made.keep) == {100 * fold + epoch for fold in (0, 1, 2) for epoch in (1, 3, 5)}
    assert reasons(made, 5) == ["last #1 of 1", "newest of fold_0_epoch_#.pt (floor)"]
    assert [miss.rule for miss in verdict(made, 2).near_misses] == ["last", "best"]
    assert [d.checkpoint.id for d in made.remove] == [f"{n:012x}" for n in (204, 202, 104, 102, 4, 2)]
    assert ids(decide(folds, keep_last=None, keep_every_n_epochs=4).keep) >= {4, 104, 204}
    budget = decide(folds, keep_last=1, max_bytes=140)
    assert ids(budget.remove) == {2, 3, 4, 102}, "the oldest of the whole run go for its budget"
    young = decide([*folds, saved(999, path="/runs/cv/fold_0_epoch_6.pt", framework="torch", step=None, epoch=6.0,
                    kinds={"weights": 5, "optimizer": 5}, metrics={"eval_loss": 0.0}, touched_at=NOW - 5)])  # fmt: skip
    assert reasons(young, 999)[0] == "best by eval_loss (0)", "the best of its fold, though not of the run"


def test_a_copy_in_the_order_of_names_keeps_what_is_furthest_too() -> None:
    """`cp -r` writes checkpoint-1000, -1100, -800, -900: by their times the last is the newest."""
    steps = sorted((800, 900, 1000, 1100), key=str)
    copied = [saved(step, saved_at=START + 60 * n) for n, step in enumerate(steps)]
    made = decide(copied, keep_last=1, monitor="none")
    assert ids(made.keep) == {900, 1100}
    assert reasons(made, 1100) == ["last #1 of 1 by step", "newest by its step (floor)"]
    two = decide(copied, keep_last=2, monitor="none", keep_best=None)
    assert reasons(two, 1000) == ["last #2 of 2 by step"] and two.remove == ()
    epochs = [c.evolve(step=None, epoch=(c.step or 0) / 100) for c in copied]
    assert reasons(decide(epochs, keep_last=1), 1100)[0] == "last #1 of 1 by epoch"
    assert reasons(decide(copied, keep_last=None, keep_steps=[5]), 1100)[0].startswith("newest by its step")


@pytest.mark.parametrize("fields", [{"pinned": True}, {"tags": ("paper",)}, {"held_by": ("trainer_state.json",)}])
def test_what_is_pinned_tagged_or_named_by_the_trainer_stays(fields: dict[str, Any]) -> None:
    assert 100 in ids(decide([trained()[0].evolve(**fields), *trained()[1:]]).keep)


# Situations


def test_an_observed_run_shows_what_would_go_and_removes_nothing() -> None:
    made = decide(trained(), FOREIGN)
    assert made.remove == () and ids(made.skip) == {100, 200, 300, 400} and ids(made.keep) == {500, 600}
    shown = verdict(made, 100)
    assert [reason.rule for reason in shown.reasons] == ["observed"]
    assert [miss.rule for miss in shown.near_misses] == ["last", "best"]
    assert made.ask is None, "nothing is asked where nothing would be done"
    assert combine([made]).freed_at_purge == 0


def test_without_a_rule_everything_complete_is_kept() -> None:
    made = plan(
        [*trained(), saved(9, state="writing"), saved(7, framework="unknown")], Policy(), NOW, situation=FOREIGN
    )
    assert ids(made.keep) == {7, 100, 200, 300, 400, 500, 600} and ids(made.skip) == {9}
    assert reasons(made, 7) == ["no rule: everything is kept"]


def test_a_policy_that_cannot_be_read_is_told_where_it_has_no_rules() -> None:
    situation = Situation(degraded="its policy cannot be used: unknown field keep_lats")
    made = plan([saved(1, seq=1)], Policy(), NOW, situation=situation)
    assert made.refused == "its policy cannot be used: unknown field keep_lats"
    assert reasons(made, 1) == ["everything is kept: its policy cannot be used: unknown field keep_lats"]
    assert plan([saved(1, seq=1)], Policy(), NOW).refused is None


def test_a_checkpoint_that_is_given_twice_takes_one_place() -> None:
    world = trained()
    made = decide([*world, world[5], world[5].evolve()], keep_last=2, monitor="none")
    assert ids(made.keep) == {500, 600} and len(list(made.decisions)) == 6
    with pytest.raises(UsageError, match="given twice"):
        decide([*world, world[0].evolve(pinned=True)])


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("field", ["saved_at", "touched_at"])
def test_a_time_that_is_none_removes_nothing_else_and_is_the_same_in_any_order(field: str, odd: float) -> None:
    world = [*trained(), saved(50, **{field: odd})]
    made = decide(world, keep_last=1)
    assert 600 in ids(made.keep)
    if field == "touched_at" and odd != -float("inf"):
        assert reasons(made, 50) == ["settling: its time is no time"]
    assert combine([made]).id == combine([decide(world[::-1], keep_last=1)]).id
    own = [c.evolve(seq=c.step) for c in world]
    assert 600 in ids(decide(own, Situation(), keep_last=1, max_age="1d", keep_every=["1h"], keep_within="1h").keep)


def test_numbers_beyond_all_floats_are_not_ranked() -> None:
    world = trained()
    world[0] = world[0].evolve(metrics={"eval_loss": -(10**400)}, step=2**60)
    made = decide(world, keep_last=None, keep_best=1, keep_every_n_steps=100_000)
    assert 600 in ids(made.keep) and 100 not in ids(made.remove), "its name says another step than it does"
    own = [c.evolve(seq=int(c.id, 16)) for c in world]
    misses = verdict(decide(own, Situation(), keep_last=None, keep_best=1, keep_every_n_steps=100_000), 100).near_misses
    assert [miss.text for miss in misses] == [
        "eval_loss is beyond all numbers: not ranked",
        "every 100000 steps: its step is no number that counts",
    ]


def test_a_degraded_root_loses_nothing() -> None:
    made = decide(trained(), ENFORCED.evolve(degraded="its disk was taken away"))
    assert made.remove == () and ids(made.skip) == {100, 200, 300, 400}
    assert reasons(made, 100) == ["not removed now: its disk was taken away"]
    assert verdict(made, 100).near_misses
    assert decide(trained(), ENFORCED.evolve(degraded="")).remove == (), "also where nobody can say why"
    own = [saved(number, seq=number) for number in range(1, 5)]
    made = plan(own, Policy(keep_last=1), NOW, situation=Situation(degraded="its policy cannot be used"))
    assert made.remove == () and ids(made.skip) == {1, 2, 3}


def test_what_a_process_has_open_stays_and_only_that() -> None:
    open_ones = frozenset({f"{100:012x}", f"{600:012x}"})
    for situation, world in (
        (ENFORCED.evolve(in_use=open_ones), trained()),
        (Situation(in_use=open_ones), [c.evolve(seq=c.step) for c in trained()]),
    ):
        made = decide(world, situation)
        assert ids(made.skip) == {100} and ids(made.remove) == {200, 300, 400}
        assert reasons(made, 100) == ["in use: a process has it open"] and verdict(made, 100).near_misses
        assert ids(made.keep) == {500, 600}


def test_the_best_without_a_metric_to_choose_them_by_is_refused() -> None:
    made = decide(trained(), monitor=None, keep_best=2)
    assert made.refused is not None and "no metric is known" in made.refused
    assert made.remove == () and ids(made.skip) == {100, 200, 300, 400}
    named = decide(trained(), monitor=None, keep_best_of={"eval_loss": 1})
    assert named.refused is None and named.remove
    nobody = decide(trained(), keep_best_of={"eval_los": 1}, missing_metric="ignore")
    assert nobody.refused is not None and nobody.refused.endswith("did you mean eval_loss?")


def test_a_plan_that_would_leave_nothing_is_refused() -> None:
    assert refusal(trained(), 0, Policy(keep_last=1), ENFORCED) == "no complete checkpoint would be left"
    assert refusal(trained(), 1, Policy(keep_last=1), ENFORCED) is None


def test_without_a_monitor_a_person_is_asked_unless_there_is_none() -> None:
    asked = decide(trained(), monitor=None, max_share=1.0)
    assert asked.remove and asked.ask is not None and asked.ask.startswith("no metric is known")
    assert decide(trained(), monitor="none", max_share=1.0).ask is None
    assert decide(trained(), monitor=None, keep_best_of={"eval_loss": 1}, max_share=1.0).ask is None
    assert decide(trained(), max_share=1.0).ask is None
    assert decide(trained(), monitor=None, keep_last=9).ask is None


def test_a_guessed_monitor_protects_its_best_and_asks() -> None:
    def guess(*layers: dict[str, Any], max_share: float = 1.0) -> RunPlan:
        given: list[Layer] = [(GUESS, {"monitor": "eval_loss", "mode": "min"})]
        given += [("root", {"max_share": max_share, **layer}) for layer in layers]
        merged = merge(given)
        return plan(world, merged.policy, NOW, situation=ENFORCED.evolve(guessed=merged.guessed))

    world = trained()
    world[0] = world[0].evolve(metrics={"eval_loss": 0.5})
    for rules in ({"keep_last": 1}, {"keep_best": 1}):
        made = guess(rules)
        assert made.refused is None and made.remove and 100 in ids(made.keep)
        assert made.ask == (
            "best by eval_loss is a guess: its trainer names no metric; say monitor=eval_loss if it is right, "
            "or the one that is, or monitor=none where there is no best"
        )
    assert "; removes 4 of 6" in (guess({"keep_last": 1}, max_share=0.1).ask or "")
    for named in ({"monitor": "eval_loss"}, {"monitor": "none"}, {"keep_best_of": {"eval_loss": 1}}):
        made = guess({"keep_last": 1, **named})
        assert made.remove and made.ask is None
    assert guess({"keep_best": 1, "keep_best_of": {"acc": 1}}).refused is not None
    assert guess({"keep_last": 9}).ask is None, "nothing goes, nothing is asked"


@pytest.mark.parametrize(
    ("situation", "asks"),
    [
        (ENFORCED, True),
        (ENFORCED.evolve(own_policy=True), True),
        (Situation(own_policy=False), True),
        (Situation(), False),
    ],
)
def test_a_large_share_is_removed_only_when_confirmed(situation: Situation, asks: bool) -> None:
    world = [c.evolve(seq=c.step) if situation.own else c for c in trained(50)]
    made = decide(world, situation, keep_last=13)
    assert len(made.remove) == 37
    assert made.ask == ("removes 37 of 50 (74 %), more than max_share 50 %" if asks else None)
    assert decide(world, situation, keep_last=25).ask is None, "exactly that share is none too many"
    assert (decide(world, situation, keep_last=26, max_share=0.1).ask is not None) == asks


def test_what_is_unknown_does_not_thin_out_the_share() -> None:
    strange = [saved(n, framework="unknown") for n in range(1, 30)]
    made = decide([*trained(), *strange])
    assert made.ask == "removes 4 of 6 (66.7 %), more than max_share 50 %"


def test_the_json_says_what_is_asked_and_when_it_changes() -> None:
    world = [saved(number, bytes=40, unique_bytes=15) for number in (100, 200, 300, 400)]
    made = decide([*world, saved(500, touched_at=NOW - 1)], keep_last=1, max_bytes=10)
    shown = plan_to_json(combine([made]))
    (run,) = shown["runs"]
    assert run["ask"] == made.ask is not None
    assert run["changes_at"] == NOW + 59 and run["over_bytes"] == 5
    assert shown["freed_at_purge"] == 45 and shown["freed_now"] == 0
