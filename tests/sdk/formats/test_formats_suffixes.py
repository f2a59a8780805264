"""Which names may be checkpoints, and which have a say in what a directory is, told without opening anything."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ckpt.formats.directories import known
from ckpt.formats.suffixes import is_marker, may_be_file, may_tell

CHECKPOINTS = """
a.pt B.PTH last.ckpt model.safetensors w.keras last.pth.tar a.weights.h5 rl_model_1000_steps.zip best_model.zip
ppo_cartpole.zip SAC.zip my-dqn-v2.zip rl_model.zip final_model.zip model-05-0.32.h5 my_model.h5 best_weights.hdf5
checkpoint_3.h5 epoch12.h5 ckpt-0001.hdf5
pytorch_model.bin pytorch_model-00001-of-00002.bin adapter_model.bin optimizer_1.bin epoch_3.bin consolidated.00.pth
"""
OTHERS = """
train.bin val.bin data.h5 data.zip data.pkl archive.tar notes.txt .pt pt images.tar.gz train_000001.bin a.onnx
dataset.zip images.zip her_photos.zip psychoacoustics.zip sacramento.zip train.h5 test_images.hdf5 remodelled.h5
modelnet40.h5 epochs.h5 trainer_state.json results.csv training_args.bin
"""


def test_names_of_checkpoints() -> None:
    for name in CHECKPOINTS.split():
        assert may_be_file(name) and may_tell(name), name


def test_names_of_other_things() -> None:
    for name in OTHERS.split():
        assert not may_be_file(name), name


@pytest.mark.parametrize("name", ["transformers", "accelerate", "orbax", "dcp"])
def test_a_file_that_the_library_writes_last_or_first_is_a_marker(produced: Any, name: str) -> None:
    """So that an event of it leads to a look at its directory."""
    base = produced(name)
    found = 0
    for place, directories, files in os.walk(base):
        if known.recognise(Path(place).name, set(files), set(directories)) is not None:
            found += 1
            directories.clear()
            assert not files or any(is_marker(file) or may_be_file(file) for file in files), place
    assert found


def test_data_has_no_say_in_what_a_directory_is() -> None:
    assert not any(map(may_tell, ("0001.jpg", "a.TXT", "log.csv", "x.npy")))
    assert all(map(may_tell, ("commit_success.txt", "latest", ".metadata", "config.json", "__0_0.distcp")))
