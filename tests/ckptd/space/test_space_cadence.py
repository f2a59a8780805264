from __future__ import annotations

import pytest

from ckpt.records import Checkpoint, Run
from ckpt.retention import FOREIGN, OWN, Policy, Situation, plan
from ckpt.scan import RunView
from ckptd.space.cadence import cadence, written_soon

NOW = 1_700_000_000.0
MB = 1 << 20


def view(
    saves: int,
    *,
    every: float = 600.0,
    size: int = MB,
    kept: int | None = None,
    rules: dict[str, object] | None = None,
    situation: Situation = OWN,
    status: str = "training",
    last: float = 0.0,
) -> RunView:
    """A run that saved so often, the last time `last` seconds ago, of which the newest `kept` are still there."""
    own = situation.own
    made = [
        Checkpoint(
            id=f"{n:012x}",
            run="r",
            path=f"/runs/r/{n}.pt",
            framework="ckpt" if own else "lightning",
            seq=n if own else None,
            step=n * 100,
            bytes=size,
            unique_bytes=size,
            saved_at=NOW - last - (saves - n) * every,
            files=(f"/runs/r/{n}.pt",),
        )
        for n in range(1, saves + 1)
    ]
    there = tuple(reversed(made[-kept:] if kept else made))
    policy = Policy(**(rules or {}))  # type: ignore[arg-type]
    run = Run(
        id="r", name="r", root="/runs", path="/runs/r", own=own, status=status, created_at=NOW - last - saves * every
    )
    return RunView(run=run, checkpoints=there, plan=plan(there, policy, NOW, situation=situation), situation=situation)


def test_a_run_without_rules_keeps_everything() -> None:
    found = cadence(view(10), NOW)
    assert found is not None
    assert (found.interval_s, found.bytes, found.lasting) == (600.0, MB, 1.0)
    assert found.pace == MB / 600


def test_a_policy_that_keeps_the_last_grows_into_its_trash_only() -> None:
    found = cadence(view(100, kept=5, rules={"keep_last": 5, "keep_for": 3600.0}), NOW)
    assert found is not None and found.lasting == 0.0 and found.kept_for_s == 3600.0


def test_what_rules_keep_for_good_goes_on_growing() -> None:
    found = cadence(view(100, rules={"keep_last": 5, "keep_every_n_steps": 1000}), NOW)
    assert found is not None and found.lasting == pytest.approx(0.1)


def test_a_trainer_that_rotates_by_itself_does_not_grow() -> None:
    rotating = cadence(view(100, kept=4, situation=FOREIGN), NOW)
    keeping = cadence(view(100, situation=FOREIGN), NOW)
    assert rotating is not None and rotating.lasting == pytest.approx(0.04)
    assert keeping is not None and keeping.lasting == 1.0
    assert rotating.kept_for_s == keeping.kept_for_s == 0.0


def test_rules_that_nobody_enforces_remove_nothing() -> None:
    found = cadence(view(20, situation=FOREIGN, rules={"keep_last": 2, "monitor": None}), NOW)
    assert found is not None and found.lasting == 1.0


def test_a_save_that_is_overdue_slows_the_cadence_down() -> None:
    found = cadence(view(10, every=60.0, last=900.0), NOW)
    assert found is not None and found.interval_s == 900.0


@pytest.mark.parametrize(
    "seen",
    [
        view(10, status="idle"),
        view(10, status="stalled"),
        view(2),
        view(0),
        view(5, every=0.0, last=0.0),
    ],
)
def test_what_tells_too_little_has_no_cadence(seen: RunView) -> None:
    assert cadence(seen, NOW) is None


def test_one_odd_save_changes_nothing() -> None:
    seen = view(11)
    odd = seen.checkpoints[3].evolve(unique_bytes=1 << 40, bytes=1 << 40)
    found = cadence(seen.evolve(checkpoints=(*seen.checkpoints[:3], odd, *seen.checkpoints[4:])), NOW)
    assert found is not None and found.bytes == MB


def test_holes_do_not_count() -> None:
    """One terabyte of which a megabyte lies on the disk."""
    seen = view(5)
    sparse = tuple(c.evolve(bytes=1 << 40) for c in seen.checkpoints)
    found = cadence(seen.evolve(checkpoints=sparse), NOW)
    assert found is not None and found.bytes == MB
    assert written_soon([seen.evolve(checkpoints=sparse)]) == MB


def test_what_is_written_soon_is_of_running_trainings() -> None:
    assert written_soon([]) == 0
    assert written_soon([view(3, size=5), view(3, size=7), view(3, size=9, status="finished")]) == 7


def test_a_training_that_saves_often_writes_several_before_room_is_made_again() -> None:
    assert written_soon([view(5, size=7, every=2.5)]) == 8 * 7
    assert written_soon([view(5, size=7, every=30.0)]) == 7
    assert written_soon([view(1, size=7, every=1.0)]) == 7
    assert written_soon([view(40, size=7, every=2.5, kept=2)]) == 8 * 7, "a policy may leave two"
    assert written_soon([view(5, size=10 << 30, every=0.1)]) == 10 << 30, "a copy of a run tells no cadence"


def test_two_that_a_rule_left_of_many_make_a_cadence() -> None:
    found = cadence(view(40, every=2.5, kept=2), NOW)
    assert found is not None and found.interval_s == 2.5


def test_the_third_save_of_a_plain_loop_makes_a_cadence() -> None:
    found = cadence(view(3, every=2.5, size=10 * MB, situation=FOREIGN), NOW)
    assert found is not None and (found.interval_s, found.bytes, found.lasting) == (2.5, 10 * MB, 1.0)
