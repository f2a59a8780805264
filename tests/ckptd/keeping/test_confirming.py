"""How a root comes to be enforced: what is refused, and that a plan of another world confirms nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ckpt.exceptions import CkptError, OperationError, UsageError
from ckptd.config.values import Config, RunRule

RULES = {"keep_last": 4, "min_age": 0.0, "monitor": "eval_loss"}


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was just written counts as quiet."""
    monkeypatch.setattr("ckpt.retention.outside.SETTLE_S", 0.0)


@pytest.fixture
def root(world: Any, tmp_path: Path) -> Path:
    """A foreign run of six checkpoints, watched."""
    for step in range(1, 7):
        saved(tmp_path / "root", step)
    world.post("/v1/roots", path=str(tmp_path / "root"))
    return tmp_path / "root"


def saved(root: Path, step: int) -> None:
    directory = root / "run" / f"checkpoint-{step}"
    directory.mkdir(parents=True)
    save_file({"w": torch.ones(8)}, directory / "model.safetensors")
    torch.save({"state": {}, "param_groups": []}, directory / "optimizer.pt")
    log = [{"eval_loss": 1.0 / step, "step": step, "epoch": 1.0}]
    state = {"global_step": step, "epoch": 1.0, "log_history": log}
    (directory / "trainer_state.json").write_text(json.dumps(state))


def steps(root: Path) -> list[int]:
    return sorted(int(path.name.partition("-")[2]) for path in (root / "run").glob("checkpoint-*"))


def first_plan(world: Any, root: Path) -> dict[str, Any]:
    plan: dict[str, Any] = world.get(f"/v1/plan?root={root}&enforced=1")
    return plan


def test_a_proposal_removes_nothing_and_a_confirmation_what_it_showed(world: Any, root: Path) -> None:
    proposed = world.post("/v1/roots", path=str(root), mode="enforce", policy=RULES)
    assert (proposed["proposed"], proposed["root"]["mode"]) == (RULES, "observe")
    world.keeper.sweep([view.run.id for view in world.catalog.all()])
    plan = first_plan(world, root)
    assert [len(run["remove"]) for run in plan["runs"]] == [2]
    assert steps(root) == [1, 2, 3, 4, 5, 6]
    answer = world.post("/v1/roots", path=str(root), mode="enforce", plan=plan["id"])
    assert len(answer["applied"]["removed"]) == 2
    assert (answer["root"]["confirmed"], answer["root"]["policy"]) == (True, RULES)
    assert steps(root) == [3, 4, 5, 6]
    assert "root.enforced" in world.kinds()


def test_a_plan_that_is_not_the_present_first_one_confirms_nothing(world: Any, root: Path) -> None:
    world.post("/v1/roots", path=str(root), mode="enforce", policy=RULES)
    plan = first_plan(world, root)
    for wrong in ("0" * 8, world.get("/v1/plan")["id"]):
        with pytest.raises(UsageError):
            world.post("/v1/roots", path=str(root), mode="enforce", plan=wrong)
    saved(root, 7)
    with pytest.raises(OperationError):
        world.post("/v1/roots", path=str(root), mode="enforce", plan=plan["id"])
    assert not world.roots.known(str(root)).enforced
    assert steps(root) == [1, 2, 3, 4, 5, 6, 7]


