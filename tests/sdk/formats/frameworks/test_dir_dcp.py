"""Torch distributed checkpoints as torch itself writes them, by one process and by two."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpt.diff import diff
from ckpt.formats import inspect
from ckpt.formats.reading import kind_of, opened

NAMES = (
    "one/step-7",
    "again/step-7",
    "other/step-7",
    "two/step-7",
    "async/step-7",
    "threads",
    "files",
    "app",
    "grid",
    "shapes",
    "titan/step-20",
)


@pytest.fixture(scope="module")
def made(produced: Callable[[str], Path]) -> Path:
    return produced("dcp")


def expected(made: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made / "expected.json").read_text())[name]
    return found


def read_tensors(path: Path) -> dict[str, list[Any]]:
    """Shape, dtype and SHA-256 of the bytes of all tensors by name."""
    found = {}
    with opened(path) as checkpoint:
        assert checkpoint.inspection.state == "complete", checkpoint.inspection.problems
        for placed in checkpoint.tensors:
            assert placed.home is not None and placed.tensor.storage is not None and placed.contiguous
            raw = placed.home.bytes_of(placed.tensor.storage, placed.start, placed.span)
            found[placed.info.name] = [list(placed.info.shape), placed.info.dtype, hashlib.sha256(raw).hexdigest()]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_byte_for_byte_what_torch_loads(made: Path, name: str) -> None:
    tensors = expected(made, name)["tensors"]
    if name == "titan/step-20":  # weights that lie beside other parts are shown under `model`
        tensors = {f"model.{key}" if key.startswith("layers.") else key: value for key, value in tensors.items()}
    assert read_tensors(made / name) == tensors


@pytest.mark.parametrize("name", ["one/step-7", "two/step-7", "async/step-7", "threads", "app"])
def test_the_training_s_numbers_are_those_that_torch_loads(made: Path, name: str) -> None:
    values = expected(made, name)["values"]
    wrapper = "app." if name == "app" else ""
    found = inspect(made / name)
    assert (found.framework, found.format, found.problems, found.unknown_globals) == ("dcp", "dcp", (), ())
    assert found.step == values[f"{wrapper}global_step"] == 7
    assert found.epoch == values[f"{wrapper}epoch"] == 2
    assert found.loss == values[f"{wrapper}loss"] == 0.75
    assert found.learning_rate == values[f"{wrapper}optimizer.param_groups.0.lr"] == 0.01
    assert found.metrics == {key: values[f"{wrapper}metrics.{key}"] for key in ("val_loss", "accuracy")}
    assert found.config == {"lr": 0.02, "layers": [5, 7, 3], "name": "small"}
    assert found.from_name == ()
    assert found.parameter_count == 5 * 7 + 7 + 7 * 3 + 3
    assert found.resume["topology"] == {"world_size": 2 if name == "two/step-7" else 1}
    assert [part for part in ("model", "optimizer", "scheduler", "scaler", "data") if found.resume[part]] == [
        "model",
        "optimizer",
        "scheduler",
    ]
    assert found.resume["rng"]["torch"] and found.resume["rng"]["ranks"] == 1
    assert found.bytes == sum(file.stat().st_size for file in (made / name).iterdir())


def test_torchtitan_s_names_are_understood(made: Path) -> None:
    values = expected(made, "titan/step-20")["values"]
    found = inspect(made / "titan/step-20")
    assert found.step == 20 and found.from_name == ()
    assert found.learning_rate == values["optimizer.param_groups.layers.0.weight.lr"] == 0.01
    assert found.parameter_count == 66
    assert [part for part in ("model", "optimizer", "scheduler", "data") if found.resume[part]] == [
        "model",
        "optimizer",
        "scheduler",
        "data",
    ]


def test_descriptions_of_single_ranks_make_one_checkpoint(made: Path, tmp_path: Path) -> None:
    found = inspect(made / "ranks")
    assert (found.state, found.step, found.resume["topology"]) == ("complete", 3, {"world_size": 2})
    [(shape, dtype, digest)] = read_tensors(made / "ranks").values()
    assert [shape, dtype, digest] == expected(made, "grid")["tensors"]["rows"]
    copy = tmp_path / "ranks"
    shutil.copytree(made / "ranks", copy)
    (copy / "__0.metadata").unlink()
    assert inspect(copy).state == "incomplete"
    assert "__0.metadata is missing" in inspect(copy).problems[0]


@pytest.mark.parametrize("name", ["grid", "shapes", "two/step-7"])
def test_any_run_of_bytes_is_that_part_of_the_whole(made: Path, name: str) -> None:
    chosen = random.Random(0)
    with opened(made / name) as checkpoint:
        for placed in checkpoint.tensors:
            home, storage = placed.home, placed.tensor.storage
            assert home is not None and storage is not None
            whole = home.bytes_of(storage, 0, placed.span)
            assert home.stored_bytes(storage) == len(whole) == placed.span
            for _ in range(200):
                start = chosen.randint(0, len(whole))
                length = chosen.randint(0, len(whole) - start)
                assert home.bytes_of(storage, start, length) == whole[start : start + length]


def test_however_many_files_there_are_few_are_open_at_a_time(made: Path) -> None:
    with opened(made / "files") as checkpoint:
        before = len(os.listdir("/dev/fd"))
        for _ in range(2):
            for placed in checkpoint.tensors:
                assert placed.home is not None and placed.tensor.storage is not None
                placed.home.bytes_of(placed.tensor.storage, 0, placed.span)
        assert len(checkpoint.inspection.files) == 61
        assert len(os.listdir("/dev/fd")) <= before + 32


@pytest.mark.parametrize("other", ["again/step-7", "async/step-7", "threads", "two/step-7"])
def test_the_same_state_is_the_same_however_it_was_saved(made: Path, other: str) -> None:
    found = diff(made / "one/step-7", made / other)
    assert found.same, found
    assert found.identical == 17 and found.values == ()


def test_one_changed_element_is_found_in_whole_and_in_sharded_tensors(made: Path) -> None:
    for first in ("one/step-7", "two/step-7"):
        found = diff(made / first, made / "other/step-7")
        assert not found.same
        assert [(change.name, change.kind) for change in found.changed] == [("model.2.weight", "value")]
        assert found.identical == 16


def test_a_save_has_its_own_fingerprint_and_a_copy_has_its_original_s(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "one/step-7", tmp_path / "copy")
    one = inspect(made / "one/step-7").fingerprint
    assert one.startswith("dcp:")
    assert inspect(tmp_path / "copy").fingerprint == one
    assert inspect(made / "again/step-7").fingerprint != one


def test_it_is_recognised_from_its_first_file_on(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "step-7"
    path.mkdir()
    assert kind_of(str(path)) is None
    for name in ("__1_0.distcp", "__0_0.distcp"):
        shutil.copy(made / "two/step-7" / name, path / name)
        found = inspect(path)
        assert (found.framework, found.state) == ("dcp", "incomplete")
        assert ".metadata is missing" in found.problems[0]
    shutil.copy(made / "two/step-7/.metadata", path / ".metadata.tmp")
    assert inspect(path).state == "incomplete"
    (path / ".metadata.tmp").rename(path / ".metadata")
    assert inspect(path).state == "complete"
    shutil.copy(path / ".metadata", path / ".metadata.tmp")
    assert inspect(path).state == "incomplete"  # it is being written over


@pytest.mark.parametrize(("name", "last"), [("killed/step-1", "__0_0.distcp"), ("killed/step-2", ".metadata.tmp")])
def test_a_writer_s_death_leaves_it_incomplete(made: Path, name: str, last: str) -> None:
    found = inspect(made / name)
    assert last in found.files and ".metadata" not in found.files
    assert (found.framework, found.format, found.state) == ("dcp", "dcp", "incomplete")
    assert "its writing was cut short" in found.problems[0]


def test_a_stray_metadata_file_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / ".metadata").write_text("version: 1\n")
    assert kind_of(str(tmp_path)) is None


def test_every_data_file_must_be_there_and_as_long_as_described(made: Path, tmp_path: Path) -> None:
    for name in ("__0_0.distcp", "__1_0.distcp"):
        copy = tmp_path / f"without{name}"
        shutil.copytree(made / "two/step-7", copy)
        size = (copy / name).stat().st_size
        for kept in (size - 1, size // 2, 1, 0):
            with (copy / name).open("r+b") as file:
                file.truncate(kept)
            found = inspect(copy)
            assert found.state == "incomplete" and name in found.problems[0]
        (copy / name).unlink()
        found = inspect(copy)
        assert found.state == "incomplete" and f"{name} is missing" in found.problems[0]


def test_a_cut_description_is_never_complete(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "cut"
    shutil.copytree(made / "two/step-7", copy)
    raw = (copy / ".metadata").read_bytes()
    for kept in [*range(0, len(raw) - 1, 97), len(raw) - 1]:
        (copy / ".metadata").write_bytes(raw[:kept])
        assert inspect(copy).state in ("incomplete", "corrupt"), kept
