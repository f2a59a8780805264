"""Files cut at every byte, and files and directories of real libraries with bytes changed at random.

CKPTD_FAULT_ROUNDS says how often changes are tried (2 by default), and CKPTD_FAULT_SEED where their random numbers
start; a failure names its seed.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ckpt.formats import inspect, inspection_to_json
from ckpt.formats.reading import kind_of

ROUNDS = int(os.environ.get("CKPTD_FAULT_ROUNDS") or 2)
SEED = int(os.environ.get("CKPTD_FAULT_SEED") or 0) or int(time.time())
PRODUCERS = ("accelerate", "dcp", "orbax", "transformers")
CHANGES_A_ROUND = 40  # of each directory
CPU_S = 20.0
VALUES = (
    b"",
    b"\0",
    b"\xff",
    b"\x80",
    b"[",
    b"{",
    b"}",
    b'"',
    b".",
    b"N0",
    b"\xff" * 8,
    b"\0" * 8,
    b"\x1b[31m",
    b"-1",
    b"1e999",
)

Note = Callable[[str, object], None]


def answered(path: Path) -> str:
    """The state of what is at a path; `unreadable` for an error that belongs to the file system."""
    start = time.process_time()
    try:
        found = inspect(path)
    except OSError:
        return "unreadable"
    finally:
        assert time.process_time() - start < CPU_S
    assert found.state in ("complete", "incomplete", "corrupt")
    assert found.state == "complete" or found.problems
    json.dumps(inspection_to_json(found), allow_nan=False)
    return found.state


def small() -> dict[str, torch.Tensor]:
    return {"a": torch.arange(3.0), "b": torch.ones(2, dtype=torch.int64)}


def write_zip(path: Path) -> None:
    torch.save({"model": small(), "epoch": 1}, path)


def write_legacy(path: Path) -> None:
    torch.save({"model": small(), "epoch": 1}, path, _use_new_zipfile_serialization=False)


def write_safetensors(path: Path) -> None:
    save_file(small(), path, metadata={"epoch": "1"})


def write_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"epoch": 1, "names": ["a", "b"], "lr": 0.5}, protocol=2))


def write_weights(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("layers/dense/vars/0", data=[[1.0, 2.0]])
        file.attrs["keras_version"] = "3.0"


WRITERS: dict[str, Callable[[Path], None]] = {
    "zip.pt": write_zip,
    "legacy.pt": write_legacy,
    "a.safetensors": write_safetensors,
    "pickle.pt": write_pickle,
    "a.weights.h5": write_weights,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_cut_at_any_byte_is_not_whole(tmp_path: Path, record_property: Note, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    whole = path.read_bytes()
    assert answered(path) == "complete"
    wrong = []
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        # The first byte of a pickle alone could be anything's, and HDF5 has no one place that is written last.
        allowed = {"incomplete"} | ({"corrupt"} if length == 1 or name.endswith("h5") else set())
        if answered(path) not in allowed:
            wrong.append(length)
    record_property("inputs", len(whole))
    assert wrong == []


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("turn", range(ROUNDS))
def test_files_with_changed_bytes_get_an_answer(tmp_path: Path, record_property: Note, name: str, turn: int) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    chance = random.Random(f"{SEED + turn} {name}")
    whole = path.read_bytes()
    for _ in range(150):
        path.write_bytes(changed(whole, chance))
        answered(path)
    record_property("inputs", 150)


def changed(raw: bytes, chance: random.Random) -> bytes:
    """Some bytes with a few of them replaced, dropped, doubled or overwritten by what is likely to hurt."""
    made = bytearray(raw)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(made) + 1)
        how = chance.randrange(5)
        if how == 0 and made:
            made[at % len(made)] ^= 1 << chance.randrange(8)
        elif how == 1:
            del made[at : at + chance.randint(1, 60)]
        elif how == 2:
            made[at:at] = made[at : at + chance.randint(1, 60)]
        elif how == 3:
            value = chance.choice(VALUES)
            made[at : at + len(value)] = value
        else:
            made[at:at] = chance.choice(VALUES)
    return bytes(made)


def checkpoints(base: Path) -> Iterator[Path]:
    """The checkpoint directories below a producer's."""
    for directory, _, _ in os.walk(base):
        if kind_of(directory) is not None:
            yield Path(directory)


def change_member(directory: Path, chance: random.Random) -> None:
    """Changes, empties, drops, replaces or makes unreadable one file of a directory."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    # What tells about the others is small, and chosen as often as what is large.
    one = chance.choice(sorted(files, key=lambda path: path.stat().st_size)[: chance.randint(1, len(files))])
    how = chance.randrange(9)
    if how < 5:
        one.write_bytes(changed(one.read_bytes(), chance))
    elif how == 5:
        one.write_bytes(chance.choice((b"", b"{}", b"[]", b"null", b"0", b"[" * 100_000, b"PK\x03\x04", b"\x80\x02N.")))
    elif how == 6:
        one.unlink()
    elif how == 7:
        one.unlink()
        chance.choice((lambda: os.mkfifo(one), lambda: one.mkdir(), lambda: one.symlink_to(one.name)))()
    else:
        one.write_bytes(one.read_bytes()[: chance.randrange(1 + one.stat().st_size)])


@pytest.mark.parametrize("name", PRODUCERS)
@pytest.mark.parametrize("turn", range(ROUNDS))
def test_directories_with_a_changed_member_get_an_answer(
    produced: Callable[[str], Path], tmp_path: Path, record_property: Note, name: str, turn: int
) -> None:
    originals = list(checkpoints(produced(name)))
    assert originals
    inputs = 0
    for number in range(CHANGES_A_ROUND):
        seed = f"{SEED + turn} {name} {number}"
        chance = random.Random(seed)
        original = originals[number % len(originals)]
        copy = tmp_path / original.name
        shutil.copytree(original, copy, symlinks=True)
        change_member(copy, chance)
        try:
            answered(copy)
        except Exception as error:
            raise AssertionError(f"CKPTD_FAULT_SEED={SEED + turn} {original} {number}: {error!r}") from error
        inputs += 1
        shutil.rmtree(copy)
    record_property("inputs", inputs)
