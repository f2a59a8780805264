"""Files that are damaged, lie, or want to run something: an error that names the place, and nothing is run."""

from __future__ import annotations

import argparse
import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch

import ckpt
from ckpt.exceptions import CheckpointError, CkptError, CorruptError, FormatError
from ckpt.saving.envelope import from_envelope, read_envelope
from ckpt.saving.restore.loading import read_file

torch.set_num_threads(1)

DATA = Path(__file__).parents[3] / "data"


class Runs:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.proof),)


class Builds:
    """Calls through a class that is read by a stand-in."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        import types

        return types.SimpleNamespace, (), {"run": Runs(self.proof)}


@pytest.mark.parametrize("kind", [Runs, Builds])
def test_nothing_is_run(kind: Any, tmp_path: Path) -> None:
    proof = tmp_path / "it ran"
    torch.save({"model_state_dict": {}, "resume_state": kind(proof)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"it names .*mkdir"):
        read_file(tmp_path / "a.pt")
    assert not proof.exists()


class Asks:
    """For an attribute of anything."""

    def __init__(self, *asked: Any) -> None:
        self.asked = asked

    def __reduce__(self) -> Any:
        return getattr, self.asked


@pytest.mark.parametrize(
    "asked", [({}, "ITEMS"), (argparse.Namespace, "__class__"), (argparse.Namespace, "name"), (argparse.Namespace,)]
)
def test_attributes_are_not_asked_for(asked: Any, tmp_path: Path) -> None:
    torch.save({"model_state_dict": {}, "config": Asks(*asked)}, tmp_path / "a.pt")
    with pytest.raises(FormatError, match=r"config: an attribute of an object is not read"):
        read_envelope(tmp_path / "a.pt")


def test_stand_ins_take_plain_objects_apart(tmp_path: Path) -> None:
    args = argparse.Namespace(lr=0.1, out=Path("a/b"))
    torch.save({"model_state_dict": {}, "config": args}, tmp_path / "a.pt")
    assert read_envelope(tmp_path / "a.pt")["config"] == {"lr": 0.1, "out": "a/b"}


@pytest.mark.parametrize("name", ["v1.pt", "v1-first-writer.pt"])
def test_a_file_cut_or_changed_anywhere_is_an_error_of_ours_or_loads(
    name: str, tmp_path: Path, record_property: Any
) -> None:
    data = (DATA / name).read_bytes()
    draw = random.Random(3)
    path = tmp_path / "a.pt"
    tried = 120
    for number in range(tried):
        changed = bytearray(data)
        if number % 2:
            del changed[draw.randrange(len(data)) :]
        else:
            for _ in range(1 + number % 5):
                changed[draw.randrange(len(data) // 3)] = draw.randrange(256)
        path.write_bytes(changed)
        try:
            read_file(path)
        except CkptError as error:
            assert "a.pt" in error.message
    record_property("inputs", tried)


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def wide() -> Any:
    value: Any = [1]
    for _ in range(90):
        value = [value, value]
    return value


def endless() -> Any:
    value: Any = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"optimizer_state_dicts": 5}, "optimizer_state_dicts is a int"),
        ({"optimizer_state_dicts": [5]}, r"optimizer_state_dicts\[0\] is a int"),
        ({"model_state_dict": [1]}, "model_state_dict is a list"),
        ({"model_state_dict": {"w": "text"}}, r"model_state_dict\.w is a str"),
        ({"model_state_dict": {3: torch.ones(1)}}, "model_state_dict has the name 3"),
        ({"rng_states": [1]}, "rng_states is a list"),
        ({"captured": [1]}, "captured is a list"),
        ({"epoch": "three"}, "epoch is a str"),
        ({"global_step": torch.ones(2)}, "global_step is a Tensor"),
        ({"training_state": {"epoch": 1}}, "training state cannot be read"),
        ({"training_state": {"epoch": 1, "global_step": 1, "loss": 1, "learning_rate": 1, "metrics": [1]}}, "training"),
        ({"scheduler_state_dicts": [{"a": deep(5000)}]}, r"scheduler_state_dicts\[0\]\.a.* is nested deeper"),
        ({"captured": {"a": wide()}}, r"captured\.a.* unfolds into more"),
        ({"config_snapshot": {"a": endless()}}, r"config_snapshot\.a\[0\] contains itself"),
        ({"captured": {"$ndarray": 3, "dtype": "int8"}}, "captured cannot be read"),
        ({"captured": {"a": {"$ndarray": torch.ones(1), "dtype": "object"}}}, r"captured\.a cannot be read"),
        ({"captured": {"$defaultdict": {}, "factory": "eval"}}, "captured cannot be read"),
    ],
)
def test_what_is_of_another_kind_is_told_with_its_place(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    envelope = {"format_version": 1, "model_state_dict": {"w": torch.ones(1)}, "capture_report": {}, **change}
    with pytest.raises(FormatError, match=told) as caught:
        from_envelope(envelope, "some.pt")
    assert "some.pt" in caught.value.message
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02.", b"x" * 1000, b"\x80\x02]q\x00."])
def test_what_is_no_checkpoint_at_all(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises((CorruptError, FormatError), match=r"a\.pt"):
        read_file(tmp_path / "a.pt")


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ckpt.load_checkpoint(tmp_path / "none.pt", {"model": torch.nn.Linear(1, 1)})
