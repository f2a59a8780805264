"""One run's plan carried out: what is told when something fails, ends or is said anew in the middle of it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpt.exceptions import OperationError
from ckpt.retention import Plan
from ckptd.config.values import Config, RunRule
from ckptd.keeping import own_pointers
from ckptd.keeping.enforcing import Enforcing

TEN = tuple(range(10, 110, 10))


def steps(run: Path) -> list[int]:
    return sorted(int(path.name.partition("-")[2]) for path in run.glob("checkpoint-*"))


def sweep(world: Any) -> None:
    world.keeper.sweep([view.run.id for view in world.catalog.all()])


@pytest.fixture
def ten(foreign: Any, enforced: Any) -> Path:
    """A foreign run of ten checkpoints of which eight are to go."""
    run: Path = foreign.transformers(steps=TEN)
    enforced(keep_last=2)
    return run


@pytest.fixture
def before_the(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """`before_the(3, act)` calls `act` right before the last look at the third item of an act."""
    real = Enforcing._changed

    def put(number: int, act: Callable[[], None]) -> None:
        seen: list[str] = []

        def late(enforcing: Enforcing, fresh: Any, checkpoint: Any, *rest: Any) -> str | None:
            seen.append(checkpoint.id)
            if len(seen) == number:
                act()
            return real(enforcing, fresh, checkpoint, *rest)

        monkeypatch.setattr(Enforcing, "_changed", late)

    return put


def test_a_journal_that_fails_in_the_middle_hides_nothing_that_was_done(
    world: Any, ten: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, told = type(world.journal).record, []

    def full(journal: Any, kind: str, **fields: Any) -> Any:
        told.append(kind)
        if told.count("remove") == 3 and kind == "remove":
            raise OSError(errno.ENOSPC, "No space left on device")
        return record(journal, kind, **fields)

    monkeypatch.setattr(type(world.journal), "record", full)
    answer = world.post("/v1/apply", plan=world.keeper.plan().id)
    assert len(answer["removed"]) == 7 == 10 - len(steps(ten)) and answer["freed_at_purge"] > 0
    assert [Path(item["path"]).name for item in answer["skipped"]] == ["checkpoint-30"]
    assert "No space left" in answer["skipped"][0]["reason"] and 30 in steps(ten)


def test_a_look_that_fails_after_the_act_hides_nothing_that_was_done(
    world: Any, ten: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = world.keeper.plan()
    read, looks = type(world.scanner).read, []

    def failing(scanner: Any, directory: Path) -> Any:
        looks.append(directory)
        if len(looks) == 3:  # one finds the plan, one is right before the act
            raise OperationError("the disk is gone")
        return read(scanner, directory)

    monkeypatch.setattr(type(world.scanner), "read", failing)
    assert len(world.post("/v1/apply", plan=plan.id)["removed"]) == 8
    assert len(looks) == 3 and steps(ten) == [90, 100]


def test_pointers_that_cannot_be_swapped_hide_nothing_and_are_told(
    world: Any, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.run("exp1", checkpoints=5, policy={"keep_last": 2})
    world.roots.add(str(runs.base), "observe", [])
    world.scanner.full()

    def failing(view: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(own_pointers, "swap_all", failing)
    plan: Plan = world.keeper.plan()
    assert len(world.post("/v1/apply", plan=plan.id)["removed"]) == 3
    runs.checkpoint(runs.base / "exp1", step=60)
    world.scanner.full()
    sweep(world)
    assert len(world.keeper.entries()) == 4
    assert "Read-only file system" in world.scanner.counts.last_error


def test_the_end_of_the_daemon_leaves_the_rest_and_says_so(world: Any, ten: Path, before_the: Any) -> None:
    plan = world.keeper.plan()
    before_the(3, world.keeper.stop)
    answer = world.post("/v1/apply", plan=plan.id)
    assert len(answer["removed"]) == 3 and steps(ten) == list(TEN[3:])
    assert [item["reason"] for item in answer["skipped"]] == ["the daemon is ending"] * 5
    # What comes when it is ending already is not even begun.
    answer = world.post("/v1/apply", plan=world.keeper.plan().id)
    assert answer["removed"] == [] and len(answer["skipped"]) == 5


def _by_command(world: Any, run: Path) -> None:
    world.post("/v1/policy", run=str(run), policy={"keep_last": 100})


def _of_the_root(world: Any, run: Path) -> None:
    world.post("/v1/policy", path=str(run.parent), policy={"keep_last": 100, "monitor": "none"})


def _in_the_config(world: Any, run: Path) -> None:
    world.configure(Config(runs=(RunRule(match="sft", policy={"keep_last": 100}),)))


def _in_the_marks_alone(world: Any, run: Path) -> None:
    """As a command of another process leaves it until the daemon looks."""
    from ckpt import marks

    path = world.state.marks / f"{world.catalog.at(str(run)).run.id}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    marks.append(path, "policy", None, policy={"keep_last": 100})


@pytest.mark.parametrize("relax", [_by_command, _of_the_root, _in_the_config, _in_the_marks_alone])
@pytest.mark.parametrize("unasked", [True, False])
def test_a_policy_that_is_relaxed_meanwhile_keeps_the_rest(
    world: Any, ten: Path, before_the: Any, relax: Callable[[Any, Path], None], unasked: bool
) -> None:
    plan = world.keeper.plan()
    before_the(3, lambda: relax(world, ten))
    if unasked:
        sweep(world)
    else:
        answer = world.post("/v1/apply", plan=plan.id)
        assert [item["reason"] for item in answer["skipped"]] == ["its policy changed meanwhile"] * 6
    assert steps(ten) == list(TEN[2:])


def test_a_root_that_is_doubted_meanwhile_keeps_the_rest(world: Any, ten: Path, before_the: Any) -> None:
    plan = world.keeper.plan()

    def doubt() -> None:
        watched = world.roots.all()[0]
        watched.unreadable = (str(ten / "logs"),)
        world.scanner.govern()

    before_the(3, doubt)
    answer = world.post("/v1/apply", plan=plan.id)
    assert len(answer["removed"]) == 2 and "not to be believed" in answer["skipped"][0]["reason"]
