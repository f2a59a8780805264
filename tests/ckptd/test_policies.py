"""Which policy holds for a run, and where it stands."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ckpt import marks, retention
from ckpt.records import Checkpoint, Run
from ckpt.retention import Policy, merge, plan
from ckpt.scan import RunView, Wishes
from ckptd.config.values import Config, Root, RunRule
from ckptd.keeping.clock import Clock
from ckptd.layering import layers_for, unheard
from ckptd.policies import more_removed, situation_for
from ckptd.roots.watched import Watched


def view(*, own: bool, wishes: Wishes | None = None, place: str = "group/exp") -> RunView:
    run = Run(id="r", name=place.rpartition("/")[2], root="/runs", path=f"/runs/{place}", own=own)
    return RunView(run=run, checkpoints=(), plan=plan((), Policy(), 0.0), wishes=wishes or Wishes())


CONFIG = Config(
    policy={"keep_last": 5, "keep_for": 60.0},
    runs=(
        RunRule(match="group/*", policy={"keep_every_n_epochs": 10}),
        RunRule(match="exp", policy={"keep_best": 2}),
        RunRule(match="other", policy={"keep_best": 9}),
    ),
)
OBSERVED = Root(path="/runs", policy={"keep_last": 4, "max_bytes": 10**9})
ROOT = Watched(OBSERVED.evolve(mode="enforce"), confirmed=True)


def test_an_own_run_with_rules_hears_its_training_the_command_and_its_name() -> None:
    wishes = Wishes(own={"keep_last": 1, "monitor": "acc", "mode": "max"}, said={"keep_last": 2})
    merged = merge(layers_for(view(own=True, wishes=wishes), ROOT, CONFIG))
    assert (merged.policy.keep_last, merged.policy.monitor, merged.policy.max_bytes) == (2, "acc", None)
    assert (merged.policy.keep_for, merged.policy.keep_best, merged.policy.keep_every_n_epochs) == (86400.0, 2, 10)
    assert merged.origins["keep_last"] == "command"
    assert merged.origins["keep_best"] == "config.toml [[run]] exp"


def test_a_guess_of_the_monitor_stands_below_everything_and_is_known_as_one() -> None:
    wishes = Wishes(origin="trainer", guessed={"monitor": "val_loss", "mode": "min"})
    for said, guessed in (({}, True), ({"unmonitored": True}, False), ({"monitor": "acc"}, False)):
        run = view(own=False, wishes=wishes.evolve(said=said))
        merged = merge(layers_for(run, ROOT, Config()))
        assert (merged.origins.get("monitor") == "guess") == guessed == merged.guessed
        assert situation_for(run, None, Config(), merged).guessed == guessed
    trained = view(own=False, wishes=Wishes(own={"monitor": "acc"}, origin="trainer", guessed={"monitor": "val_loss"}))
    assert merge(layers_for(trained, ROOT, Config())).origins["monitor"] == "trainer"


@pytest.mark.parametrize(("own", "origin"), [(True, "run.json"), (False, "trainer")])
def test_a_run_that_says_nothing_hears_all_that_is_above_it(own: bool, origin: str) -> None:
    wishes = Wishes(own={"monitor": "acc", "mode": "max"}, origin=origin, said={"max_bytes": None})
    named = Watched(ROOT.root.evolve(origin="config.toml"), confirmed=True)
    merged = merge(layers_for(view(own=own, wishes=wishes), named, CONFIG))
    assert (merged.policy.keep_last, merged.policy.keep_for, merged.policy.max_bytes) == (4, 60.0, None)
    assert (merged.origins["monitor"], merged.origins["keep_last"]) == (origin, "config.toml [[root]]")
    assert merged.origins["keep_for"] == "config.toml [policy]"


@pytest.mark.parametrize(
    ("match", "place", "meant"),
    [
        ("exp", "group/exp", True),
        ("group/exp", "group/exp", True),
        ("group", "group/exp", False),
        ("group/*", "group/exp", True),
        ("llama-*/sft-*", "llama-7b/sft-3", True),
        ("llama-*/sft-*", "gpt/sft-3", False),
        ("sft-[0-9]", "a/b/sft-3", True),
        ("/group/exp/", "group/exp", True),
        ("EXP", "group/exp", False),
    ],
)
def test_a_match_is_a_name_a_place_or_a_pattern_of_either(match: str, place: str, meant: bool) -> None:
    assert RunRule(match=match, policy={}).matches(place.rpartition("/")[2], place) is meant


@pytest.mark.parametrize(
    ("watched", "own", "enforced"),
    [
        (None, False, False),
        (None, True, True),
        (Watched(Root(path="/runs")), False, False),
        (Watched(Root(path="/runs", mode="enforce")), False, False),
        (Watched(Root(path="/runs", mode="enforce"), confirmed=True), False, True),
    ],
)
def test_others_runs_are_enforced_below_a_root_whose_first_plan_is_confirmed(
    watched: Watched | None, own: bool, enforced: bool
) -> None:
    found = situation_for(view(own=own), watched, Config(), merge(()))
    assert (found.own, found.enforced, found.named, found.degraded) == (own, enforced, False, None)


def test_a_situation_knows_who_spoke_and_who_was_named() -> None:
    said = view(own=True, wishes=Wishes(own={"keep_last": 1}))
    assert situation_for(said, None, Config(), merge(layers_for(said, None, Config()))).own_policy
    config = Config(runs=(RunRule(match="exp", policy={"keep_best": 1}),))
    found = situation_for(said, None, config, merge(layers_for(said, None, config)))
    assert (found.own_policy, found.named) == (False, True)
    globbed = Config(runs=(RunRule(match="ex*", policy={"keep_best": 1}),))
    assert not situation_for(said, None, globbed, merge(())).named
    commanded = view(own=False, wishes=Wishes(said={"include_unknown": True}))
    assert situation_for(commanded, None, Config(), merge(())).named
    lost = Watched(Root(path="/runs"), state="degraded", problem="its disk is gone")
    assert situation_for(said, lost, Config(), merge(())).degraded == "its disk is gone"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"missing": ("/runs/group",)}, "the file system at /runs/group is not mounted"),
        ({"unreadable": ("/runs/group/exp/inner",)}, "/runs/group/exp/inner cannot be read"),
        ({"unreadable": ("/runs/group",)}, "/runs/group cannot be read"),
        ({"missing": ("/runs/other",), "unreadable": ("/runs/group/ex",)}, None),
    ],
)
def test_a_run_that_is_partly_out_of_sight_is_not_believed(fields: dict[str, Any], said: str | None) -> None:
    watched = Watched(Root(path="/runs", mode="enforce"), confirmed=True, **fields)
    assert situation_for(view(own=False), watched, Config(), merge(())).degraded == said


def test_a_root_with_more_links_than_were_followed_is_not_believed() -> None:
    watched = Watched(Root(path="/runs", mode="enforce"), confirmed=True, all_symlinks=False)
    degraded = situation_for(view(own=False), watched, Config(), merge(())).degraded
    assert degraded is not None
    assert "more than 100,000 symbolic links" in degraded


def hugging_face(directory: Path, step: int, loss: float) -> None:
    directory.mkdir(parents=True)
    save_file({"w": torch.ones(8)}, directory / "model.safetensors")
    torch.save({"state": {}, "param_groups": []}, directory / "optimizer.pt")
    log = [{"eval_loss": loss, "step": step, "epoch": 1.0}]
    state = {"global_step": step, "epoch": 1.0, "log_history": log}
    (directory / "trainer_state.json").write_text(json.dumps(state))


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was just written counts as quiet."""
    monkeypatch.setattr("ckpt.retention.outside.SETTLE_S", 0.0)


