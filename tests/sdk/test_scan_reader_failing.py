"""A reader that fails as no reader should: its checkpoint has a problem, and the rest of the run is read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from safetensors.torch import save_file

from ckpt import marks as marks_module
from ckpt import scan
from ckpt.formats.containers.torch_zip import TorchZip
from ckpt.formats.directories.huggingface.peft import Peft
from ckpt.records import Checkpoint
from ckpt.scan.failing import UNREADABLE


def broken(*_: object) -> NoReturn:
    raise ZeroDivisionError("of all things")


def exhausted(*_: object) -> NoReturn:
    raise MemoryError


def endless(*arguments: object) -> NoReturn:
    endless(*arguments)
    raise AssertionError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An adapter's directory and a file, in one run."""
    directory = tmp_path / "root" / "exp1"
    adapter = directory / "adapter"
    adapter.mkdir(parents=True)
    save_file({"lora": torch.ones(2)}, adapter / "adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text("{}")
    torch.save({"epoch": 3, "model_state_dict": {"w": torch.ones(2)}}, directory / "step_30.pt")
    return directory


def by_name(view: scan.RunView) -> dict[str, Checkpoint]:
    return {Path(checkpoint.path).name: checkpoint for checkpoint in view.checkpoints}


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (broken, "its reader failed: ZeroDivisionError of all things"),
        (exhausted, "its reader failed: MemoryError"),
        (endless, "its reader failed: RecursionError"),
    ],
)
def test_the_rest_of_the_run_is_read(
    failure: Callable[..., NoReturn], said: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = by_name(scan.read_run(run, root=run.parent))
    monkeypatch.setattr(Peft, "read", failure)
    found = by_name(scan.read_run(run, root=run.parent))
    assert found["step_30.pt"] == whole["step_30.pt"]
    adapter = found["adapter"]
    assert adapter.state == "complete"
    assert len(adapter.problems) == 1
    assert adapter.problems[0].startswith(said)
    assert (adapter.fingerprint, adapter.bytes) == (UNREADABLE, whole["adapter"].bytes)


def test_it_is_logged_once_and_not_tried_again_before_the_files_change(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Peft, "read", broken)
    cache = scan.Cache()
    with caplog.at_level(logging.WARNING, logger="ckpt.scan"):
        first = scan.read_run(run, root=run.parent, cache=cache)
        assert by_name(scan.read_run(run, root=run.parent, cache=cache)) == by_name(first)
    assert [record.name for record in caplog.records] == ["ckpt.scan"]
    assert "ZeroDivisionError" in caplog.text
    monkeypatch.undo()
    (run / "adapter" / "adapter_config.json").write_text('{"r": 8}')
    again = by_name(scan.read_run(run, root=run.parent, cache=cache))
    assert not again["adapter"].problems
    assert again["adapter"].framework == "peft"


def test_what_was_marked_stays_marked(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    view = scan.read_run(run, root=run.parent, foreign_marks=marks)
    adapter = by_name(view)["adapter"]
    marks_module.append(marks / f"{view.run.id}.jsonl", "pin", adapter.id, file="adapter")
    monkeypatch.setattr(Peft, "read", broken)
    again = scan.read_run(run, root=run.parent, foreign_marks=marks)
    assert by_name(again)["adapter"].id == adapter.id
    assert by_name(again)["adapter"].pinned
    assert not again.run.problems


def test_the_marker_of_an_own_checkpoint_is_believed(runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = runs.run("exp1", checkpoints=2)
    before = scan.read_run(directory, root=directory.parent)
    monkeypatch.setattr(TorchZip, "read", broken)
    during = scan.read_run(directory, root=directory.parent)
    assert [c.state for c in during.checkpoints] == ["complete", "complete"]
    assert [(c.id, c.step, c.loss) for c in during.checkpoints] == [(c.id, c.step, c.loss) for c in before.checkpoints]
    assert all(c.problems == ("its reader failed: ZeroDivisionError of all things",) for c in during.checkpoints)
