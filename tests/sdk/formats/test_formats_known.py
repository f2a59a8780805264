"""The table of directory kinds: its rules look at names alone, and lead to readers that exist."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from ckpt.formats.directories import known
from ckpt.formats.directories.kind import Kind
from ckpt.formats.reading import kind_of
from ckpt.formats.suffixes import may_tell

LAYOUTS: dict[str, tuple[str, set[str], set[str]]] = {
    "NeMo": ("model--step=10-last", set(), {"weights", "context"}),
    "Transformers": ("checkpoint-10", {"model.safetensors", "trainer_state.json"}, set()),
    "Orbax": ("10", {"_CHECKPOINT_METADATA"}, {"default"}),
    "Megatron": ("iter_0000010", {"common.pt", ".metadata", "metadata.json"}, set()),
    "OlmoCore": ("step10", {".metadata.json", "config.json"}, {"model_and_optim", "train"}),
    "LightningSharded": ("epoch=0-step=10.ckpt", {".metadata", "meta.pt", "__0_0.distcp"}, set()),
    "ComposerSharded": ("ep0-ba10", {".metadata", "__0_0.distcp"}, set()),
    "Dcp": ("step-10", {".metadata", "__0_0.distcp"}, set()),
    "DeepSpeed": ("global_step10", {"mp_rank_00_model_states.pt"}, set()),
    "Accelerate": ("checkpoint_0", {"model.safetensors", "random_states_0.pkl"}, set()),
    "Verl": ("global_step_10", {"data.pt"}, {"actor"}),
    "LeRobot": ("000010", set(), {"pretrained_model", "training_state"}),
    "KerasBackup": ("backup", {"latest.weights.h5", "training_metadata.json"}, set()),
    "Coral": (".coral", {"HEAD"}, {"objects", "refs"}),
    "TorchTune": ("epoch_0", {"ft-model-00001-of-00001.safetensors"}, set()),
    "Pipeline": ("stable", {"model_index.json"}, {"unet", "vae"}),
    "Peft": ("adapter", {"adapter_config.json", "adapter_model.safetensors"}, set()),
    "Sharded": ("model", {"model.safetensors", "config.json"}, set()),
    "Ray": ("checkpoint_000003", {"model.pt"}, set()),
}
SILENT = {"0001.jpg", "notes.txt", "train.log", "x.npy"}


@pytest.mark.parametrize("kind", known.KINDS, ids=lambda kind: kind.name)
def test_every_rule_leads_to_its_reader(kind: known.Known) -> None:
    assert known.recognise(*LAYOUTS[kind.name]) is kind
    reader = kind.load()
    assert issubclass(reader, Kind)
    assert (reader.__name__, reader.__module__) == (kind.name, f"ckpt.formats.directories.{kind.module}")


def test_names_that_tell_nothing_may_be_left_out() -> None:
    assert not any(map(may_tell, SILENT))
    places = [("run", set(), set()), ("x.orbax-checkpoint-tmp-1", set(), set()), *LAYOUTS.values()]
    dated = ("checkpoint_2026-01-02_03-04-05.678", set(), set())
    for (name, files, directories), added in itertools.product([*places, dated], [SILENT, {"0001.jpg"}]):
        assert known.recognise(name, files | added, directories) is known.recognise(name, files, directories), name


def test_a_directory_of_very_many_files_costs_no_memory(tmp_path: Path) -> None:
    directory = tmp_path / "checkpoint-10"
    directory.mkdir()
    for index in range(5000):
        (directory / f"{index:09d}.jpg").touch()
    assert kind_of(str(directory)) is None
    for name in ("trainer_state.json", "model.safetensors"):
        (directory / name).touch()
    assert kind_of(str(directory)) is not None  # its reader is loaded now
    tracemalloc.start()
    try:
        kind_of(str(directory))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_no_reader_is_loaded_for_names() -> None:
    code = (
        "import json, sys; import ckpt.scan; from ckpt.formats.directories import known\n"
        "found = [known.recognise('checkpoint-10', {'trainer_state.json', 'model.safetensors'}, set()),"
        " known.recognise('run', {'best.pt'}, {'logs'})]\n"
        "loaded = {kind.module for kind in known.KINDS if f'ckpt.formats.directories.{kind.module}' in sys.modules}\n"
        "names = [kind and kind.name for kind in found]\n"
        "print(json.dumps([names, sorted(loaded), 'ckpt.formats.reading' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == [["Transformers", None], [], False]
