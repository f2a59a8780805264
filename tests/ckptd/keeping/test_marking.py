"""Marks and policies through the daemon: written where the run keeps them, journaled, and taken back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt import marks
from ckpt.exceptions import AddressError, StateError, UsageError
from ckpt.paths import RunPaths
from ckptd.catalog import lost_marks


@pytest.fixture
def own(world: Any, runs: Any) -> Path:
    directory: Path = runs.run("exp1", checkpoints=4, policy={"keep_last": 4})
    world.roots.add(str(runs.base), "observe", [])
    world.scanner.full()
    return directory


@pytest.fixture
def foreign(world: Any, tmp_path: Path) -> Path:
    directory = tmp_path / "others" / "cnn"
    directory.mkdir(parents=True)
    for epoch in (1, 2, 3):
        torch.save(
            {"model": {"w": torch.ones(2)}, "epoch": epoch, "global_step": 10 * epoch}, directory / f"e_{epoch}.pt"
        )
    world.roots.add(str(tmp_path / "others"), "observe", [])
    world.scanner.full()
    return directory


def best(world: Any, directory: Path) -> Any:
    view = world.catalog.at(str(directory))
    return next((c.step for c in view.checkpoints if c.id == view.run.best), None)


def test_ranks_move_at_once_and_back(world: Any, own: Path) -> None:
    assert best(world, own) == 40
    answer = world.post("/v1/marks", ref=f"{own}@step:10", kind="metric", metrics={"loss": 0.01, "acc": "NaN"}, step=15)
    marked = answer["checkpoint"]
    assert marked["metrics"] == {"loss": 0.01, "acc": None} and marked["measured"] == {"loss": 15, "acc": 15}
    assert best(world, own) == 10 and "best" in marked["tags"]
    assert world.get("/v1/undo")["undo"]["text"] == "metric loss, acc on exp1/step-000010.pt"
    world.post("/v1/undo")
    back = world.get(f"/v1/resolve?ref={own}@step:10")["checkpoint"]
    assert back["metrics"] == {} and back["measured"] == {} and best(world, own) == 40


def test_undo_gives_back_the_late_value_that_was_there_before(world: Any, own: Path) -> None:
    ref = f"{own}@step:10"
    world.post("/v1/marks", ref=ref, kind="metric", metrics={"acc": 0.5}, step=7)
    world.post("/v1/marks", ref=ref, kind="metric", metrics={"acc": 0.6, "bleu": 30})
    world.post("/v1/undo")
    shown = world.get(f"/v1/resolve?ref={ref}")["checkpoint"]
    assert shown["metrics"] == {"acc": 0.5} and shown["measured"] == {"acc": 7}
    world.post("/v1/marks", ref=ref, kind="unmetric", names=["acc"])
    assert world.get(f"/v1/resolve?ref={ref}")["checkpoint"]["metrics"] == {}
    world.post("/v1/undo")
    assert world.get(f"/v1/resolve?ref={ref}")["checkpoint"]["measured"] == {"acc": 7}


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "metric"},
        {"kind": "metric", "metrics": {}},
        {"kind": "metric", "metrics": {"acc": "high"}},
        {"kind": "metric", "metrics": {"acc": 1}, "step": -1},
        {"kind": "metric", "metrics": [["acc", 1]]},
        {"kind": "unmetric"},
        {"kind": "unmetric", "names": []},
        {"kind": "unmetric", "names": [["acc"]]},
        {"kind": "metric", "metrics": {"acc": 1}, "step": "7"},
        {"kind": "unmetric", "names": ["acc"]},
        {"kind": "policy", "policy": {}},
        {"kind": "measure"},
    ],
)
def test_marks_that_cannot_be_are_neither_journaled_nor_written(world: Any, own: Path, body: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        world.post("/v1/marks", ref=f"{own}@step:10", **body)
    assert world.journal.acts() == [] and not RunPaths(own).marks.exists()


def test_late_metrics_of_a_foreign_run_lie_in_the_state_directory(world: Any, foreign: Path) -> None:
    before = sorted(path.name for path in foreign.iterdir())
    world.post("/v1/marks", ref=f"{foreign}@epoch:1", kind="metric", metrics={"wer": "Infinity"})
    run = world.catalog.at(str(foreign)).run.id
    said = marks.read(world.state.marks / f"{run}.jsonl").metrics
    assert [late for known in said.values() for late in known.values()] == [marks.Late(math.inf, 10)]
    assert sorted(path.name for path in foreign.iterdir()) == before


def test_what_the_journal_knows_of_them_is_given_back(world: Any, foreign: Path) -> None:
    world.post("/v1/marks", ref=f"{foreign}@epoch:1", kind="metric", metrics={"acc": 0.5, "bleu": 3}, step=12)
    world.post("/v1/marks", ref=f"{foreign}@epoch:1", kind="metric", metrics={"acc": 0.7})
    world.post("/v1/undo")
    world.post("/v1/policy", run=str(foreign), policy={"keep_last": 2})
    view = world.catalog.at(str(foreign))
    path = world.state.marks / f"{view.run.id}.jsonl"
    whole = marks.read(path)
    path.unlink()
    lost_marks.restore(world.state, world.journal, [view])
    again = marks.read(path)
    assert again.metrics == whole.metrics and again.policy == whole.policy == {"keep_last": 2}


def test_a_policy_of_a_run_is_set_and_taken_back(world: Any, own: Path) -> None:
    run = str(own)
    preview = world.post("/v1/policy", run=run, policy={"keep_last": 1}, preview=True)
    assert len(preview["plan"]["remove"]) == 3
    assert preview["origins"]["keep_last"] == "command" and not RunPaths(own).marks.exists()
    answer = world.post("/v1/policy", run=run, policy={"keep_last": 1})
    assert answer["policy"]["keep_last"] == 1 and answer["plan"] == preview["plan"]
    assert marks.read(RunPaths(own).marks).policy == {"keep_last": 1}
    assert world.kinds().count("mark") == 1
    assert len(list((own / "checkpoints").glob("*.pt"))) == 4, "setting a policy removes nothing itself"
    world.post("/v1/policy", run=run, policy={"keep_last": 2})
    assert world.get("/v1/undo")["undo"]["text"] == "policy on exp1"
    world.post("/v1/undo")
    assert world.get(f"/v1/policy?run={run}")["policy"]["keep_last"] == 1
    world.post("/v1/undo")
    shown = world.get(f"/v1/policy?run={run}")
    assert shown["policy"]["keep_last"] == 4 and shown["origins"]["keep_last"] == "run.json"


def test_a_policy_of_a_foreign_run(world: Any, foreign: Path) -> None:
    world.post("/v1/policy", run=str(foreign), policy={"keep_last": 1, "monitor": "none"})
    shown = world.get(f"/v1/policy?run={foreign}")
    assert shown["policy"]["keep_last"] == 1 and {shown["origins"][name] for name in shown["origins"]} == {"command"}
    assert [layer["origin"] for layer in shown["layers"]][-1] == "command"
    assert shown["describe"] and sorted(path.name for path in foreign.iterdir()) == ["e_1.pt", "e_2.pt", "e_3.pt"]


@pytest.mark.parametrize(
    "policy",
    [
        {"keep_las": 3},
        {"keep_last": 0},
        {"keep_last": -1},
        {"keep_last": [1]},
        {"keep_best": 1, "monitor": "none"},
        {"keep_every": {"every": []}},
        {"keep_best_of": {"": 1}},
        {"monitor": {}},
        {"max_age": "NaN"},
        {"max_bytes": "x"},
    ],
)
def test_policies_that_cannot_be(world: Any, own: Path, policy: dict[str, Any]) -> None:
    with pytest.raises(StateError):
        world.post("/v1/policy", run=str(own), policy=policy)
    assert world.journal.acts() == [] and not RunPaths(own).marks.exists()


def test_policies_that_are_no_objects_and_runs_that_are_none(world: Any, own: Path) -> None:
    with pytest.raises(UsageError, match="object"):
        world.post("/v1/policy", run=str(own), policy="keep_last=3")
    with pytest.raises(AddressError):
        world.post("/v1/policy", run="exp9", policy={})
    with pytest.raises(AddressError):
        world.post("/v1/policy", path=str(own), policy={})


def test_the_policy_of_a_watched_directory(world: Any, own: Path, runs: Any) -> None:
    root = str(runs.base)
    plain = runs.run("exp2", checkpoints=3)
    world.scanner.full()
    # To observe is no policy's leave to remove.
    assert world.post("/v1/policy", path=root, policy={"keep_last": 1}, preview=True)["remove"] == 0
    world.roots.enforce(root)
    preview = world.post("/v1/policy", path=root, policy={"keep_last": 1}, preview=True)
    # What has rules of its own goes by them.
    assert (preview["remove"], preview["runs"], preview["checkpoints"]) == (2, 2, 7)
    assert world.get(f"/v1/policy?run={plain}")["policy"]["keep_last"] is None
    world.post("/v1/policy", path=root, policy={"keep_last": 1})
    shown = world.get(f"/v1/policy?run={plain}")
    assert shown["policy"]["keep_last"] == 1 and shown["origins"]["keep_last"] == "root"
    assert world.get(f"/v1/policy?path={root}")["policy"]["keep_last"] == 1
    everywhere = world.get("/v1/policy")
    assert {run["name"]: run["origins"] for run in everywhere["runs"]} == {"exp1": ["run.json"], "exp2": ["root"]}
    assert everywhere["roots"][0]["policy"] == {"keep_last": 1} and everywhere["policy"]["keep_last"] is None


def test_what_a_policy_would_have_done(world: Any, own: Path) -> None:
    shown = world.get(f"/v1/policy/test?run={own}&policy=keep_last%3D1")
    assert [kept["step"] for kept in shown["kept"]] == [40] and len(shown["removed"]) == 3
    assert shown["text"] == "keep_last=1" and shown["history"]["saves"] == 4
    assert len(world.get(f"/v1/policy/test?run={own}")["kept"]) == 4
    with pytest.raises(StateError, match="keep_lst"):
        world.get(f"/v1/policy/test?run={own}&policy=keep_lst%3D1")
    with pytest.raises(UsageError, match="run"):
        world.get("/v1/policy/test")
