"""The plan of one start: written by the self-test, found by the training through a variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckpt.runs.redirecting import VARIABLE
from ckpt.selftest.plan import Plan, read_plan, write_plan


def test_a_plan_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_plan() is None
    plan = Plan(recording="/a", most_steps=3, end_at=None, kill_at=7, save_at=5)
    write_plan(tmp_path / "plan.json", plan)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "plan.json"))
    assert read_plan() == plan


def test_a_plan_that_is_broken_or_gone_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "plan.json"))
    with pytest.raises(FileNotFoundError):
        read_plan()
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(ValueError, match="truncated"):
        read_plan()
