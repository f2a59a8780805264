"""Orbax: everything that it wrote is read back as it reads it itself, and what is not whole is not taken for whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpt.formats import inspect
from ckpt.formats.containers.tensors import Placed
from ckpt.formats.directories import known
from ckpt.formats.directories.folder import Folder
from ckpt.formats.directories.orbax.arrays import Arrays, read
from ckpt.formats.directories.orbax.database import Value, values
from ckpt.formats.dtypes import decode_items
from ckpt.formats.reading import family_of, opened
from ckpt.formats.source import Damaged, TooLarge, Unreadable


@pytest.fixture
def made(produced: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of what Orbax wrote, to be changed."""
    shutil.copytree(produced("orbax"), tmp_path / "made")
    return tmp_path / "made"


@pytest.fixture
def expected(made: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made / "expected.json").read_text())
    return found


def first_values(placed: Placed) -> list[Any]:
    """The first eight elements of a tensor, read from the file."""
    assert placed.home is not None and placed.tensor.storage is not None
    raw = placed.home.bytes_of(placed.tensor.storage, placed.start, placed.span)
    return (decode_items(raw, placed.info.dtype) or [])[:8]


def assert_arrays(path: Path, arrays: dict[str, Any]) -> None:
    with opened(path) as found:
        assert found.inspection.state == "complete", found.inspection.problems
        assert {placed.info.name for placed in found.tensors} == set(arrays)
        for placed in found.tensors:
            array = arrays[placed.info.name]
            assert list(placed.info.shape) == array["shape"]
            assert placed.info.dtype == array["dtype"]
            assert first_values(placed) == array["values"]


@pytest.mark.parametrize("step", ["10", "20", "30"])
def test_a_step_of_a_manager_says_what_the_manager_says(made: Path, expected: dict[str, Any], step: str) -> None:
    told = expected["managed"][step]
    found = inspect(made / "managed" / step)
    assert (found.framework, found.format, found.state) == ("orbax", "orbax", "complete")
    assert found.step == int(step) == told["step"]
    assert found.learning_rate == told["learning_rate"]
    assert found.metrics == told["metrics"]
    assert found.loss == told["metrics"]["loss"]
    assert found.config == {"width": 4, "name": "tiny"}
    assert found.saved_at == pytest.approx(told["commit"] / 1e9)
    assert found.parameter_count == 6 * 4 + 4 + 64 * 32
    resume = found.resume
    assert resume["model"] and resume["optimizer"] and not resume["scheduler"] and not resume["scaler"]
    assert resume["rng"]["ranks"] == 1
    assert_arrays(made / "managed" / step, told["arrays"])


def test_a_prefix_and_zeros_stand_before_the_step(made: Path) -> None:
    found = inspect(made / "prefixed" / "ckpt_0007")
    assert (found.framework, found.state, found.step) == ("orbax", "complete", 7)
    assert found.resume["model"]


def test_trees_that_are_items_of_one_step_stand_under_their_names(made: Path) -> None:
    found = inspect(made / "items" / "5")
    names = {tensor.name for tensor in found.tensors}
    assert found.step == 5
    assert {"params.embedding", "opt_state.0.count", "opt_state.0.mu.dense.kernel"} <= names
    assert found.resume["model"] and found.resume["optimizer"]
    assert found.parameter_count == 6 * 4 + 4 + 64 * 32


@pytest.mark.parametrize("name", ["weights", "files", "zarr3"])
def test_a_tree_saved_by_itself_in_each_way_of_storing(made: Path, expected: dict[str, Any], name: str) -> None:
    assert_arrays(made / name, expected["weights"])
    found = inspect(made / name)
    assert found.step is None
    assert found.parameter_count == 6 * 4 + 4 + 64 * 32


def test_a_step_that_the_new_interface_saved(made: Path, expected: dict[str, Any]) -> None:
    found = inspect(made / "current" / "8")
    assert (found.framework, found.state, found.step) == ("orbax", "complete", 8), found.problems
    assert found.metrics == {"accuracy": 0.5}
    assert_arrays(made / "current" / "8", {f"params.{name}": array for name, array in expected["weights"].items()})


def test_a_database_of_many_nodes_gives_every_key_with_its_value(made: Path, expected: dict[str, Any]) -> None:
    with Folder(os.fspath(made / "wide"), family_of) as folder:
        places = values(folder, "")
        assert {key: read(folder, place, 1 << 20).decode() for key, place in places.items()} == expected["wide"]
        assert any(place.inline is None for place in places.values())
        assert any(place.inline is not None for place in places.values())


def test_the_save_that_the_process_ended_in_is_incomplete(made: Path) -> None:
    (unfinished,) = (made / "managed").glob("40.orbax-checkpoint-tmp*")
    found = inspect(unfinished)
    assert (found.framework, found.state) == ("orbax", "incomplete")
    assert "not committed" in found.problems[0]


def test_without_the_marker_the_time_of_the_commit_counts(made: Path) -> None:
    step = made / "managed" / "20"
    (step / "commit_success.txt").unlink()
    assert inspect(step).state == "complete"
    described = json.loads((step / "_CHECKPOINT_METADATA").read_text())
    (step / "_CHECKPOINT_METADATA").write_text(json.dumps({**described, "commit_timestamp_nsecs": None}))
    found = inspect(step)
    assert found.state == "incomplete"
    assert "commit_success.txt" in found.problems[0]