@pytest.fixture
def root(world: Any, tmp_path: Path) -> Path:
    """Two foreign runs of six checkpoints each, watched."""
    for run in ("one", "two"):
        for number in range(1, 7):
            hugging_face(tmp_path / "root" / run / f"checkpoint-{number}", number, 1.0 / number)
    world.roots.add(str(tmp_path / "root"), "observe", [])
    world.scanner.full()
    return tmp_path / "root"


def removed(world: Any) -> dict[str, list[int | None]]:
    return {
        view.run.name: sorted(d.checkpoint.step for d in view.plan.remove)
        for view in world.catalog.all()
        if view.plan.remove
    }


STRICT = {"keep_last": 4, "min_age": 0.0, "monitor": "eval_loss"}


def test_every_run_is_governed_by_what_holds_now(world: Any, root: Path) -> None:
    assert removed(world) == {}
    world.roots.propose(str(root), STRICT)
    assert removed(world) == {}
    world.roots.enforce(str(root))
    assert world.scanner.govern(str(root)) == {view.run.id for view in world.catalog.all()}
    assert removed(world) == {"one": [1, 2], "two": [1, 2]}
    # A fresh look at the disk is governed too.
    hugging_face(root / "one" / "checkpoint-7", 7, 0.1)
    world.scanner.full()
    assert removed(world) == {"one": [1, 2, 3], "two": [1, 2]}
    before = world.catalog.all()
    world.configure(Config(runs=(RunRule(match="two", policy={"keep_last": 1}),)))
    assert removed(world) == {"one": [1, 2, 3], "two": [1, 2, 3, 4, 5]}
    said = more_removed((view, world.catalog.get(view.run.id)) for view in before)
    assert said is not None
    assert said.startswith("would now remove 3 more checkpoints, ")
    assert said.endswith(", of 1 run: look with `ckpt plan`")
    world.roots.observe(str(root))
    world.scanner.govern()
    assert removed(world) == {}


