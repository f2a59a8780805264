"""What `plan`, `apply`, `prune` and `ls` answer to what has no plan, and to runs that a daemon may know better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file


def hugging_face(directory: Path, step: int) -> None:
    directory.mkdir(parents=True)
    save_file({"w": torch.ones(8)}, directory / "model.safetensors")
    torch.save({"state": {}, "param_groups": []}, directory / "optimizer.pt")
    state = {"global_step": step, "epoch": 1.0, "log_history": [{"eval_loss": 1.0 / step, "step": step}]}
    (directory / "trainer_state.json").write_text(json.dumps(state))


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Two foreign runs of the same name in `runs`."""
    for lab in ("lit-a", "lit-b"):
        for step in (1, 2):
            hugging_face(tmp_path / "runs" / lab / "version_0" / f"checkpoint-{step}", step)
    return tmp_path / "runs"


def test_what_has_no_plan_says_what_would_work(ckpt: Any, tmp_path: Path) -> None:
    odd = tmp_path / "notes.txt"
    odd.write_text("nothing")
    (tmp_path / "empty").mkdir()
    for command in (("plan",), ("prune", "--yes")):
        told = ckpt(*command, odd)
        assert told.code == 2 and "neither a run nor a checkpoint" in told.err and "ckpt ls DIR" in told.err
        assert "is empty" in ckpt(*command, "").err
    assert "no run lies below" in ckpt("plan", tmp_path / "empty").err
    assert ckpt("plan", tmp_path / "empty").code == 2
    assert ckpt("apply", "").code == 2 and "ckpt plan" in ckpt("apply", "  ").err


def test_a_plan_without_removals_is_carried_out_by_doing_nothing(
    runs: Any, ckpt: Any, daemon: Any, eventually: Any
) -> None:
    directory = runs.run("exp1", checkpoints=2)
    eventually(lambda: ckpt("ls", "exp1", "--json").code == 0)
    eventually(lambda: ckpt("ls", "exp1", "--json").json["run"]["checkpoints"] == 2)
    plan = ckpt("plan", directory, "--json").json["id"]
    done = ckpt("apply", plan, "--json")
    assert done.code == 0 and "nothing to remove" in done.err
    pruned = ckpt("prune", directory, "--json")
    nothing = {"plan": plan, "removed": [], "skipped": [], "freed_now": 0, "freed_at_purge": 0}
    assert done.json == pruned.json == nothing


def test_runs_of_one_name_are_told_apart(two: Path, ckpt: Any, daemon: Any, eventually: Any) -> None:
    eventually(lambda: len(ckpt("ls", "--json").json["runs"]) == 2)
    for command in (("plan",), ("plan", two), ("plan", two, "--policy", "keep_last=1"), ("du",), ("du", two)):
        told = ckpt(*command).out
        assert "lit-a/version_0" in told and "lit-b/version_0" in told, command
    assert "lit-a/version_0" in ckpt("policy", "show").out
    assert "ckpt policy set lit-a/version_0 KEY=VALUE" in ckpt("policy", "show", "lit-a/version_0").out


def test_without_the_daemon_a_foreign_run_gets_no_verdict_and_its_name_is_told(
    two: Path, ckpt: Any, daemon: Any, eventually: Any, tmp_path: Path
) -> None:
    eventually(lambda: len(ckpt("ls", "--json").json["runs"]) == 2)
    run = two / "lit-a" / "version_0"
    shown = ckpt("ls", run)
    assert "told by `ckpt ls lit-a/version_0`" in shown.err and "no rule" not in shown.out
    assert "verdict" not in shown.out.lower()
    assert [c["verdict"] for c in ckpt("ls", run, "--json").json["checkpoints"]] == [None, None]
    assert all(c["verdict"] for c in ckpt("ls", "lit-a/version_0", "--json").json["checkpoints"])
    hugging_face(tmp_path / "elsewhere" / "run" / "checkpoint-1", 1)
    unknown = ckpt("ls", tmp_path / "elsewhere" / "run")
    assert unknown.code == 0 and "told by" not in unknown.err


def test_show_of_a_path_says_that_config_toml_was_not_asked(two: Path, ckpt: Any) -> None:
    told = ckpt("policy", "show", two / "lit-a" / "version_0")
    assert told.code == 0 and "config.toml" in told.err


def test_the_question_of_an_enforcement_without_removals_says_why() -> None:
    from ckpt_tui.answers.enforcing import _question

    young = {"reasons": [{"rule": "min_age", "text": "younger"}], "bytes": 1}
    fresh = {"reasons": [{"rule": "settling", "text": "settling"}], "bytes": 1}
    run = {"keep": [young, young], "remove": [], "skip": [fresh], "policy": {"min_age": 3600.0, "max_share": 0.5}}
    told = _question("/r", {"runs": [run]})
    assert "nothing goes now (2 are younger than min_age 1 hour, 1 was written just now)" in told.lower()
    assert told.endswith(
        "from now on what the policies leave over goes to the trash by itself, at most half of a run at once"
    )
