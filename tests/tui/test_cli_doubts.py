"""What commands say of what is probably not meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckpt_tui.answers.doubts import nearly, recorded, too_small, unrecorded
from ckpt_tui.answers.rehearsed import is_plain, judged


@pytest.fixture
def run(runs: Any) -> Path:
    directory: Path = runs.run("exp1")
    for n in range(1, 4):
        runs.checkpoint(directory, step=10 * n, loss=1.0 / n, metrics={"accuracy": n / 10, "eval_runtime": 2.0})
    return directory


def test_a_policy_on_a_metric_that_nothing_has_is_told(run: Path, ckpt: Any) -> None:
    set_ = ckpt("policy", "set", run, "keep_best=1", "monitor=acuracy", "--yes")
    assert set_.code == 0 and "no checkpoint has acuracy recorded; did you mean accuracy?" in set_.err
    tried = ckpt("policy", "test", run, "-p", "keep_last=2 keep_best_of.bleu=1")
    assert "no checkpoint has bleu recorded; there is: accuracy" in tried.err
    assert "recorded" not in ckpt("policy", "set", run, "monitor=accuracy", "keep_best=1", "--yes").err


def test_a_budget_below_one_checkpoint_is_told(run: Path, ckpt: Any) -> None:
    told = ckpt("policy", "set", run, "max_bytes=10", "--yes").err
    assert "max_bytes 10 B is less than the newest checkpoint alone takes" in told
    assert "less than" not in ckpt("policy", "set", run, "max_bytes=1GB", "--yes").err


def test_a_metric_that_is_nearly_another_is_set_and_asked_about(run: Path, ckpt: Any) -> None:
    typo = ckpt("metric", "set", f"{run}@step:30", "acuracy=0.9")
    assert typo.code == 0 and "acuracy 0.9" in typo.out and "accuracy exists: did you mean it?" in typo.err
    assert "best" not in typo.out, "it is the best by its loss, of which nothing was said"
    known = ckpt("metric", "set", f"{run}@step:30", "accuracy=0.9", "loss=0.01")
    assert "did you mean" not in known.err and "it is the best now" in known.out


def test_several_are_pinned_at_once_and_none_where_one_is_unknown(run: Path, ckpt: Any) -> None:
    refs = [f"{run}@step:{step}" for step in (10, 20)]
    assert ckpt("pin", *refs, f"{run}@step:77").code == 2
    assert not ckpt("show", refs[0], "--json").json["checkpoint"]["pinned"]
    marked = ckpt("pin", *refs, "--json").json["marked"]
    assert [(item["checkpoint"]["step"], item["checkpoint"]["pinned"]) for item in marked] == [(10, True), (20, True)]
    assert ckpt("unpin", *refs).out.count("is no longer pinned") == 2
    assert "is not pinned" in ckpt("unpin", refs[0]).out


def test_metrics_are_told_from_names_nearby() -> None:
    assert recorded([{"metrics": {"a": 1.0}, "loss": None, "nonfinite": ["loss"]}, {"loss": None}]) == {"a", "loss"}
    assert unrecorded({"monitor": "loss", "keep_best_of": {"x": 1}}, set()) == [
        "no checkpoint has loss recorded; no metric is recorded at all",
        "no checkpoint has x recorded; no metric is recorded at all",
    ]
    assert nearly(["Loss", "top5", "wer"], {"loss", "top1", "bleu"}) == ["loss exists: did you mean it?"]
    assert too_small({"max_bytes": 5}, None) == too_small({}, {"bytes": 9}) == []


@pytest.mark.parametrize("name", ["val_loss", "train/loss", "eval_accuracy", "f1", "RMSE", "xentloss"])
def test_a_name_with_a_plain_direction(name: str) -> None:
    assert is_plain(name)


@pytest.mark.parametrize("name", ["eval_runtime", "eval_samples_per_second", "learning_rate", "grad_norm", "", "42"])
def test_a_name_without_one(name: str) -> None:
    assert not is_plain(name)


def test_a_rehearsal_keeps_what_is_held_now_and_judges_plain_metrics() -> None:
    def best(metric: str, *, monitored: bool, kept: bool, at: str = "c1") -> dict[str, Any]:
        return {"metric": metric, "monitored": monitored, "kept": kept, "checkpoint": {"id": at}, "value": 1, "left": 2}

    bests = [best("speed", monitored=False, kept=False), best("loss", monitored=False, kept=False)]
    mine = {
        "kept": [],
        "kept_bytes": 0,
        "removed": [{"id": "c1", "bytes": 5}, {"id": "c2", "bytes": 7}],
        "bests": bests,
    }
    present, tried = judged([mine, {**mine, "bests": [best("odd", monitored=True, kept=False, at="c2")]}], {"c1"})
    assert (present["held"], present["kept_bytes"], [item["id"] for item in present["removed"]]) == (1, 5, ["c2"])
    assert [(one["metric"], one["kept"]) for one in present["bests"]] == [("loss", True)]
    assert [(one["metric"], one["kept"]) for one in tried["bests"]] == [("odd", False)]
