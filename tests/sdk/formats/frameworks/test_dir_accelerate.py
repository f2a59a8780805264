"""States that accelerate saved, against what torch and safetensors read back from them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ckpt.formats import Inspection, inspect
from ckpt.formats.directories import known
from ckpt.formats.reading import opened

Produced = Callable[[str], Path]

AUTOMATIC = "project/checkpoints/checkpoint_2"
NAMES = (
    "project/checkpoints/checkpoint_1",
    AUTOMATIC,
    "diffusion/checkpoint-4",
    "two/kept",
    "older/state",
    "together/state",
)
ORDER = ("model.safetensors", "optimizer.bin", "scheduler.bin", "random_states_0.pkl", "custom_checkpoint_0.pkl")


def expected(base: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((base / "expected.json").read_text())
    return found


def copy(base: Path, name: str, to: Path) -> Path:
    target = to / Path(name).name
    shutil.copytree(base / name, target)
    return target


def shapes(found: Inspection, prefix: str) -> dict[str, list[Any]]:
    chosen = [tensor for tensor in found.tensors if tensor.name.startswith(prefix)]
    return {tensor.name.removeprefix(prefix): [list(tensor.shape), tensor.dtype] for tensor in chosen}


@pytest.mark.parametrize("name", NAMES)
def test_says_what_the_libraries_read_back(produced: Produced, name: str) -> None:
    base = produced("accelerate")
    told = expected(base)[name]
    found = inspect(base / name)
    assert (found.state, found.problems) == ("complete", ())
    assert (found.framework, found.format) == ("accelerate", "directory")
    assert (found.step, found.learning_rate) == (told["step"], told["lr"])
    assert (found.epoch, found.metrics, found.config) == (None, {}, {})
    assert sorted(found.files) == told["files"]
    weights = told["weights"]
    if len(weights) == 1:
        assert shapes(found, "model.") == next(iter(weights.values()))
    else:
        named = {f"{model}.{tensor}": what for model, held in weights.items() for tensor, what in held.items()}
        assert shapes(found, "model.") == named
    assert found.parameter_count == told["parameters"]
    optimizer = "optimizer.0.state." if len(weights) > 1 else "optimizer.state."
    assert {key: shape for key, (shape, _) in shapes(found, optimizer).items()} == told["moments"]
    ranks = sum(name.startswith("random_states_") for name in told["files"])
    assert ranks == (2 if name.startswith("together") else 1)
    assert found.resume == {
        "model": True,
        "optimizer": True,
        "scheduler": told["last_epoch"] is not None,
        "scaler": False,
        "rng": {"python": True, "numpy": True, "torch": True, "cuda": False, "ranks": ranks},
        "data": "sampler.bin" in told["files"],
        "topology": {"world_size": ranks},
    }
    assert told["rng"] == ["numpy_random_seed", "random_state", "step", "torch_manual_seed"]


def test_the_sampler_is_shown_and_not_made(produced: Produced) -> None:
    found = inspect(produced("accelerate") / "older/state")
    assert found.resume["data"] and "accelerate.data_loader.SeedableRandomSampler" in found.unknown_globals


def test_the_number_of_an_automatic_name_counts_saves(produced: Produced) -> None:
    found = inspect(produced("accelerate") / AUTOMATIC)
    assert (found.step, found.from_name) == (3, ())


def test_the_number_behind_a_hyphen_is_the_step(produced: Produced, tmp_path: Path) -> None:
    base = produced("accelerate")
    found = inspect(base / "diffusion/checkpoint-4")
    assert (found.step, found.from_name) == (4, ("step",))
    moved = copy(base, "diffusion/checkpoint-4", tmp_path).rename(tmp_path / "checkpoint-4000")
    assert inspect(moved).step == 4000


@pytest.mark.parametrize("name", [AUTOMATIC, "together/state"])
def test_the_step_by_the_scheduler_where_the_optimizer_counts_none(
    produced: Produced, tmp_path: Path, name: str
) -> None:
    base = produced("accelerate")
    directory = copy(base, name, tmp_path)
    torch.save({"state": {}, "param_groups": [{"lr": 0.5, "params": [0]}]}, directory / "optimizer.bin")
    found = inspect(directory)
    assert (found.step, found.learning_rate) == (3, 0.5)
    # The library moves a scheduler once for each process.
    assert expected(base)[name]["last_epoch"] == 3 * found.resume["topology"]["world_size"]


@pytest.mark.parametrize("written", range(2, len(ORDER)))
def test_incomplete_until_the_random_states_are_there(produced: Produced, tmp_path: Path, written: int) -> None:
    base = produced("accelerate")
    times = [(base / AUTOMATIC / name).stat().st_mtime_ns for name in ORDER]
    assert times == sorted(times)
    directory = copy(base, AUTOMATIC, tmp_path)
    for name in ORDER[written:]:
        (directory / name).unlink()
    found = inspect(directory)
    assert found.framework == "accelerate"
    assert found.state == ("complete" if "random_states_0.pkl" in ORDER[:written] else "incomplete")


def test_a_process_that_has_not_saved(produced: Produced, tmp_path: Path) -> None:
    directory = copy(produced("accelerate"), AUTOMATIC, tmp_path)
    (directory / "random_states_0.pkl").rename(directory / "random_states_1.pkl")
    found = inspect(directory)
    assert found.state == "incomplete" and "random_states_0.pkl" in found.problems[0]


@pytest.mark.parametrize("name", ORDER)
def test_a_cut_member_makes_it_incomplete(produced: Produced, tmp_path: Path, name: str) -> None:
    directory = copy(produced("accelerate"), AUTOMATIC, tmp_path)
    content = (directory / name).read_bytes()
    for length in (0, len(content) // 2, len(content) - 1):
        (directory / name).write_bytes(content[:length])
        found = inspect(directory)
        assert found.state == "incomplete", (length, found.problems)
        assert name in found.problems[0]


def test_a_damaged_member_makes_it_corrupt(produced: Produced, tmp_path: Path) -> None:
    directory = copy(produced("accelerate"), AUTOMATIC, tmp_path)
    (directory / "optimizer.bin").write_bytes(b"no checkpoint at all" * 40)
    found = inspect(directory)
    assert found.state == "corrupt" and "optimizer.bin" in found.problems[0]


def test_further_states_of_the_library(produced: Produced, tmp_path: Path) -> None:
    """Their names are those of `save_accelerator_state` in `accelerate/checkpointing.py`."""
    directory = copy(produced("accelerate"), AUTOMATIC, tmp_path)
    torch.save({"_snapshot": {"_snapshot_step": 3}}, directory / "dl_state_dict.bin")
    torch.save({"scale": 65536.0, "growth_factor": 2.0}, directory / "scaler.pt")
    found = inspect(directory)
    assert (found.state, found.resume["data"], found.resume["scaler"]) == ("complete", True, True)
    (directory / "notes.bin").write_bytes(b"anything")
    assert inspect(directory).state == "complete"


def test_weights_that_a_script_puts_into_directories(produced: Produced, tmp_path: Path) -> None:
    """Scripts of diffusers save each network in a directory of its own by a hook, and no `model.safetensors`."""
    directory = copy(produced("accelerate"), "diffusion/checkpoint-4", tmp_path)
    (directory / "model.safetensors").unlink()
    for name in ("unet", "unet_ema"):
        (directory / name).mkdir()
        save_file({"w": torch.ones(2, 3)}, directory / name / "diffusion_pytorch_model.safetensors")
    found = inspect(directory)
    assert (found.state, found.framework, found.parameter_count) == ("complete", "accelerate", 12)
    shutil.rmtree(directory / "unet")
    shutil.rmtree(directory / "unet_ema")
    assert inspect(directory).problems == ("it holds no weights",)


@pytest.mark.parametrize("missing", ["model.safetensors", "optimizer.bin", "scheduler.bin"])
def test_a_numbered_part_that_is_missing(produced: Produced, tmp_path: Path, missing: str) -> None:
    directory = copy(produced("accelerate"), AUTOMATIC, tmp_path)
    stem, suffix = missing.split(".")
    for number in (1, 2):
        shutil.copy2(directory / missing, directory / f"{stem}_{number}.{suffix}")
    assert inspect(directory).state == "complete"
    (directory / f"{stem}_1.{suffix}").rename(tmp_path / "kept")
    found = inspect(directory)
    assert (found.state, found.problems) == (
        "incomplete",
        (f"{stem}_1.{suffix} is missing: {stem}_2.{suffix} is there",),
    )
    (tmp_path / "kept").rename(directory / f"{stem}_1.{suffix}")
    (directory / missing).unlink()
    found = inspect(directory)
    assert (found.state, found.problems) == ("incomplete", (f"{missing} is missing: {stem}_1.{suffix} is there",))


def test_the_bytes_of_every_weight_can_be_read(produced: Produced) -> None:
    directory = produced("accelerate") / "older/state"
    weights = torch.load(directory / "pytorch_model.bin", weights_only=True)
    with opened(directory) as found:
        for placed in found.tensors[: len(weights)]:
            assert placed.home is not None and placed.tensor.storage is not None
            raw = placed.home.bytes_of(placed.tensor.storage, placed.start, placed.span)
            assert raw == weights[placed.info.name.removeprefix("model.")].numpy().tobytes()


def test_recognised_by_names_alone() -> None:
    def framework(name: str, *files: str) -> str | None:
        kind = known.recognise(name, set(files), set())
        return None if kind is None else kind.load().framework

    assert framework("anything", "random_states_0.pkl") == "accelerate"
    assert framework("checkpoint-8", "model.safetensors", "optimizer.bin") == "accelerate"
    assert framework("checkpoint_8", "scheduler.bin") == "accelerate"
    assert framework("anything", "optimizer.bin") is None
    assert framework("checkpoint-8", "random_states_0.pkl", "trainer_state.json") == "transformers"
