"""The records: frozen, comparable, with ids that follow content."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ckpt.records import Checkpoint, Reason, Verdict, checkpoint_id, foreign_run_id


def test_a_record_cannot_be_changed_but_evolved() -> None:
    checkpoint = Checkpoint(id="a", run="r", path="/p", step=3)
    with pytest.raises(AttributeError):
        checkpoint.step = 4  # type: ignore[misc]
    assert checkpoint.evolve(step=4) == Checkpoint(id="a", run="r", path="/p", step=4)
    assert checkpoint.step == 3


def test_value_finds_metrics_and_falls_back_to_the_loss() -> None:
    checkpoint = Checkpoint(id="a", run="r", path="/p", loss=0.5, metrics={"acc": 0.9})
    assert checkpoint.value("acc") == 0.9
    assert checkpoint.value("loss") == 0.5
    assert checkpoint.value("f1") is None
    assert checkpoint.evolve(metrics={"loss": 0.4}).value("loss") == 0.4


def test_the_names_that_a_training_uses() -> None:
    checkpoint = Checkpoint(id="a", run="r", path="/p", step=3, saved_at=7.0)
    assert (checkpoint.global_step, checkpoint.timestamp) == (3, datetime(1970, 1, 1, 0, 0, 7, tzinfo=UTC))


def test_metrics_of_two_records_are_not_shared() -> None:
    one, two = Checkpoint(id="a", run="r", path="/p"), Checkpoint(id="b", run="r", path="/p")
    one.metrics["x"] = 1.0
    assert two.metrics == {}


def test_reasons_and_verdicts_compare_by_content() -> None:
    assert Verdict(action="keep", reasons=(Reason(rule="last", text="t"),)) == Verdict(
        action="keep", reasons=(Reason(rule="last", text="t"),)
    )
    assert Reason(rule="last", text="t", rank=1) != Reason(rule="last", text="t", rank=2)


def test_a_checkpoint_id_follows_run_name_and_fingerprint() -> None:
    ids = {
        checkpoint_id("r", "step-1.pt", "f"),
        checkpoint_id("r", "step-1.pt", "g"),
        checkpoint_id("r", "step-2.pt", "f"),
        checkpoint_id("s", "step-1.pt", "f"),
        checkpoint_id("rs", "tep-1.pt", "f"),
        checkpoint_id("r", "step-\udcff.pt", "f"),
    }
    assert len(ids) == 6
    assert all(len(name) == 12 and int(name, 16) >= 0 for name in ids)
    assert checkpoint_id("r", "step-1.pt", "f") in ids


def test_a_foreign_run_id_follows_root_and_place() -> None:
    assert foreign_run_id("/a", "b/c") != foreign_run_id("/a/b", "c")
    assert len(foreign_run_id("/a\udcff", "b")) == 32
