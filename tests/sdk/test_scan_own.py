from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ckpt import marks, scan
from ckpt.files import read_json, write_json
from ckpt.formats import Inspection
from ckpt.paths import RunPaths
from ckpt.records import Checkpoint
from ckpt.scan import own


def by_name(view: scan.RunView) -> dict[str, Checkpoint]:
    return {Path(c.path).name: c for c in view.checkpoints}


def test_a_second_look_makes_no_new_records_for_what_did_not_change(runs: Any) -> None:
    run, cache = runs.run(checkpoints=4), scan.Cache()
    first = by_name(scan.read_run(run, cache=cache))
    runs.checkpoint(run, step=99, loss=0.9)
    second = by_name(scan.read_run(run, cache=cache))
    unmarked = [name for name, c in first.items() if not c.tags]
    assert unmarked == ["step-000030.pt", "step-000020.pt", "step-000010.pt"]
    assert all(second[name] is first[name] for name in unmarked)
    assert second["step-000099.pt"].tags == ("latest",)
    assert second["step-000040.pt"].tags == ("best", "best-1")


def test_records_are_shared_between_a_run_and_its_plan(runs: Any) -> None:
    view = scan.read_run(runs.run(checkpoints=3, policy={"keep_last": 1}))
    listed = {c.id: c for c in view.checkpoints}
    assert all(d.checkpoint is listed[d.checkpoint.id] for d in view.plan.decisions)
    assert len(list(view.plan.decisions)) == 3


def test_a_policy_that_a_command_has_a_say_in_is_not_the_trainings_own(runs: Any) -> None:
    run = runs.run(checkpoints=4, policy={"keep_last": 4})
    assert scan.read_run(run).situation.own_policy
    marks.append(RunPaths(run).marks, "policy", None, policy={"keep_last": 1})
    view = scan.read_run(run)
    assert not view.situation.own_policy
    assert (view.plan.ask or "").startswith("removes 3 of 4")
    marks.append(RunPaths(run).marks, "policy", None, policy={})
    assert scan.read_run(run).situation.own_policy


def test_another_marker_or_another_run_id_makes_another_record(runs: Any) -> None:
    run, cache = runs.run(checkpoints=1), scan.Cache()
    before = scan.read_run(run, cache=cache).checkpoints[0]
    marker = RunPaths(run).marker_of(Path(before.path))
    write_json(marker, {**read_json(marker), "loss": 0.125})
    after = scan.read_run(run, cache=cache).checkpoints[0]
    assert (before.loss, after.loss) == (0.9, 0.125)
    assert after.id == before.id
    write_json(run / "run.json", {**read_json(run / "run.json"), "id": "f" * 32})
    other = scan.read_run(run, cache=cache).checkpoints[0]
    assert other.run == "f" * 32
    assert other.id != before.id


def test_what_changes_in_place_is_seen_although_its_marker_stays(runs: Any) -> None:
    run, cache = runs.run(checkpoints=2), scan.Cache()
    path = Path(scan.read_run(run, cache=cache).checkpoints[0].path)
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    assert scan.read_run(run, cache=cache).checkpoints[0].state == "corrupt"
    path.write_bytes(content)
    assert scan.read_run(run, cache=cache).checkpoints[0].state == "complete"


def test_a_marker_that_cannot_be_read_is_read_again_later(runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run, cache = runs.run(checkpoints=1), scan.Cache()
    marker = next((run / "checkpoints").glob("*.json"))
    real = own.files.read_json

    def failing(path: Path, **options: Any) -> Any:
        if path == marker:
            raise OSError(5, "Input/output error")
        return real(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(own.files, "read_json", failing)
        assert scan.read_run(run, cache=cache).checkpoints[0].state == "corrupt"
    assert scan.read_run(run, cache=cache).checkpoints[0].state == "complete"


def test_marks_are_laid_over_records_that_stay_as_they_were(runs: Any) -> None:
    run, cache = runs.run(checkpoints=2), scan.Cache()
    oldest = scan.read_run(run, cache=cache).checkpoints[-1]
    marks.append(run / "marks.jsonl", "tag", oldest.id, name="paper")
    assert scan.read_run(run, cache=cache).checkpoints[-1].tags == ("paper",)
    marks.append(run / "marks.jsonl", "untag", oldest.id, name="paper")
    assert scan.read_run(run, cache=cache).checkpoints[-1].tags == ()
    assert oldest.tags == ()


def test_no_inspection_is_kept_beside_a_finished_record(runs: Any) -> None:
    run, cache = runs.run(checkpoints=3), scan.Cache()
    scan.read_run(run, cache=cache)
    kept = [known for _, known in cache._known.values()]
    assert len(kept) == 3
    assert not any(isinstance(known, Inspection) for known in kept)


def test_a_file_that_vanishes_between_two_looks_is_gone(runs: Any) -> None:
    run, cache = runs.run(checkpoints=2), scan.Cache()
    names = by_name(scan.read_run(run, cache=cache))
    os.unlink(run / "checkpoints" / "step-000010.pt")
    after = scan.read_run(run, cache=cache)
    assert set(by_name(after)) == set(names) - {"step-000010.pt"}
    assert any("has no checkpoint beside it" in problem for problem in after.run.problems)