def test_what_did_not_change_is_not_planned_again(world: Any, root: Path) -> None:
    world.roots.propose(str(root), STRICT)
    world.roots.enforce(str(root))
    assert len(world.scanner.govern()) == 2
    before = world.catalog.all()
    assert world.scanner.govern() == set()
    assert all(one is other for one, other in zip(before, world.catalog.all(), strict=True))


def test_time_alone_changes_a_plan(world: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.roots.propose(str(root), {**STRICT, "min_age": 3600.0})
    world.roots.enforce(str(root))
    world.scanner.govern()
    (one, _) = world.catalog.all()
    assert removed(world) == {}
    assert one.plan.changes_at is not None
    monkeypatch.setattr(Clock, "now", lambda self: one.plan.changes_at - 1.0)
    assert world.policies.govern(one) is one
    assert world.scanner.govern_due() == set()
    monkeypatch.setattr(Clock, "now", lambda self: time.time() + 7200.0)
    assert world.scanner.govern_due() == {view.run.id for view in world.catalog.all()}
    assert removed(world) == {"one": [1, 2], "two": [1, 2]}
    assert world.scanner.govern_due() == set()


def test_what_time_makes_due_is_swept_with_whatever_is_swept(
    world: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.roots.propose(str(root), {**STRICT, "min_age": 3600.0})
    world.roots.enforce(str(root))
    world.scanner.govern()
    monkeypatch.setattr(Clock, "now", lambda self: time.time() + 7200.0)
    world.keeper.sweep([])
    assert all(len(view.checkpoints) == 4 for view in world.catalog.all())
    assert world.kinds().count("checkpoint.trashed") == 4


def test_what_is_asked_for_is_put_together_once(world: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merged = []
    merge_now = retention.merge
    monkeypatch.setattr(retention, "merge", lambda layers: merged.append(1) or merge_now(layers))
    world.scanner.govern()
    world.scanner.govern()
    assert not merged, "nobody says anything else than at the first look"
    world.roots.set_policy(str(root), {"keep_last": 2})
    world.scanner.govern()
    world.scanner.govern()
    assert len(merged) == 2, "once a run"
    world.configure(Config(runs=(RunRule(match="two", policy={"keep_last": 1}),)))
    assert {view.run.name: view.plan.policy.keep_last for view in world.catalog.all()} == {"one": 2, "two": 1}


def test_what_is_linked_from_elsewhere_stays_and_goes_when_the_link_does(world: Any, root: Path) -> None:
    (root / "paper").mkdir()
    (root / "paper" / "figure").symlink_to("../one/checkpoint-1/model.safetensors")
    (root / "two" / "checkpoint-0").symlink_to("../one/checkpoint-2")
    world.roots.propose(str(root), STRICT)
    world.roots.enforce(str(root))
    world.scanner.full()
    assert removed(world) == {"two": [1, 2]}
    one = next(view for view in world.catalog.all() if view.run.name == "one")
    said = {c.step: [r.text for r in one.verdict(c.id).reasons] for c in one.checkpoints}
    assert said[1] == ["linked from paper/figure"]
    assert said[2] == ["linked from two/checkpoint-0"]
    previewed = world.policies.as_enforced(one)
    assert not previewed.plan.remove
    assert world.scanner.govern() == set()
    (root / "paper" / "figure").unlink()
    world.scanner.full()
    assert removed(world) == {"one": [1], "two": [1, 2]}


def test_a_run_that_is_gone_is_not_remembered(world: Any, root: Path) -> None:
    assert len(world.policies._asked) == 2
    shutil.rmtree(root / "two")
    world.scanner.full()
    assert list(world.policies._asked) == [str(root / "one")]


def test_a_degraded_root_plans_nothing_and_comes_back(world: Any, root: Path) -> None:
    world.roots.propose(str(root), STRICT)
    world.roots.enforce(str(root))
    world.scanner.govern()
    root.rename(root.with_name("away"))
    world.scanner.full()
    assert world.roots.known(str(root)).state == "degraded"
    assert removed(world) == {}
    assert all(view.situation.degraded is not None for view in world.catalog.all())
    root.with_name("away").rename(root)
    world.scanner.full()
    assert removed(world) == {"one": [1, 2], "two": [1, 2]}


def test_a_restart_and_a_command_are_governed_alike(make_world: Any, tmp_path: Path) -> None:
    for number in range(1, 7):
        hugging_face(tmp_path / "root" / "one" / f"checkpoint-{number}", number, 1.0 / number)
    world = make_world()
    world.roots.add(str(tmp_path / "root"), "observe", [])
    world.roots.propose(str(tmp_path / "root"), STRICT)
    world.roots.enforce(str(tmp_path / "root"))
    world.scanner.full()
    (one,) = world.catalog.all()
    marks.append(world.state.marks / f"{one.run.id}.jsonl", "policy", None, policy={"keep_last": 5})
    world.scanner.read(Path(one.run.path))
    assert removed(world) == {"one": [1]}
    world.catalog.flush()
    again = make_world()
    again.configure(Config())
    assert removed(again) == {"one": [1]}
    (loaded,) = again.catalog.all()
    assert (loaded.situation.enforced, loaded.origins["keep_last"]) == (True, "command")


def test_a_policy_that_layers_cannot_make_removes_nothing(world: Any, root: Path) -> None:
    world.roots.propose(str(root), STRICT)
    world.roots.enforce(str(root))
    world.configure(Config(policy={"keep_last": 3, "nonsense": 1}))
    assert removed(world) == {}
    assert all("do not go together" in (view.situation.degraded or "") for view in world.catalog.all())


def measured(found: RunView, *metrics: str) -> RunView:
    recorded = Checkpoint(id="c", run="r", path="/c", state="complete", metrics=dict.fromkeys(metrics, 1.0))
    return found.evolve(checkpoints=(recorded,))


@pytest.mark.parametrize(
    ("recorded", "holds"),
    [
        (("eval_loss",), "eval_loss"),  # nobody ever recorded val_loss: its trainer knows better
        (("eval_loss", "val_loss"), "val_loss"),
        (("other",), "val_loss"),
        ((), "val_loss"),
    ],
)
def test_a_general_monitor_holds_for_runs_that_know_it(recorded: tuple[str, ...], holds: str) -> None:
    trained = measured(view(own=False, wishes=Wishes(own={"monitor": "eval_loss"}, origin="trainer")), *recorded)
    config = Config(policy={"keep_best": 2, "monitor": "val_loss", "mode": "max"})
    merged = merge(layers_for(trained, ROOT, config))
    assert (merged.policy.monitor, merged.policy.keep_best) == (holds, 2)
    assert merged.policy.mode == ("max" if holds == "val_loss" else "min")
    assert merged.origins["monitor"] == ("config.toml [policy]" if holds == "val_loss" else "trainer")
    notes = unheard(trained, ROOT, config)
    assert bool(notes) == (holds == "eval_loss")
    if notes:
        assert notes == [
            "config.toml [policy] names val_loss, which no checkpoint of it has recorded: eval_loss holds, by which "
            "its trainer goes"
        ]


def test_a_named_place_says_which_monitor_holds() -> None:
    trained = measured(view(own=False, wishes=Wishes(own={"monitor": "eval_loss"}, origin="trainer")), "eval_loss")
    config = Config(runs=(RunRule(match="exp", policy={"monitor": "val_loss"}),))
    assert merge(layers_for(trained, ROOT, config)).policy.monitor == "val_loss"
    said = trained.evolve(wishes=trained.wishes.evolve(said={"monitor": "val_loss"}))
    assert merge(layers_for(said, ROOT, Config())).policy.monitor == "val_loss"


def test_a_trainer_that_names_no_monitor_hears_the_general_one() -> None:
    guessed = measured(view(own=False, wishes=Wishes(guessed={"monitor": "loss"}, origin="trainer")), "loss")
    assert merge(layers_for(guessed, ROOT, Config(policy={"monitor": "val_loss"}))).policy.monitor == "val_loss"


@pytest.mark.parametrize(
    "watched", [None, Watched(OBSERVED), Watched(OBSERVED.evolve(mode="enforce"))], ids=["outside", "observed", "waits"]
)
def test_where_nothing_is_enforced_own_runs_hear_only_who_names_them(watched: Watched | None) -> None:
    silent = view(own=True)
    assert merge(layers_for(silent, watched, Config(policy={"keep_last": 1}))).policy == Policy()
    assert unheard(silent, watched, Config(policy={"keep_last": 1}))
    said = view(own=True, wishes=Wishes(said={"keep_best": 1}))
    merged = merge(layers_for(said, watched, CONFIG))
    assert (merged.policy.keep_last, merged.policy.keep_every_n_epochs, merged.policy.keep_best) == (None, 10, 2)
    assert merged.policy.keep_for == Policy().keep_for
    foreign = view(own=False)
    assert merge(layers_for(foreign, watched, Config(policy={"keep_within": 60.0}))).policy.keep_within == 60.0


def test_to_observe_removes_nothing_of_own_runs_by_general_policies(world: Any, runs: Any) -> None:
    runs.run("silent", checkpoints=6)
    world.roots.add(str(runs.base), "observe", [])
    world.scanner.full()
    world.configure(Config(policy={"keep_last": 1, "max_share": 1.0}))
    world.roots.set_policy(str(runs.base), {"keep_last": 2, "max_share": 1.0})
    world.scanner.govern()
    (found,) = world.catalog.all()
    assert found.run.own
    assert not found.plan.remove
    world.keeper.sweep([found.run.id])
    assert len(world.catalog.all()[0].checkpoints) == 6
    shown = world.get(f"/v1/policy?run={found.run.id}")
    assert shown["unheard"] == [
        "config.toml [policy] does not hold for it: its directory is only observed",
        "root does not hold for it: its directory is only observed",
    ]
    world.roots.enforce(str(runs.base))
    world.scanner.govern()
    world.keeper.sweep([found.run.id])
    assert len(world.catalog.all()[0].checkpoints) == 2
    assert world.get(f"/v1/policy?run={found.run.id}")["unheard"] == []