def test_a_tree_of_before_steps_were_described_belongs_to_the_step_above(made: Path) -> None:
    step = made / "older" / "100"
    shutil.copytree(made / "weights", step / "default")
    (step / "default" / "_CHECKPOINT_METADATA").unlink()
    (step / "default" / "commit_success.txt").unlink()
    (step / "metrics").mkdir()
    (step / "metrics" / "metrics").write_text('{"loss": 0.5}')
    found = inspect(step / "default")
    assert (found.framework, found.state, found.step) == ("orbax", "complete", 100), found.problems
    assert (found.metrics, found.loss) == ({"loss": 0.5}, 0.5)
    (step / "metrics" / "metrics").write_text("[" * 50_000)
    assert inspect(step / "default").metrics == {}


@pytest.mark.parametrize("item", ["state", "config", "metrics"])
def test_a_missing_item_is_incomplete(made: Path, item: str) -> None:
    shutil.rmtree(made / "managed" / "20" / item)
    found = inspect(made / "managed" / "20")
    assert found.state == "incomplete"
    assert item in found.problems[0]


def test_every_file_of_the_database_is_needed_whole(made: Path) -> None:
    step = made / "managed" / "20"
    needed = 0
    for path in sorted((step / "state").rglob("*")):
        if not path.is_file() or path.name in ("commit_success.txt", "_sharding", "process_0"):
            continue
        if path.parent.parent.name.startswith("ocdbt.") or path.parent.name.startswith("ocdbt."):
            continue  # of one process; the merged database names those that it needs, below
        needed += 1
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        assert inspect(step).state in ("incomplete", "corrupt"), path
        path.unlink()
        assert inspect(step).state == "incomplete", path
        path.write_bytes(content)
    assert needed >= 3
    assert inspect(step).state == "complete"


def test_an_array_that_lies_outside_of_the_tree_is_needed_whole(made: Path) -> None:
    with Folder(os.fspath(made / "managed" / "20"), family_of) as folder:
        outside = [place for place in values(folder, "state/").values() if place.inline is None]
    place = outside[0]  # how many files the writer's threads make differs from time to time
    name = place.file
    path = made / "managed" / "20" / name
    content = path.read_bytes()
    path.write_bytes(content[: place.offset + place.length - 1])
    found = inspect(made / "managed" / "20")
    assert found.state == "incomplete"
    assert name in found.problems[0]
    path.unlink()
    assert inspect(made / "managed" / "20").state == "incomplete"


def test_flipped_bytes_of_the_database_are_never_an_error(made: Path) -> None:
    step = made / "managed" / "20"
    for name in ("state/manifest.ocdbt", *(f"state/d/{path.name}" for path in (step / "state" / "d").iterdir())):
        content = (step / name).read_bytes()
        for place in range(0, len(content), 7):
            (step / name).write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
            assert inspect(step).state in ("complete", "incomplete", "corrupt")
        (step / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("_CHECKPOINT_METADATA", "[]"),
        ("_CHECKPOINT_METADATA", '"' + "x" * 100_000),
        ("_CHECKPOINT_METADATA", "[" * 50_000),
        ("state/_METADATA", '{"tree_metadata": 3}'),
        ("state/_METADATA", '{"tree_metadata": {"a": {"key_metadata": [], "value_metadata": 1}}}'),
        ("state/_METADATA", "[" * 50_000),
        ("metrics/metrics", "nothing"),
    ],
)
def test_hostile_json_is_a_state_and_no_error(made: Path, name: str, content: str) -> None:
    (made / "managed" / "20" / name).write_text(content)
    found = inspect(made / "managed" / "20")
    assert found.state in ("incomplete", "corrupt")
    assert found.problems


@pytest.mark.parametrize(
    ("description", "arrays", "error", "problem"),
    [
        (b"[" * 100_000, 1, Damaged, "not valid JSON"),
        (b"[" + b"0," * 450_000 + b"0]", 1, TooLarge, "values"),
        (b'{"shape": [2], "dtype": "<f4"}' + b" " * (1 << 19), 200, TooLarge, "descriptions of its arrays"),
    ],
)
def test_descriptions_of_arrays_are_bounded(
    tmp_path: Path, description: bytes, arrays: int, error: type[Unreadable], problem: str
) -> None:
    (tmp_path / "data").write_bytes(description)
    value = Value("data", 0, len(description))
    with Folder(os.fspath(tmp_path), family_of) as folder, pytest.raises(error) as raised:
        Arrays(folder, {f"a{index}/.zarray": value for index in range(arrays)})
    assert problem in raised.value.problem


def test_metrics_that_are_no_numbers_are_none(made: Path) -> None:
    (made / "managed" / "20" / "metrics" / "metrics").write_text('{"accuracy": NaN, "deep": {"a": "b"}, "text": "x"}')
    found = inspect(made / "managed" / "20")
    assert found.state == "complete"
    assert list(found.metrics) == ["accuracy"]


@pytest.mark.parametrize(
    ("name", "files", "directories"),
    [
        ("100", {"data.json", "commit_success.txt"}, {"state"}),
        ("100", {"_METADATA"}, {"d"}),
        ("state", {"manifest.ocdbt"}, {"d"}),
        ("step_100", set(), {"default", "metrics"}),
    ],
)
def test_other_directories_are_none(name: str, files: set[str], directories: set[str]) -> None:
    assert known.recognise(name, files, directories) is None