def test_a_world_that_changes_in_the_very_moment_leaves_the_root_observed(
    world: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.post("/v1/roots", path=str(root), mode="enforce", policy=RULES)
    plan = first_plan(world, root)
    check = type(world.keeper).check

    def checked(keeper: Any, plan_id: str, of: str) -> Any:
        found = check(keeper, plan_id, of)
        saved(root, 7)
        return found

    monkeypatch.setattr(type(world.keeper), "check", checked)
    with pytest.raises(OperationError):
        world.post("/v1/roots", path=str(root), mode="enforce", plan=plan["id"])
    watched = world.roots.known(str(root))
    assert (watched.root.mode, watched.confirmed, watched.root.policy) == ("observe", False, {})
    assert steps(root) == [1, 2, 3, 4, 5, 6, 7]


def test_without_a_rule_nothing_is_enforced(world: Any, root: Path) -> None:
    with pytest.raises(UsageError, match="no rule says what to keep"):
        world.post("/v1/roots", path=str(root), mode="enforce")
    # A rule of the very run is one, and so is the default of all.
    world.configure(Config(runs=(RunRule(match="run", policy={"keep_last": 2}),)))
    assert world.post("/v1/roots", path=str(root), mode="enforce")["proposed"] == {}
    world.configure(Config(policy={"keep_last": 2}))
    assert world.post("/v1/roots", path=str(root), mode="enforce")["proposed"] == {}


def test_where_no_trash_can_lie_nothing_is_enforced(world: Any, tmp_path: Path) -> None:
    for step in (1, 2, 3):
        saved(tmp_path, step)
    world.post("/v1/roots", path=str(tmp_path / "run" / "checkpoint-1"))
    with pytest.raises(OperationError, match="checkpoint") as error:
        world.post("/v1/roots", path=str(tmp_path / "run" / "checkpoint-1"), mode="enforce", policy=RULES)
    assert "watch" in (error.value.hint or "")
    assert not world.roots.known(str(tmp_path / "run" / "checkpoint-1")).enforced


def test_a_root_of_another_machine_is_refused_and_given_up_when_it_is_left(world: Any, root: Path) -> None:
    owner = root / ".ckptd" / "owner.json"
    owner.parent.mkdir()
    now = time.time()
    said = {"version": 1, "id": "e" * 16, "machine": "f" * 16, "host": "elsewhere", "user": "eva", "claimed_at": now}
    owner.write_text(json.dumps(said))
    with pytest.raises(OperationError, match="elsewhere") as error:
        world.post("/v1/roots", path=str(root), mode="enforce", policy=RULES)
    assert "--take-over" in (error.value.hint or "")
    world.post("/v1/roots", path=str(root), mode="enforce", policy=RULES, take_over=True)
    plan = first_plan(world, root)
    world.post("/v1/roots", path=str(root), mode="enforce", plan=plan["id"], take_over=True)
    assert steps(root) == [3, 4, 5, 6]
    assert json.loads(owner.read_text())["machine"] != "f" * 16
    left = world.post("/v1/roots/remove", path=str(root))["trash"]
    assert (left["entries"], left["path"]) == (2, str(root / ".ckptd" / "trash"))
    assert not owner.exists()


@pytest.mark.parametrize(
    "body", [{"mode": "watch"}, {"plan": "x"}, {"policy": {}}, {"mode": "enforce", "policy": 3}, {"mode": 3}]
)
def test_bodies_that_mean_nothing_are_refused(world: Any, root: Path, body: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        world.post("/v1/roots", path=str(root), **body)


@pytest.fixture
def confirmed(world: Any, root: Path) -> Path:
    """The root enforced under RULES, its first plan carried out."""
    world.post("/v1/roots", path=str(root), mode="enforce", policy=RULES)
    world.post("/v1/roots", path=str(root), mode="enforce", plan=first_plan(world, root)["id"])
    return root


def test_a_policy_whose_confirmation_fails_does_not_hold(
    world: Any, confirmed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = {**RULES, "keep_last": 1, "max_share": 1.0}
    world.post("/v1/roots", path=str(confirmed), mode="enforce", policy=strict)
    plan = first_plan(world, confirmed)
    assert [len(run["remove"]) for run in plan["runs"]] == [3]
    check = type(world.keeper).check

    def checked(keeper: Any, plan_id: str, of: str) -> Any:
        found = check(keeper, plan_id, of)
        saved(confirmed, 7)
        return found

    monkeypatch.setattr(type(world.keeper), "check", checked)
    with pytest.raises(OperationError):
        world.post("/v1/roots", path=str(confirmed), mode="enforce", plan=plan["id"], policy=strict)
    watched = world.roots.known(str(confirmed))
    assert (watched.enforced, watched.root.policy) == (True, RULES), "as it was before"
    world.keeper.sweep([view.run.id for view in world.catalog.all()])
    assert steps(confirmed) == [4, 5, 6, 7]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError(), KeyboardInterrupt()])
def test_whatever_ends_a_confirmation_leaves_the_root_observed(
    world: Any, root: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    world.post("/v1/roots", path=str(root), mode="enforce", policy=RULES)
    plan = first_plan(world, root)

    def failing(keeper: Any, plan_id: str) -> Any:
        raise error

    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(type(world.keeper), "apply", failing)
        world.post("/v1/roots", path=str(root), mode="enforce", plan=plan["id"])
    watched = world.roots.known(str(root))
    assert (watched.root.mode, watched.enforced) == ("observe", False)
    assert first_plan(world, root)["id"] == plan["id"], "what was proposed still is"


def test_a_disk_that_takes_no_line_enforces_nothing_that_was_not_confirmed(
    world: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.post("/v1/roots", path=str(root), mode="enforce", policy=RULES)
    plan = first_plan(world, root)

    def full(*rest: Any) -> Any:
        raise OSError(28, "No space left on device")

    def failing(keeper: Any, plan_id: str) -> Any:
        monkeypatch.setattr(world.roots._store, "write", full)
        full()

    monkeypatch.setattr(type(world.keeper), "apply", failing)
    with pytest.raises(OSError, match="No space left"):
        world.post("/v1/roots", path=str(root), mode="enforce", plan=plan["id"])
    assert not world.roots.known(str(root)).enforced


def test_the_policy_that_was_shown_is_the_one_that_is_confirmed(world: Any, root: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    # Of a directory without runs every policy has the same plan.
    mine = world.post("/v1/roots", path=str(empty), mode="enforce", policy=RULES)["proposed"]
    plan = world.get(f"/v1/plan?root={empty}&enforced=1")
    world.post("/v1/roots", path=str(empty), mode="enforce", policy={"keep_last": 1})
    answer = world.post("/v1/roots", path=str(empty), mode="enforce", plan=plan["id"], policy=mine)
    assert answer["root"]["policy"] == RULES


def test_nobody_proposes_another_policy_between_the_check_and_the_act(
    world: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.post("/v1/roots", path=str(root), mode="enforce", policy=RULES)
    plan = first_plan(world, root)
    check = type(world.keeper).check

    def checked(keeper: Any, plan_id: str, of: str) -> Any:
        found = check(keeper, plan_id, of)
        world.roots.propose(of, {"keep_last": 1})
        return found

    monkeypatch.setattr(type(world.keeper), "check", checked)
    answer = world.post("/v1/roots", path=str(root), mode="enforce", plan=plan["id"])
    assert answer["root"]["policy"] == RULES and steps(root) == [3, 4, 5, 6]


def test_a_proposal_that_is_refused_leaves_the_one_before_it(world: Any, root: Path) -> None:
    world.post("/v1/roots", path=str(root), mode="enforce", policy=RULES)
    plan = first_plan(world, root)
    for wrong in ({"keep_last": -1}, {"monitor": "loss", "mode": "sideways"}, {}):
        with pytest.raises(CkptError):
            world.post("/v1/roots", path=str(root), mode="enforce", policy=wrong)
        assert first_plan(world, root)["id"] == plan["id"]
    assert world.post("/v1/roots", path=str(root), mode="enforce", plan=plan["id"])["root"]["policy"] == RULES


def test_what_cannot_be_enforced_is_not_watched_for_it(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "root", 1)
    home = tmp_path / "home"
    saved(home, 1)
    monkeypatch.setenv("HOME", str(home))

    def surveyed(*rest: Any) -> Any:
        raise AssertionError("nothing is looked at there")

    with monkeypatch.context() as context:
        context.setattr(type(world.scanner), "look", surveyed)
        for path in ("/", str(home)):
            with pytest.raises(UsageError, match="can be watched, not enforced"):
                world.post("/v1/roots", path=path, mode="enforce", policy=RULES)
    with pytest.raises(UsageError, match="no rule"):
        world.post("/v1/roots", path=str(tmp_path / "root"), mode="enforce")
    assert world.roots.all() == [] and world.catalog.all() == []
    assert world.kinds()[-1] == "root.removed"
    # What was watched before stays so, and so does what took the place of another root.
    world.post("/v1/roots", path=str(tmp_path / "root"))
    with pytest.raises(UsageError, match="no rule"):
        world.post("/v1/roots", path=str(tmp_path / "root"), mode="enforce")
    (tmp_path / "root").rename(tmp_path / "renamed")
    with pytest.raises(UsageError, match="no rule"):
        world.post("/v1/roots", path=str(tmp_path / "renamed"), mode="enforce")
    assert [watched.root.path for watched in world.roots.all()] == [str(tmp_path / "renamed")]
