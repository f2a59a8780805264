"""The directory of Keras' BackupAndRestore, as Keras wrote it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ckpt.formats import inspect
from ckpt.formats.directories import known


@pytest.fixture
def made(produced: Callable[[str], Path], tmp_path: Path) -> Path:
    shutil.copytree(produced("keras_backup"), tmp_path / "made")
    return tmp_path / "made"


@pytest.mark.parametrize("name", ["epochs", "batches"])
def test_it_says_what_keras_goes_on_with(made: Path, name: str) -> None:
    expected = json.loads((made / "expected.json").read_text())[name]
    found = inspect(made / name)
    assert (found.framework, found.state) == ("keras", "complete"), found.problems
    assert found.epoch == expected["epoch"]
    assert found.resume["model"]
    assert found.resume["optimizer"] == ("optimizer" in expected["parts"])
    assert any("HDF5" in problem for problem in found.problems)


@pytest.mark.parametrize("name", ["latest.weights.h5", "training_metadata.json"])
def test_both_files_are_needed_whole(made: Path, name: str) -> None:
    path = made / "epochs" / name
    path.write_bytes(path.read_bytes()[:-5])
    assert inspect(made / "epochs").state == "incomplete"
    path.unlink()
    if name == "training_metadata.json":
        found = inspect(made / "epochs")
        assert found.state == "incomplete"
        assert name in found.problems[0]


@pytest.mark.parametrize("content", ["[1]", "3", "[" * 50_000])
def test_a_position_that_is_none_is_a_fault(made: Path, content: str) -> None:
    (made / "epochs" / "training_metadata.json").write_text(content)
    assert inspect(made / "epochs").state == "corrupt"


def test_a_position_without_a_number_is_no_epoch(made: Path) -> None:
    (made / "epochs" / "training_metadata.json").write_text('{"epoch": "x", "batch": null}')
    found = inspect(made / "epochs")
    assert (found.state, found.epoch) == ("complete", None)


def test_other_directories_are_none() -> None:
    assert known.recognise("backup", {"training_metadata.json", "model.weights.h5"}, set()) is None
