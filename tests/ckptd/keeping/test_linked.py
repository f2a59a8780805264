"""What symbolic links lead to stays under an enforced root, and goes when they are gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckptd.keeping import rechecking


def sweep(world: Any) -> None:
    world.keeper.sweep([view.run.id for view in world.catalog.all()])


def dangling(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_symlink() and not path.exists()]


def steps(run: Path) -> list[int]:
    return sorted(int(path.name.rpartition("-")[2]) for path in run.glob("checkpoint-*") if not path.is_symlink())


def test_links_from_other_runs_from_none_and_of_other_names_hold(world: Any, foreign: Any, enforced: Any) -> None:
    a, b = foreign.transformers("a"), foreign.transformers("b")
    lit = foreign.lightning("lit")
    (b / "checkpoint-0").symlink_to("../a/checkpoint-10")
    (b / "checkpoint-50" / "base.safetensors").symlink_to("../../a/checkpoint-20/model.safetensors")
    (foreign.base / "paper").mkdir()
    (foreign.base / "paper" / "figure3").symlink_to("../lit/checkpoints/epoch=0-step=100.ckpt")
    (lit / "for_paper").symlink_to("epoch=1-step=200.ckpt")
    enforced(keep_last=1)
    sweep(world)
    assert world.scanner.counts.last_error is None
    assert dangling(foreign.base) == []
    assert (steps(a), steps(b)) == ([10, 20, 50], [50])
    assert sorted(path.name for path in lit.iterdir()) == [
        "epoch=0-step=100.ckpt",
        "epoch=1-step=200.ckpt",
        "epoch=4-step=500.ckpt",
        "for_paper",
    ]
    (b / "checkpoint-0").unlink()
    (foreign.base / "paper" / "figure3").unlink()
    read = world.scanner.dirty({str(b): False, str(foreign.base / "paper"): False})
    world.keeper.sweep(read)
    assert steps(a) == [20, 50]
    assert not (lit / "epoch=0-step=100.ckpt").exists()


def test_own_runs_are_held_too_and_their_own_pointers_hold_nothing(world: Any, runs: Any) -> None:
    run = runs.run("exp", checkpoints=4, policy={"keep_last": 1, "max_share": 1.0})
    (run / "checkpoints" / "best.pt").symlink_to("step-000010.pt")
    (run / "checkpoints" / "shown").symlink_to("step-000020.pt")
    (runs.base / "figure").symlink_to("exp/checkpoints/step-000030.pt")
    world.roots.add(str(runs.base), "observe", [])
    world.scanner.full()
    sweep(world)
    left = sorted(path.name for path in (run / "checkpoints").glob("step-*.pt"))
    assert left == ["step-000020.pt", "step-000030.pt", "step-000040.pt"]
    assert [path for path in dangling(runs.base) if path.name != "best.pt"] == []


@pytest.mark.parametrize("place", ["sft/kept", "paper/figure"])
def test_a_link_that_comes_while_a_plan_is_carried_out_holds(
    world: Any, foreign: Any, enforced: Any, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = foreign.transformers()
    (foreign.base / "paper").mkdir()
    enforced(keep_last=1)
    link = foreign.base / place
    real = rechecking.changed

    def late(base: Any, checkpoint: Any, *rest: Any) -> str | None:
        if not link.is_symlink():
            link.symlink_to(run / "checkpoint-30")
            world.scanner.dirty({str(link.parent): True})
        return real(base, checkpoint, *rest)

    monkeypatch.setattr(rechecking, "changed", late)
    sweep(world)
    assert dangling(foreign.base) == []
    assert steps(run) == [30, 50]


def test_a_link_in_the_run_is_seen_before_anything_of_it_goes(world: Any, foreign: Any, enforced: Any) -> None:
    run = foreign.transformers()
    enforced(keep_last=1)
    # No event and no look since.
    (run / "kept").symlink_to("checkpoint-20")
    sweep(world)
    assert dangling(foreign.base) == []
    assert steps(run) == [20, 50]
